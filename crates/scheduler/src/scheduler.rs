//! The loop: watches feed cache and queue, each pod whose turn it is gets a cycle, and its binding a task.
//!
//! **Contract**: decisions are made one after the other on one task; bindings run beside it. A failed binding gives the
//! room back and holds the pod back.
//! **Upstream**: `pkg/scheduler/schedule_one.go`, `eventhandlers.go`.

use crate::Error;
use crate::cache::Cache;
use crate::cycle::{Unschedulable, schedule};
use crate::framework::{ClusterEvent, Plugin, PodInfo};
use crate::plugins;
use crate::queue::{Queue, Waiting};
use api::k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use api::pod::{condition, is_terminal, is_terminating, node_name};
use client::events::Type;
use client::{Delta, Informers, Interner, Key, Recorder};
use component_base::Context;
use component_base::logging::chain;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What the launcher decides about a scheduler.
#[derive(Clone, Debug)]
pub struct Config {
    /// Only pods with this `spec.schedulerName` are scheduled.
    pub name: String,
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
}

impl Default for Config {
    fn default() -> Self {
        Self { name: "default-scheduler".to_owned(), interner: Interner::default() }
    }
}

/// Schedules pods until the context ends.
pub async fn run(context: Context, client: kube::Client, config: Config) -> Result<(), Error> {
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let mut nodes = informers.of::<Node>().subscribe();
    let mut pods = informers.of::<Pod>().subscribe();
    let recorder = Recorder::new(client.clone(), &config.name, None, &context);
    let (failed, mut failures) = mpsc::unbounded_channel();
    let mut scheduler = Scheduler {
        context: context.clone(),
        client,
        config,
        recorder,
        plugins: plugins::all(),
        cache: Cache::default(),
        queue: Queue::default(),
        start: 0,
        failed,
        synced: 0,
    };
    loop {
        let next = scheduler.queue.next_at();
        tokio::select! {
            biased;
            () = context.shutdown.requested() => return Ok(()),
            delta = nodes.recv() => scheduler.node_changed(delta.ok_or(Error::WatchEnded("nodes"))?),
            delta = pods.recv() => scheduler.pod_changed(delta.ok_or(Error::WatchEnded("pods"))?),
            Some(waiting) = failures.recv() => scheduler.binding_failed(waiting),
            () = alarm(&context, next) => {}
        }
        // Everything that is known comes before the next decision.
        while let Some(delta) = nodes.try_recv() {
            scheduler.node_changed(delta);
        }
        while let Some(delta) = pods.try_recv() {
            scheduler.pod_changed(delta);
        }
        scheduler.schedule_all();
    }
}

async fn alarm(context: &Context, at: Option<Timestamp>) {
    match at {
        Some(at) => {
            let left = at.duration_since(context.clock.now());
            context.clock.sleep(Duration::try_from(left).unwrap_or_default()).await;
        }
        None => std::future::pending().await,
    }
}

struct Scheduler {
    context: Context,
    client: kube::Client,
    config: Config,
    recorder: Recorder,
    plugins: Vec<Box<dyn Plugin>>,
    cache: Cache,
    queue: Queue,
    start: usize,
    failed: mpsc::UnboundedSender<Waiting>,
    /// How many of the two watches have told everything that existed.
    synced: u8,
}

impl Scheduler {
    fn schedule_all(&mut self) {
        // A decision on half of the nodes, or without the pods on them, would be wrong.
        if self.synced < 2 {
            return;
        }
        while let Some(waiting) = self.queue.pop(self.context.clock.now()) {
            self.schedule_one(waiting);
        }
    }

    /// One pod: choose, assume, bind; or say why not.
    fn schedule_one(&mut self, waiting: Waiting) {
        let nodes = self.cache.nodes();
        match schedule(&self.plugins, &waiting.info, &nodes, &mut self.start, &self.context.rng) {
            Ok(node) => {
                self.cache.assume(waiting.info.clone(), &node);
                self.bind(waiting, node);
            }
            Err(Unschedulable { message, rejected_by }) => {
                self.recorder.on(&*waiting.info.pod, Type::Warning, "FailedScheduling", message.clone());
                self.explain(&waiting.info.pod, "Unschedulable", message);
                self.queue.park(waiting, rejected_by, self.context.clock.now());
            }
        }
    }

    fn bind(&self, waiting: Waiting, node: String) {
        let pod = waiting.info.pod.clone();
        let (client, recorder, failed) = (self.client.clone(), self.recorder.clone(), self.failed.clone());
        self.context.shutdown.spawn(async move {
            let key = Key::of(&*pod);
            match bind(client, &pod, &node).await {
                Ok(()) => {
                    let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                    recorder.on(&*pod, Type::Normal, "Scheduled", text);
                }
                Err(error) => {
                    tracing::warn!(pod = %key.name, "bind: {}", chain(&error));
                    let text = format!("running Bind plugin: {error}");
                    recorder.on(&*pod, Type::Warning, "FailedScheduling", text);
                    // Without a receiver the scheduler has ended, and the next one starts from the API.
                    let _ = failed.send(waiting);
                }
            }
        });
    }

    fn binding_failed(&mut self, waiting: Waiting) {
        let uid = waiting.info.uid().to_owned();
        if self.cache.remove_pod(&uid) {
            self.happened(ClusterEvent::AssignedPodGone);
        }
        self.queue.hold_back(waiting, self.context.clock.now());
    }

    /// Writes why a pod is not scheduled into its `PodScheduled` condition.
    fn explain(&self, pod: &Arc<Pod>, reason: &'static str, message: String) {
        if let Some(old) = condition(pod, "PodScheduled")
            && old.status == "False"
            && old.reason.as_deref() == Some(reason)
            && old.message.as_deref() == Some(message.as_str())
        {
            return;
        }
        let (pod, client) = (pod.clone(), self.client.clone());
        let now = Time(self.context.clock.now());
        self.context.shutdown.spawn(async move {
            if let Err(error) = patch_condition(client, &pod, reason, message, now).await {
                tracing::debug!(pod = pod.metadata.name, "update the pod's condition: {}", chain(&error));
            }
        });
    }

    fn node_changed(&mut self, delta: Delta<Node>) {
        match delta {
            Delta::Synced => self.synced += 1,
            Delta::Deleted(node) => self.cache.remove_node(node.metadata.name.as_deref().unwrap_or_default()),
            Delta::Added(node) | Delta::Updated { new: node, .. } => {
                for event in self.cache.set_node(node) {
                    self.happened(event);
                }
            }
        }
    }

    fn pod_changed(&mut self, delta: Delta<Pod>) {
        match delta {
            Delta::Synced => self.synced += 1,
            Delta::Deleted(pod) => {
                self.queue.remove(&Key::of(&*pod));
                if self.cache.remove_pod(pod.metadata.uid.as_deref().unwrap_or_default()) {
                    self.happened(ClusterEvent::AssignedPodGone);
                }
            }
            Delta::Added(pod) | Delta::Updated { new: pod, .. } => self.pod_is(pod),
        }
    }

    fn pod_is(&mut self, pod: Arc<Pod>) {
        if !node_name(&pod).is_empty() {
            self.queue.remove(&Key::of(&*pod));
            if self.cache.set_pod(&pod) {
                self.happened(ClusterEvent::AssignedPodGone);
            }
            return;
        }
        let spec = pod.spec.as_ref();
        let ours = spec.and_then(|s| s.scheduler_name.as_deref()) == Some(self.config.name.as_str());
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if !ours || is_terminal(&pod) || is_terminating(&pod) {
            self.queue.remove(&Key::of(&*pod));
            return;
        }
        // Assumed: its binding is under way.
        if self.cache.is_placed(uid) {
            return;
        }
        let info = PodInfo::new(pod);
        let gate = self.plugins.iter().find_map(|plugin| plugin.pre_enqueue(&info).err());
        match gate {
            Some(rejection) => self.explain(&info.pod, "SchedulingGated", rejection.reasons.join(", ")),
            None => self.queue.set(info, self.context.clock.now()),
        }
    }

    fn happened(&mut self, event: ClusterEvent) {
        let plugins = &self.plugins;
        let helps = |name: &str, event| plugins.iter().any(|p| p.name() == name && p.may_help(event));
        self.queue.happened(event, helps, self.context.clock.now());
    }
}

async fn bind(client: kube::Client, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let pods = Api::<Pod>::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or_default());
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let answer = pods.create_subresource("binding", name, &PostParams::default(), &binding).await;
    answer.map(|_: serde_json::Value| ())
}

async fn patch_condition(
    client: kube::Client,
    pod: &Pod,
    reason: &str,
    message: String,
    now: Time,
) -> Result<(), kube::Error> {
    let mut conditions = pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let since = conditions
        .iter()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False")
        .and_then(|c| c.last_transition_time.clone());
    conditions.retain(|c| c.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: since.or(Some(now)),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    });
    // The version makes sure that nobody's newer conditions are lost; who came before us is seen by the watch.
    let body = serde_json::json!({
        "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": conditions}
    });
    let pods = Api::<Pod>::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or_default());
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await.map(drop)
}
