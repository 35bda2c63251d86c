//! The kubelet in a whole cluster in this process: a runtime with scripted containers and faults, time that costs nothing.
//!
//! **Contract**: every test has a cluster, a runtime and a clock of its own; waiting is on conditions, in simulated time.
//! **Not here**: real containers (`docker`), decisions one by one (beside the code of `kubelet`).

mod adoption;
mod devices;
mod endings;
mod files;
mod health;
mod images;
mod node;
mod restarts;
mod sandboxes;
mod shutdown;
mod statics;

use component_base::Context;
use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::wait::await_condition;
use minik::Cluster;
use runtime::fake::{Call, FakeRuntime, Operation};
use runtime::{Container, ContainerFilter, ContainerId, PodSandbox, PodSandboxFilter, RuntimeService};
use serde_json::{Value, json};
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::{Memory, OpenOptions, Storage};
use testkit::eventually_some;

/// Longer than any back-off, in simulated time.
const LONG: Duration = Duration::from_secs(3600);

/// A cluster of one node, with what outlives it: its store and its containers.
struct Bed {
    context: Context,
    runtime: FakeRuntime,
    storage: Arc<dyn Storage>,
    root_dir: Option<PathBuf>,
    cluster: Cluster,
}

fn memory(context: &Context) -> Arc<dyn Storage> {
    let clock = context.clock.clone();
    let now = Arc::new(move || u64::try_from(clock.now().as_millisecond()).expect("after 1970"));
    Arc::new(Memory::new(OpenOptions::new(now)))
}

/// What pods have left in the folder goes with the bed, their mounts first.
impl Drop for Bed {
    fn drop(&mut self) {
        self.cluster.context().shutdown.trigger();
        if let Some(dir) = &self.root_dir {
            let removed = ::kubelet::remove_root_dir(dir);
            assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
        }
    }
}

impl Bed {
    async fn new() -> Self {
        Self::with(None).await
    }

    async fn with(root_dir: Option<PathBuf>) -> Self {
        let context = Context::simulated(7);
        let runtime = FakeRuntime::new(context.clock.now());
        let storage = memory(&context);
        let cluster = Self::start(&context, &runtime, &storage, &root_dir, 1).await;
        Self { context, runtime, storage, root_dir, cluster }
    }

    async fn start(
        context: &Context,
        runtime: &FakeRuntime,
        storage: &Arc<dyn Storage>,
        root_dir: &Option<PathBuf>,
        nodes: u32,
    ) -> Cluster {
        let mut builder = Cluster::builder()
            .context(context.clone())
            .storage(storage.clone())
            .nodes(nodes)
            .node_runtime(Arc::new(runtime.clone()));
        if let Some(dir) = root_dir {
            builder = builder.root_dir(dir.clone());
        }
        let cluster = builder.start().await.expect("it starts");
        cluster.nodes_ready(nodes as usize, LONG).await.expect("its node is Ready");
        cluster
    }

    /// The server dies and comes back with so many nodes; store and containers are as they were.
    async fn restart_with(mut self, nodes: u32) -> Self {
        self.die().await;
        self.cluster = Self::start(&self.context, &self.runtime, &self.storage, &self.root_dir, nodes).await;
        self
    }

    async fn restart(self) -> Self {
        self.restart_with(1).await
    }

    async fn die(&self) {
        self.cluster.context().shutdown.trigger();
        self.cluster.context().shutdown.finished().await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.cluster.client())
    }

    async fn create(&self, pod: Value) {
        tests::create_pod(&self.cluster.client(), pod).await;
    }

    async fn get(&self, name: &str) -> Option<Value> {
        let pod = self.pods().get_opt(name).await.expect("the API answers")?;
        Some(serde_json::to_value(pod).expect("JSON"))
    }

    /// Waits until the pod is as described.
    #[track_caller]
    fn until<F>(&self, name: &str, holds: F) -> impl Future<Output = Value> + use<F>
    where
        F: Fn(&Value) -> bool + Send + 'static,
    {
        let json = |pod: &Pod| serde_json::to_value(pod).expect("JSON");
        let found = self.becomes(name, move |pod| pod.is_some_and(|pod| holds(&json(pod))));
        async move { json(&found.await.expect("it is there")) }
    }

    /// Waits until the API has the pod no more.
    #[track_caller]
    fn gone(&self, name: &str) -> impl Future<Output = ()> + use<> {
        let gone = self.becomes(name, |pod| pod.is_none());
        async move { assert!(gone.await.is_none()) }
    }

    #[track_caller]
    fn becomes<F>(&self, name: &str, holds: F) -> impl Future<Output = Option<Pod>> + use<F>
    where
        F: Fn(Option<&Pod>) -> bool + Send + 'static,
    {
        let caller = Location::caller();
        let (pods, name) = (self.pods(), name.to_owned());
        async move {
            let wait = await_condition(pods.clone(), &name, move |pod: Option<&Pod>| holds(pod));
            match tokio::time::timeout(LONG, wait).await {
                Ok(pod) => pod.expect("the watch goes on"),
                Err(_) => panic!("{caller}: in vain: {:#?}", pods.get_opt(&name).await),
            }
        }
    }

    #[track_caller]
    fn phase(&self, name: &str, phase: &'static str) -> impl Future<Output = Value> {
        self.until(name, move |pod| pod["status"]["phase"] == phase)
    }

    /// Waits until the first container waits for this reason.
    #[track_caller]
    fn waits(&self, name: &str, reason: &'static str) -> impl Future<Output = Value> {
        self.until(name, move |pod| main(pod)["state"]["waiting"]["reason"] == reason)
    }

    #[track_caller]
    fn restarts(&self, name: &str, count: i64) -> impl Future<Output = Value> {
        self.until(name, move |pod| {
            main(pod)["restartCount"] == count && !main(pod)["state"]["running"].is_null()
        })
    }

    async fn delete(&self, name: &str, grace: Option<u32>) {
        let parameters = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
        self.pods().delete(name, &parameters).await.expect("the API deletes it");
    }

    async fn patch(&self, name: &str, patch: Value) {
        let patch = Patch::Strategic(patch);
        self.pods().patch(name, &PatchParams::default(), &patch).await.expect("the API takes it");
    }

    async fn patch_status(&self, name: &str, status: Value) {
        let patch = Patch::Strategic(json!({ "status": status }));
        self.pods().patch_status(name, &PatchParams::default(), &patch).await.expect("the API takes it");
    }

    /// Reason, message and count of the kubelet's events about a pod, in the order of their first occurrence.
    async fn events(&self, name: &str) -> Vec<(String, String, i32)> {
        let events: Api<Event> = Api::default_namespaced(self.cluster.client());
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let mut items = events.list(&about).await.expect("a list").items;
        items.retain(|e| e.source.as_ref().and_then(|s| s.component.as_deref()) == Some("kubelet"));
        items.sort_by_key(|e| e.metadata.name.clone());
        let text = |text: Option<String>| text.unwrap_or_default();
        items.into_iter().map(|e| (text(e.reason), text(e.message), e.count.unwrap_or(1))).collect()
    }

    /// Waits for an event with this reason whose message begins so, and gives its count.
    #[track_caller]
    fn event<'a>(&'a self, name: &'a str, reason: &'a str, message: &'a str) -> impl Future<Output = i32> {
        eventually_some(LONG, move || async move {
            let events = self.events(name).await;
            events
                .into_iter()
                .find(|(r, m, _)| r == reason && m.starts_with(message))
                .map(|(_, _, count)| count)
        })
    }

    async fn container(&self, pod: &str, name: &str) -> ContainerId {
        self.runtime.find_container(pod, name).await.expect("the runtime has it").id
    }

    async fn containers(&self) -> Vec<Container> {
        self.runtime.list_containers(&ContainerFilter::default()).await.expect("a list")
    }

    async fn sandboxes(&self) -> Vec<PodSandbox> {
        self.runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await.expect("a list")
    }

    /// Whether the runtime has nothing of any pod.
    async fn is_clean(&self) -> bool {
        self.containers().await.is_empty() && self.sandboxes().await.is_empty()
    }

    fn calls(&self, operation: Operation) -> Vec<Call> {
        self.runtime.calls_of(operation)
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Lets simulated time pass.
    async fn pass(&self, seconds: u64) {
        self.context.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Whole seconds since then.
    fn since(&self, then: Timestamp) -> i64 {
        self.now().duration_since(then).as_secs()
    }
}

/// A pod with one container that runs until it is told to end.
fn pod(name: &str) -> Value {
    tests::pod(name, "busybox", &["sleep", "infinity"])
}

/// The same with these fields of the spec.
fn with(name: &str, fields: Value) -> Value {
    let mut pod = pod(name);
    for (key, value) in fields.as_object().expect("an object") {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// The status of the first container.
fn main(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let list = pod["status"]["conditions"].as_array().expect("conditions");
    list.iter().find(|c| c["type"] == kind).expect("the condition is there")
}

/// `type=status` of all conditions, sorted.
fn conditions(pod: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let list = pod["status"]["conditions"].as_array().expect("conditions");
    let mut all: Vec<_> =
        list.iter().map(|c| format!("{}={}", text(&c["type"]), text(&c["status"]))).collect();
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_and_says_so() {
    let bed = Bed::new().await;
    bed.create(pod("p")).await;
    let running = bed.phase("p", "Running").await;
    assert_eq!(
        conditions(&running),
        [
            "ContainersReady=True",
            "Initialized=True",
            "PodReadyToStartContainers=True",
            "PodScheduled=True",
            "Ready=True"
        ]
    );
    for condition in running["status"]["conditions"].as_array().expect("conditions") {
        assert!(condition.get("reason").is_none() && condition.get("message").is_none(), "{condition}");
    }
    assert_eq!(running["metadata"]["generation"], 1, "binding is no change of the author's wishes");
    assert_eq!(running["status"]["observedGeneration"], 1);
    assert_eq!(running["status"]["podIP"], running["status"]["podIPs"][0]["ip"]);
    let status = main(&running);
    assert_eq!(
        (&status["ready"], &status["started"], &status["restartCount"]),
        (&json!(true), &json!(true), &json!(0))
    );
    assert!(status["containerID"].as_str().is_some_and(|id| id.starts_with("fake://")));
    bed.event("p", "Started", "").await;
    let events = bed.events("p").await;
    let reasons: Vec<&str> = events.iter().map(|(reason, ..)| reason.as_str()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for (reason, message) in [
        ("Pulled", "Container image \"busybox\" already present on machine and can be accessed by the pod"),
        ("Created", "Container created"),
        ("Started", "Container started"),
    ] {
        assert!(events.contains(&(reason.to_owned(), message.to_owned(), 1)), "{events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let bed = Bed::new().await;
    bed.create(with("p", json!({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}))).await;
    let failed = bed.phase("p", "Failed").await;
    assert_eq!(failed["status"]["reason"], "PodFeatureUnsupported");
    let message = failed["status"]["message"].as_str().expect("a message");
    assert!(message.contains("spec.volumes[v].nfs"), "{message}");
    assert!(bed.is_clean().await);
    bed.event("p", "PodFeatureUnsupported", "").await;
    bed.delete("p", None).await;
    bed.gone("p").await;
}

/// Every version of a pod that its watchers see: what it says, and no write more than that needs.
#[tokio::test(start_paused = true)]
async fn a_pod_takes_few_steps_through_its_life() {
    let bed = Bed::new().await;
    // A node is tainted until its controller has seen it Ready, and a pod that comes before would be told so.
    let nodes: Api<Node> = Api::all(bed.cluster.client());
    eventually_some(LONG, || async {
        let nodes = nodes.list(&ListParams::default()).await.expect("a list");
        let taints = nodes.items.iter().flat_map(|n| n.spec.iter().flat_map(|s| s.taints.iter().flatten()));
        (taints.count() == 0).then_some(())
    })
    .await;
    let pods = bed.pods();
    let params = WatchParams::default().fields("metadata.name=p");
    let revision = pods.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let mut seen = Box::pin(pods.watch(&params, &revision.expect("a revision")).await.expect("a watch"));
    bed.create(pod("p")).await;
    bed.phase("p", "Running").await;
    bed.delete("p", None).await;
    bed.gone("p").await;
    let mut steps = Vec::new();
    while let Some(event) = seen.try_next().await.expect("no error") {
        let (kind, pod) = match event {
            WatchEvent::Added(pod) => ("added", pod),
            WatchEvent::Modified(pod) => ("modified", pod),
            WatchEvent::Deleted(pod) => ("deleted", pod),
            _ => continue,
        };
        let pod = serde_json::to_value(pod).expect("JSON");
        let state =
            main(&pod)["state"].as_object().and_then(|s| s.keys().next().cloned()).unwrap_or_default();
        let ending = if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { " ending" };
        let phase = pod["status"]["phase"].as_str().expect("a phase");
        steps.push(format!("{kind} {phase} {state}{ending}"));
        if kind == "deleted" {
            break;
        }
    }
    assert_eq!(
        steps,
        [
            "added Pending ",
            "modified Pending ",
            "modified Running running",
            "modified Running running ending",
            "modified Running running ending",
            "modified Succeeded terminated ending",
            "deleted Succeeded terminated ending",
        ]
    );
}
