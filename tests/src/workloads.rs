//! Whole clusters with workloads: simulated nodes, a paused clock, objects from JSON, and what was there at each moment.

use component_base::Context;
use futures::TryStreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, ListParams, Patch, PostParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::eventually;

/// Longer than every grace and back-off of upstream; on a paused clock it costs nothing.
pub const DEADLINE: Duration = Duration::from_secs(3000);

/// What tests do with objects of a kind.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + 'static
{
}

/// A cluster of so many simulated nodes, all Ready, whose namespace `default` takes pods.
///
/// # Panics
/// If it does not start.
pub async fn cluster(nodes: u32) -> Cluster {
    let context = Context::simulated(1);
    let builder = Cluster::builder().context(context).nodes(0).simulated_nodes(nodes);
    let cluster = builder.start().await.expect("it starts");
    ready(&cluster, nodes as usize).await;
    cluster
}

/// Waits until so many nodes are Ready and the namespace `default` takes pods.
///
/// # Panics
/// If they are not in time.
pub async fn ready(cluster: &Cluster, nodes: usize) {
    cluster.nodes_ready(nodes, DEADLINE).await.expect("its nodes are Ready");
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), "default");
    eventually(DEADLINE, async || accounts.get_opt("default").await.expect("an answer").is_some()).await;
}

/// Waits until the controllers have taken the taints off the nodes that are Ready.
///
/// # Panics
/// If the API does not answer.
pub async fn untainted(cluster: &Cluster) {
    let nodes = Api::<Node>::all(cluster.client());
    eventually(DEADLINE, async || {
        let all = nodes.list(&ListParams::default()).await.expect("nodes").items;
        all.iter().all(|node| node.spec.as_ref().is_none_or(|spec| spec.taints.is_none()))
    })
    .await;
}

/// A pod template of one container `main` that runs until it is stopped, labelled `app`.
pub fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}],
    }})
}

/// A workload `name` of a kind with a selector, whose pods are of `app:1`; `more` are fields of its spec.
///
/// # Panics
/// If `more` is not an object.
pub fn workload(name: &str, more: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template(name, "app:1")});
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// A patch of the image of a template.
pub fn image(image: &str) -> Patch<Value> {
    Patch::Strategic(
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}),
    )
}

/// How many pods of an app are ready and run this image, and how many there are.
pub async fn running(cluster: &Cluster, app: &str, image: &str) -> (usize, usize) {
    let pods = selected::<Pod>(cluster, app).await;
    let of = |pod: &&Pod| {
        let spec = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone());
        spec.as_deref() == Some(image) && ::api::pod::is_ready(pod)
    };
    (pods.iter().filter(of).count(), pods.len())
}

/// Creates an object in `default`.
///
/// # Panics
/// If the API refuses it.
pub async fn create<K: Kind>(cluster: &Cluster, object: Value) -> K {
    let object: K = serde_json::from_value(object).expect("an object");
    let api: Api<K> = Api::default_namespaced(cluster.client());
    api.create(&PostParams::default(), &object).await.expect("the API takes it")
}

/// The objects of `default` with a label `app`, by name.
///
/// # Panics
/// If the API does not answer.
pub async fn selected<K: Kind>(cluster: &Cluster, app: &str) -> Vec<K> {
    let api: Api<K> = Api::default_namespaced(cluster.client());
    let list = api.list(&ListParams::default().labels(&format!("app={app}"))).await.expect("a list");
    list.items
}

/// Their names.
pub fn names<K: Kind>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

/// What controls an object.
pub fn controller<K: Kind>(object: &K) -> Option<OwnerReference> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true)).cloned()
}

/// Every state that a selection of objects was in, one after each change.
#[derive(Debug)]
pub struct Moments<K = Pod>(Arc<Mutex<Vec<Moment<K>>>>);

/// What was there at a time; what did not change since the moment before is shared with it.
pub type Moment<K = Pod> = Vec<Arc<K>>;

impl<K> Clone for Moments<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Moments<K> {
    /// All states so far.
    ///
    /// # Panics
    /// If the watching task did, like the others.
    pub fn moments(&self) -> Vec<Moment<K>> {
        self.since(0)
    }

    /// All but the first so many.
    pub fn since(&self, first: usize) -> Vec<Moment<K>> {
        self.0.lock().expect("not poisoned").get(first..).unwrap_or_default().to_vec()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().expect("not poisoned").len()
    }

    /// The latest.
    pub fn last(&self) -> Moment<K> {
        self.0.lock().expect("not poisoned").last().cloned().unwrap_or_default()
    }
}

impl<K: Kind> Moments<K> {
    /// Waits until it has seen all that there is at present.
    ///
    /// # Panics
    /// If it has not in time.
    pub async fn caught_up(&self, cluster: &Cluster, labels: &str) {
        let (api, selected) =
            (Api::<K>::default_namespaced(cluster.client()), ListParams::default().labels(labels));
        let versions = |objects: &mut dyn Iterator<Item = &K>| -> BTreeSet<_> {
            objects.map(|object| (object.name_any(), object.resource_version())).collect()
        };
        eventually(DEADLINE, async || {
            let there = api.list(&selected).await.expect("a list").items;
            versions(&mut there.iter()) == versions(&mut self.last().iter().map(AsRef::as_ref))
        })
        .await;
    }
}

/// Watches the pods with these labels until the cluster ends.
pub fn watch_pods(cluster: &Cluster, labels: &str) -> Moments {
    watch(cluster, labels)
}

/// Watches the objects of a kind with these labels until the cluster ends.
pub fn watch<K: Kind + Sync>(cluster: &Cluster, labels: &str) -> Moments<K> {
    let moments = Moments(Arc::default());
    let (api, told) = (Api::<K>::default_namespaced(cluster.client()), moments.clone());
    let params = WatchParams::default().labels(labels);
    tokio::spawn(async move {
        let (mut known, mut version) = (BTreeMap::new(), "0".to_owned());
        // A watch ends after some minutes, which are nothing on a paused clock: the next one goes on where it was.
        while let Ok(events) = api.watch(&params, &version).await {
            let mut events = Box::pin(events);
            while let Ok(Some(event)) = events.try_next().await {
                let (object, gone) = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    WatchEvent::Bookmark(bookmark) => {
                        version = bookmark.metadata.resource_version;
                        continue;
                    }
                    WatchEvent::Error(_) => return,
                };
                version = object.resource_version().unwrap_or(version);
                match gone {
                    true => drop(known.remove(&object.name_any())),
                    false => drop(known.insert(object.name_any(), Arc::new(object))),
                }
                told.0.lock().expect("not poisoned").push(known.values().cloned().collect());
            }
        }
    });
    moments
}
