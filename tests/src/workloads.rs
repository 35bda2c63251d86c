//! Whole clusters with workloads: simulated nodes, a paused clock, objects from JSON, and what was there at each moment.

use component_base::Context;
use futures::TryStreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
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

/// Every state that a selection of pods was in, one after each change.
#[derive(Clone, Debug, Default)]
pub struct Moments(Arc<Mutex<Vec<Vec<Pod>>>>);

impl Moments {
    /// All states so far.
    ///
    /// # Panics
    /// If the watching task did.
    pub fn moments(&self) -> Vec<Vec<Pod>> {
        self.0.lock().expect("not poisoned").clone()
    }
}

/// Watches the pods with these labels until the cluster ends.
pub fn watch_pods(cluster: &Cluster, labels: &str) -> Moments {
    let moments = Moments::default();
    let (pods, told): (Api<Pod>, _) = (Api::default_namespaced(cluster.client()), moments.clone());
    let params = WatchParams::default().labels(labels);
    tokio::spawn(async move {
        let mut known = BTreeMap::new();
        let Ok(events) = pods.watch(&params, "0").await else { return };
        let mut events = Box::pin(events);
        while let Ok(Some(event)) = events.try_next().await {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => drop(known.insert(pod.name_any(), pod)),
                WatchEvent::Deleted(pod) => drop(known.remove(&pod.name_any())),
                WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
            }
            told.0.lock().expect("not poisoned").push(known.values().cloned().collect());
        }
    });
    moments
}
