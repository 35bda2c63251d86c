//! What all workers of a node share.

use super::uid;
use crate::admission::{self, Misfit, Rejection, Room};
use crate::container_config::{NodeContext, grace_period};
use crate::eviction::{Cause, Eviction, PressureGauge};
use crate::images::{EventKind, Images};
use crate::network_files::ClusterDns;
use crate::own_node::OwnNode;
use crate::preemption::{self, victims};
use crate::probes::Results;
use crate::references::References;
use crate::restart::{self, Role};
use crate::static_pods::{is_static, runtime_uid};
use crate::tally::Tally;
use crate::volumes::Registry;
use api::k8s_openapi::api::core::v1::{Node as ApiNode, ObjectReference, Pod, Service};
use api::pod::is_terminal;
use client::events::Type as EventType;
use client::{Informer, Recorder};
use component_base::Context;
use component_base::logging::chain;
use jiff::Timestamp;
use kube::Api;
use runtime::RuntimeService;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What a pod that is preempted gets at least until nobody waits for it any longer (`killPodNow`).
const PREEMPTION_WAIT_MIN: Duration = Duration::from_secs(10);

/// What all workers of a node share.
pub(crate) struct Node {
    pub(crate) context: Context,
    pub(crate) client: kube::Client,
    pub(crate) runtime: Arc<dyn RuntimeService>,
    pub(crate) images: Arc<Images>,
    pub(crate) recorder: Recorder,
    pub(crate) facts: NodeContext,
    /// The scheme of container ids.
    pub(crate) scheme: String,
    /// Where pods keep files on this node; none on a simulated node.
    pub(crate) pods_dir: Option<PathBuf>,
    /// Where links lead to containers' logs, if anywhere.
    pub(crate) log_dir: Option<PathBuf>,
    /// Where seccomp profiles of this node are.
    pub(crate) seccomp_dir: Option<PathBuf>,
    /// Whether this process may mount.
    pub(crate) may_mount: bool,
    /// The objects that pods refer to.
    pub(crate) references: References,
    /// Every service, for the environment; none on a simulated node, where nobody reads it.
    pub(crate) services: Option<Informer<Service>>,
    pub(crate) cluster_dns: ClusterDns,
    /// The pods of this node.
    pub(crate) pods: Informer<Pod>,
    /// When this kubelet began.
    pub(crate) started: Timestamp,
    /// How often probes succeeded.
    pub(crate) probe_results: Results,
    /// Where pods' volumes are.
    pub(crate) volumes: Registry,
    /// What the machine is short of.
    pub(crate) pressure: PressureGauge,
    /// Who had to go for want of something.
    pub(crate) evictions: Tally,
    /// Who had to go for others, by the resource that was missing first.
    pub(crate) preemptions: Tally,
    /// Whether the node is about to end.
    pub(crate) shutting_down: watch::Sender<bool>,
    /// UIDs of pods that were given a place and may not show it yet.
    pub(crate) admitted: Mutex<HashSet<String>>,
    /// The node's object.
    pub(crate) object: OwnNode,
    /// Orders to pods to leave this node.
    pub(crate) evict: mpsc::Sender<Eviction>,
}

impl Node {
    /// A pod's own folder.
    pub(crate) fn pod_dir(&self, pod: &Pod) -> Option<PathBuf> {
        Some(self.pods_dir.as_ref()?.join(uid(pod)))
    }

    /// Whether the node takes a pod. One that it takes has its place from here on.
    pub(crate) async fn admit(&self, pod: &Pod) -> Option<Rejection> {
        if *self.shutting_down.borrow() {
            return Some(admission::shutting_down());
        }
        if let Some(rejection) = admission::admit(pod) {
            return Some(rejection);
        }
        let mut seen = self.object.last_seen();
        if seen.is_none() && !is_static(pod) {
            seen = self.look_up().await;
        }
        let placed = match self.place(pod, seen.as_deref()) {
            // Labels, taints and what others offer may have changed since.
            Err(rejection) if rejection.may_be_outdated() => match self.look_up().await {
                Some(node) => self.place(pod, Some(&node)),
                None => Err(rejection),
            },
            placed => placed,
        };
        match placed {
            Ok((in_the_way, missing)) => {
                self.preempt(&in_the_way, &missing).await;
                None
            }
            Err(rejection) => Some(rejection),
        }
    }

    /// Gives the pod a place, if there is one once the pods go that it returns; with them, the resource they go for.
    fn place(&self, pod: &Pod, object: Option<&ApiNode>) -> Result<(Vec<Arc<Pod>>, String), Rejection> {
        let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        let has_place = |other: &Pod| {
            let started = other.status.as_ref().is_some_and(|s| s.start_time.is_some());
            let other_uid = runtime_uid(other);
            other_uid != uid(pod) && !is_terminal(other) && (started || admitted.contains(&other_uid))
        };
        let others: Vec<_> = self.pods.list().into_iter().filter(|other| has_place(other)).collect();
        let pressure = self.pressure.read(self.context.clock.now());
        let room = Room { others: &others, node: &self.facts, pressure, object };
        let in_the_way = match admission::fits(pod, &room) {
            Ok(()) => (Vec::new(), String::new()),
            Err(Misfit::Refused(rejection)) => return Err(rejection),
            Err(Misfit::Needs(required)) => {
                let found = victims(pod, &others, &required);
                let found = found.map_err(|why| admission::nobody_to_preempt(&why))?;
                (found, required.into_iter().next().map(|first| first.resource).unwrap_or_default())
            }
        };
        admitted.insert(uid(pod).to_owned());
        Ok(in_the_way)
    }

    /// Sends pods away, and waits until they are.
    async fn preempt(&self, pods: &[Arc<Pod>], missing: &str) {
        let mut wait = Duration::ZERO;
        for pod in pods {
            let of_spec = pod.spec.as_ref().map_or(30, grace_period);
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(of_spec);
            let grace = u64::try_from(grace).unwrap_or(0);
            wait = wait.max(Duration::from_secs(grace + grace / 2)).max(PREEMPTION_WAIT_MIN);
            let message = preemption::MESSAGE.to_owned();
            let order = Eviction { uid: runtime_uid(pod), cause: Cause::Preemption, message, grace };
            if self.evict.send(order).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = self.ended(pods) => self.preemptions.count(missing, pods.len()),
            () = self.context.clock.sleep(wait) => {
                tracing::warn!(node = self.facts.node_name, "pods did not make room in time");
            }
        }
    }

    /// Waits until none of these pods runs any more.
    pub(crate) async fn ended(&self, pods: &[Arc<Pod>]) {
        let mut changes = self.pods.subscribe();
        let runs = |pod: &Arc<Pod>| {
            let meta = &pod.metadata;
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let known = self.pods.get(namespace, meta.name.as_deref().unwrap_or_default());
            known.is_some_and(|known| known.metadata.uid == meta.uid && !is_terminal(&known))
        };
        while pods.iter().any(runs) {
            if changes.recv().await.is_none() {
                return;
            }
        }
    }

    /// A pod gives its place back.
    pub(crate) fn release(&self, pod: &Pod) {
        self.volumes.forget(&runtime_uid(pod));
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).remove(uid(pod));
    }

    /// The node's object as it is now.
    async fn look_up(&self) -> Option<Arc<ApiNode>> {
        let nodes: Api<ApiNode> = Api::all(self.client.clone());
        match nodes.get(&self.facts.node_name).await {
            Ok(node) => {
                self.object.saw(&node);
                Some(Arc::new(node))
            }
            Err(error) => {
                tracing::warn!("read the node: {}", chain(&error));
                None
            }
        }
    }

    /// Records an event about a pod, or about one of its containers.
    pub(crate) fn event(
        &self,
        pod: &Pod,
        container: Option<&str>,
        kind: EventKind,
        reason: &str,
        message: &str,
    ) {
        self.recorder.event(&reference(pod, container), event_type(kind), reason, message);
    }

    /// Records an event about the node itself.
    pub(crate) fn own_event(&self, kind: EventKind, reason: &str, message: &str) {
        // Upstream refers to the node by its name, in both fields.
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.facts.node_name.clone()),
            uid: Some(self.facts.node_name.clone()),
            ..Default::default()
        };
        self.recorder.event(&about, event_type(kind), reason, message);
    }
}

fn event_type(kind: EventKind) -> EventType {
    match kind {
        EventKind::Normal => EventType::Normal,
        EventKind::Warning => EventType::Warning,
    }
}

/// What an event is about: the pod, or a container of it by field path.
fn reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let field = container.map(|name| {
        let role = pod.spec.as_ref().and_then(|spec| restart::find(spec, name)).map(|(role, _)| role);
        let list = match role {
            Some(Role::Init) => "initContainers",
            Some(Role::Ephemeral) => "ephemeralContainers",
            _ => "containers",
        };
        format!("spec.{list}{{{name}}}")
    });
    ObjectReference {
        kind: Some("Pod".to_owned()),
        api_version: Some("v1".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: field,
    }
}
