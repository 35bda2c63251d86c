//! The history of a StatefulSet's or DaemonSet's template, kept as ControllerRevisions.
//!
//! **Contract**: of equal templates there is one revision; going back to an older one gives it the highest number.
//! **Upstream**: `pkg/controller/history`, `pkg/controller/daemon/update.go` (`constructHistory`).

use super::owned::{self, Owned};
use super::{already_exists, hash};
use crate::error::code;
use crate::{Error, Manager};
use client::Watched;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Longest part of an owner's name in its revisions' names.
const LONGEST_PREFIX: usize = 223;

/// What became of the wish that a revision exist.
pub(crate) enum Ensured {
    /// It does.
    Exists(Box<ControllerRevision>),
    /// Another template's revision has its name: count a collision and try again.
    Collision,
}

/// The name of a revision.
pub(crate) fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

/// What is kept of a template: a patch that brings it back.
fn data(template: &PodTemplateSpec) -> serde_json::Value {
    let mut template = serde_json::to_value(template).expect("a template can be written as JSON");
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// A revision of this template; `label` is the key under which its hash stands.
pub(crate) fn snapshot<O: Resource<DynamicType = ()>>(
    owner: &O,
    template: &PodTemplateSpec,
    collisions: Option<i32>,
    label: &str,
) -> ControllerRevision {
    let hash = hash::compute(template, collisions);
    let name = owner.meta().name.as_deref().unwrap_or_default();
    let prefix: String = name.chars().take(LONGEST_PREFIX).collect();
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(label.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: owner.meta().namespace.clone(),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![owned::controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data(template))),
        revision: 0,
    }
}

/// What is to be done so that a snapshot is the newest of a history.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    /// Nothing, this is it.
    Keep(ControllerRevision),
    /// Give this one the highest number.
    Renumber(ControllerRevision),
    /// Make it.
    Create(ControllerRevision),
}

/// Decides how the snapshot becomes the newest revision.
pub(crate) fn change(history: &[Arc<ControllerRevision>], mut snapshot: ControllerRevision) -> Change {
    let newest = history.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let equal = history.iter().filter(|revision| revision.data == snapshot.data);
    match equal.max_by_key(|revision| revision.revision) {
        Some(equal) if equal.revision == newest => Change::Keep(equal.as_ref().clone()),
        Some(equal) => {
            Change::Renumber(ControllerRevision { revision: newest + 1, ..equal.as_ref().clone() })
        }
        None => {
            snapshot.revision = newest + 1;
            Change::Create(snapshot)
        }
    }
}

/// The names of the revisions that may go: all that nobody uses but the newest `limit`, oldest first.
pub(crate) fn surplus(
    history: &[Arc<ControllerRevision>],
    used: &BTreeSet<String>,
    limit: i32,
) -> Vec<String> {
    let mut idle: Vec<_> = history.iter().filter(|revision| !used.contains(name(revision))).collect();
    idle.sort_by_key(|revision| revision.revision);
    let count = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    idle.into_iter().take(count).map(|revision| name(revision).to_owned()).collect()
}

/// Sees to it that the snapshot is the newest revision.
pub(crate) async fn ensure(
    manager: &Manager,
    revisions: &Owned<ControllerRevision>,
    history: &[Arc<ControllerRevision>],
    snapshot: ControllerRevision,
) -> Result<Ensured, Error> {
    let namespace = snapshot.metadata.namespace.clone().unwrap_or_default();
    let api = Api::<ControllerRevision>::namespaced(manager.client.clone(), &namespace);
    let written = match change(history, snapshot) {
        Change::Keep(revision) => return Ok(Ensured::Exists(Box::new(revision))),
        Change::Renumber(revision) => {
            api.replace(name(&revision), &PostParams::default(), &revision)
                .await
                .map_err(Error::request("update controller revision", name(&revision)))?
        }
        Change::Create(revision) => match api.create(&PostParams::default(), &revision).await {
            Ok(created) => created,
            Err(error) if already_exists(&error) => {
                let there = api.get(name(&revision)).await;
                let there = there.map_err(Error::request("get controller revision", name(&revision)))?;
                if there.data != revision.data {
                    return Ok(Ensured::Collision);
                }
                there
            }
            Err(error) => {
                return Err(Error::request("create controller revision", name(&revision))(error));
            }
        },
    };
    let revision = written.metadata.resource_version.clone().unwrap_or_default();
    revisions.informer().caught_up(&revision).await;
    Ok(Ensured::Exists(Box::new(written)))
}

/// The history of an owner, once it is adopted and released by labels.
pub(crate) async fn history<O>(
    manager: &Manager,
    revisions: &Owned<ControllerRevision>,
    owner: &O,
    selector: &api::selector::LabelSelector,
) -> Result<Vec<Arc<ControllerRevision>>, Error>
where
    O: Watched + Resource<Scope = NamespaceResourceScope>,
{
    let mut history = revisions.claim(manager, owner, selector, |_| true, &json!({})).await?;
    history.sort_by_key(|revision| (revision.revision, revision.metadata.creation_timestamp.clone()));
    Ok(history)
}

/// Deletes revisions by name.
pub(crate) async fn delete(manager: &Manager, namespace: &str, names: Vec<String>) -> Result<(), Error> {
    let api = Api::<ControllerRevision>::namespaced(manager.client.clone(), namespace);
    for name in names {
        match api.delete(&name, &DeleteParams::default()).await {
            Err(error) if code(&error) != 404 => {
                return Err(Error::request("delete controller revision", name)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::StatefulSet;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]},
        }))
        .unwrap()
    }

    fn revision(image: &str, number: i64) -> Arc<ControllerRevision> {
        let mut owner = StatefulSet::default();
        owner.metadata.name = Some("db".to_owned());
        let mut revision = snapshot(&owner, &template(image), None, "hash");
        revision.revision = number;
        Arc::new(revision)
    }

    #[test]
    fn a_known_template_is_renumbered_and_a_new_one_added() {
        let history = [revision("a:1", 1), revision("a:2", 2)];
        let wanted = |image: &str| (*revision(image, 0)).clone();
        assert_eq!(change(&history, wanted("a:2")), Change::Keep((*history[1]).clone()));
        let Change::Renumber(back) = change(&history, wanted("a:1")) else { panic!() };
        assert_eq!((name(&back), back.revision), (name(&history[0]), 3));
        let Change::Create(new) = change(&history, wanted("a:3")) else { panic!() };
        assert_eq!(new.revision, 3);
    }

    #[test]
    fn the_oldest_unused_go() {
        let history = [revision("a:1", 1), revision("a:2", 2), revision("a:3", 3), revision("a:4", 4)];
        let used = BTreeSet::from([name(&history[0]).to_owned(), name(&history[3]).to_owned()]);
        assert_eq!(surplus(&history, &used, 1), [name(&history[1]).to_owned()]);
        assert!(surplus(&history, &used, 2).is_empty());
    }
}
