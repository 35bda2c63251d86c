//! Who controls an object: reading, adopting and releasing by labels.
//!
//! **Contract**: an object has at most one controller. What has none and is selected is adopted; what is controlled and
//! no longer selected is released; what goes away is neither. Before the first adoption the owner is asked for live:
//! one that is deleted adopts nothing.
//! **Upstream**: `pkg/controller/controller_ref_manager.go`.

use crate::error::code;
use crate::{Error, Manager};
use api::selector::LabelSelector;
use client::{Index, Informer, Key, Watched};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The reference to an object's controller.
pub(crate) fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether this identity is the object's controller.
pub(crate) fn is_controlled_by<K: Resource>(object: &K, uid: Option<&str>) -> bool {
    controller_of(object).is_some_and(|owner| Some(owner.uid.as_str()) == uid)
}

/// The key of an object's controller, if that is of this kind.
pub(crate) fn controller_key<O: Resource<DynamicType = ()>, K: Resource>(object: &K) -> Option<Key> {
    let owner = controller_of(object)?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    (owner.kind == O::kind(&()) && group == O::group(&())).then(|| Key::new(namespace, &owner.name))
}

/// The reference by which `owner` controls something.
pub(crate) fn controller_reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference { block_owner_deletion: Some(true), controller: Some(true), ..owner_reference(owner) }
}

/// A plain reference to an owner.
pub(crate) fn owner_reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        block_owner_deletion: None,
        controller: None,
    }
}

/// Whether a selector selects these labels.
pub(crate) fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    selector.matches(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
}

/// A `metav1.LabelSelector` as it is used; what validation refuses selects nothing.
pub(crate) fn selector(
    selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
) -> LabelSelector {
    LabelSelector::from_object(Some(selector))
}

/// What is to become of an object that an owner might control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is the owner's.
    Keep,
    /// It becomes the owner's.
    Adopt,
    /// It is no longer the owner's.
    Release,
    /// It is none of the owner's business.
    Ignore,
}

/// Decides on one object.
pub(crate) fn claim(owner: &ObjectMeta, selector: &LabelSelector, object: &impl Resource) -> Claim {
    let meta = object.meta();
    let selected = selects(selector, meta.labels.as_ref());
    let going = owner.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if selected => Claim::Keep,
        Some(_) if going => Claim::Ignore,
        Some(_) => Claim::Release,
        None if going || !selected || meta.deletion_timestamp.is_some() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The objects of a kind by the uid of their controller, and those without one by their namespace.
pub(crate) struct Owned<K> {
    informer: Informer<K>,
    index: Index<K>,
}

impl<K> Clone for Owned<K> {
    fn clone(&self) -> Self {
        Self { informer: self.informer.clone(), index: self.index.clone() }
    }
}

impl<K> Owned<K>
where
    K: Watched + Resource<Scope = NamespaceResourceScope>,
{
    pub(crate) fn new(informer: &Informer<K>) -> Self {
        let index = informer.index("controller", |object| {
            vec![match controller_of(object) {
                Some(controller) => controller.uid.clone(),
                None => orphans_of(object.meta().namespace.as_deref().unwrap_or_default()),
            }]
        });
        Self { informer: informer.clone(), index }
    }

    /// The informer.
    pub(crate) fn informer(&self) -> &Informer<K> {
        &self.informer
    }

    /// What has this controller.
    pub(crate) fn by_uid(&self, uid: &str) -> Vec<Arc<K>> {
        self.index.get(uid)
    }

    /// What has no controller.
    pub(crate) fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        self.index.get(&orphans_of(namespace))
    }

    /// The objects that are `owner`'s once those that it must adopt or release have been.
    ///
    /// Only what `consider` lets through is looked at. `extra` is merged into the metadata of what is adopted (a
    /// finalizer, for example).
    pub(crate) async fn claim<O>(
        &self,
        manager: &Manager,
        owner: &O,
        selector: &LabelSelector,
        consider: impl Fn(&K) -> bool,
        extra: &serde_json::Value,
    ) -> Result<Vec<Arc<K>>, Error>
    where
        O: Watched + Resource<Scope = NamespaceResourceScope>,
    {
        let (namespace, uid) = identity(owner.meta());
        let mut mine = Vec::new();
        let (mut written, mut may_adopt) = (String::new(), None);
        let candidates = self.by_uid(uid).into_iter().chain(self.orphans(namespace));
        for object in candidates.filter(|object| consider(object)) {
            let api = Api::<K>::namespaced(manager.client.clone(), namespace);
            let what = || format!("{} {}", K::plural(&()), Key::of(object.as_ref()));
            match claim(owner.meta(), selector, object.as_ref()) {
                Claim::Ignore => {}
                Claim::Keep => mine.push(object.clone()),
                Claim::Adopt => {
                    if may_adopt.is_none() {
                        may_adopt = Some(lives(manager, owner).await?);
                    }
                    if may_adopt != Some(true) {
                        continue;
                    }
                    let patch = Patch::Strategic(adoption(owner, object.meta(), extra));
                    let name = object.meta().name.as_deref().unwrap_or_default();
                    match api.patch(name, &PatchParams::default(), &patch).await {
                        Ok(adopted) => {
                            adopted.meta().resource_version.clone_into_string(&mut written);
                            mine.push(Arc::new(adopted));
                        }
                        Err(error) if [404, 409, 422].contains(&code(&error)) => {}
                        Err(error) => return Err(Error::request("adopt", what())(error)),
                    }
                }
                Claim::Release => {
                    let patch = json!({"metadata": {
                        "uid": object.meta().uid,
                        "ownerReferences": [{"$patch": "delete", "uid": uid}],
                    }});
                    let name = object.meta().name.as_deref().unwrap_or_default();
                    match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                        Ok(released) => released.meta().resource_version.clone_into_string(&mut written),
                        Err(error) if [404, 409, 422].contains(&code(&error)) => {}
                        Err(error) => return Err(Error::request("release", what())(error)),
                    }
                }
            }
        }
        self.informer.caught_up(&written).await;
        Ok(mine)
    }
}

/// Remembers the latest revision that was written.
trait CloneIntoString {
    fn clone_into_string(&self, into: &mut String);
}

impl CloneIntoString for Option<String> {
    fn clone_into_string(&self, into: &mut String) {
        if let Some(revision) = self {
            into.clone_from(revision);
        }
    }
}

fn orphans_of(namespace: &str) -> String {
    // A uid has no slash.
    format!("{namespace}/")
}

fn identity(meta: &ObjectMeta) -> (&str, &str) {
    (meta.namespace.as_deref().unwrap_or_default(), meta.uid.as_deref().unwrap_or_default())
}

fn adoption<O: Resource<DynamicType = ()>>(
    owner: &O,
    object: &ObjectMeta,
    extra: &serde_json::Value,
) -> serde_json::Value {
    let mut metadata = json!({ "uid": object.uid, "ownerReferences": [controller_reference(owner)] });
    if let (Some(metadata), Some(extra)) = (metadata.as_object_mut(), extra.as_object()) {
        metadata.extend(extra.clone());
    }
    json!({ "metadata": metadata })
}

/// Whether the owner is still there and not going, by a live look.
async fn lives<O>(manager: &Manager, owner: &O) -> Result<bool, Error>
where
    O: Watched + Resource<Scope = NamespaceResourceScope>,
{
    let Key { namespace, name } = Key::of(owner);
    let api = Api::<O>::namespaced(manager.client.clone(), &namespace);
    let what = format!("{} {namespace}/{name}", O::plural(&()));
    let live = api.get_metadata_opt(&name).await.map_err(Error::request("get", what))?;
    Ok(live.is_some_and(|live| {
        live.metadata.uid == owner.meta().uid && live.metadata.deletion_timestamp.is_none()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;
    use testkit::build::{self, at};

    fn owned(pod: build::Builder<Pod>, uid: &str) -> build::Builder<Pod> {
        let mut owner = ReplicaSet::default();
        owner.metadata.uid = Some(uid.to_owned());
        pod.with(|pod| pod.metadata.owner_references = Some(vec![controller_reference(&owner)]))
    }

    #[test]
    fn claims_by_controller_and_labels() {
        let selector = LabelSelector::from_map(&json!({"app": "web"}));
        let mut owner = ObjectMeta { uid: Some("me".to_owned()), ..ObjectMeta::default() };
        let pod = || build::pod("p");
        let cases = [
            ("mine", owned(pod().label("app", "web"), "me"), Claim::Keep, Claim::Keep),
            ("mine, other labels", owned(pod(), "me"), Claim::Release, Claim::Ignore),
            ("somebody's", owned(pod().label("app", "web"), "you"), Claim::Ignore, Claim::Ignore),
            ("orphan", pod().label("app", "web"), Claim::Adopt, Claim::Ignore),
            ("orphan, other labels", pod(), Claim::Ignore, Claim::Ignore),
            ("orphan that goes", pod().label("app", "web").deleted(at(0)), Claim::Ignore, Claim::Ignore),
            ("mine, going", owned(pod().label("app", "web").deleted(at(0)), "me"), Claim::Keep, Claim::Keep),
        ];
        for (name, pod, expected, _) in &cases {
            assert_eq!(claim(&owner, &selector, &pod.clone().get()), *expected, "{name}");
        }
        owner.deletion_timestamp = Some(super::super::seconds(at(0)));
        for (name, pod, _, expected) in cases {
            assert_eq!(claim(&owner, &selector, &pod.get()), expected, "{name}, the owner going");
        }
    }
}
