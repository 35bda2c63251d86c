//! A pod with what every plugin would compute from it anew.

use super::{PodAffinity, Resources};
use api::k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, PodCondition, PodResourceClaim, PodResourceClaimStatus, PodSpec, PodStatus,
    Toleration, Volume,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use api::pod::{HostPort, condition, host_ports, is_terminal, is_terminating, node_name, requests};
use client::Key;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a container without requests counts as in scores: `DefaultMilliCPURequest`, `DefaultMemoryRequest`.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;
/// The condition of a pod that has to go.
const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// A claim that a pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimUse {
    /// The claim's name.
    pub name: String,
    /// Whether the pod's own volume asks for it (`ephemeral`), so that a controller makes it.
    pub ephemeral: bool,
}

/// A pod as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct PodInfo {
    form: Form,
    /// What it requests of its node; `pods` is 1.
    pub requests: Resources,
    /// The same for scores: something for containers that request nothing.
    pub scored_requests: Resources,
    /// The ports it claims on its node.
    pub host_ports: Vec<HostPort>,
    /// Its affinity to other pods.
    pub affinity: Option<PodAffinity>,
    /// The claims that it mounts.
    pub claims: Vec<ClaimUse>,
    priority: i32,
    started: Option<Timestamp>,
    is_terminal: bool,
    /// What it has in common with pods that are treated alike.
    pub class: String,
}

/// What is kept of a pod.
#[derive(Clone, Debug)]
enum Form {
    Whole(Arc<Pod>),
    /// What plugins, preemption and events want to know of a pod that has its node, besides what is computed from it: there may
    /// be very many of them, and a pod is large although it is empty.
    Gist(Box<Gist>),
}

#[derive(Clone, Debug)]
struct Gist {
    metadata: ObjectMeta,
    node: Option<String>,
    scheduler: Option<String>,
    disks: Vec<Volume>,
    resource_claims: Option<Vec<PodResourceClaim>>,
    phase: Option<String>,
    resource_claim_statuses: Option<Vec<PodResourceClaimStatus>>,
    disruption: Option<Box<PodCondition>>,
}

impl Gist {
    fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let metadata = ObjectMeta {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            generation: meta.generation,
            labels: meta.labels.clone(),
            deletion_timestamp: meta.deletion_timestamp.clone(),
            ..ObjectMeta::default()
        };
        let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
        Self {
            metadata,
            node: spec.and_then(|spec| spec.node_name.clone()),
            scheduler: spec.and_then(|spec| spec.scheduler_name.clone()),
            disks: spec.map(|spec| disks(spec).cloned().collect()).unwrap_or_default(),
            resource_claims: spec.and_then(|spec| spec.resource_claims.clone()),
            phase: status.and_then(|status| status.phase.clone()),
            resource_claim_statuses: status.and_then(|status| status.resource_claim_statuses.clone()),
            disruption: condition(pod, DISRUPTION_TARGET).cloned().map(Box::new),
        }
    }

    /// As much of the pod as is known.
    fn pod(&self) -> Pod {
        let spec = PodSpec {
            node_name: self.node.clone(),
            scheduler_name: self.scheduler.clone(),
            resource_claims: self.resource_claims.clone(),
            volumes: Some(self.disks.clone()),
            ..PodSpec::default()
        };
        let status = PodStatus {
            phase: self.phase.clone(),
            resource_claim_statuses: self.resource_claim_statuses.clone(),
            conditions: self.disruption.as_deref().map(|condition| vec![condition.clone()]),
            ..PodStatus::default()
        };
        Pod { metadata: self.metadata.clone(), spec: Some(spec), status: Some(status) }
    }
}

impl PodInfo {
    /// Of this pod.
    pub fn new(pod: Arc<Pod>) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let mut own = Resources::from_list(&requests(spec));
        own.pods = 1;
        let mut scored = own.clone();
        for container in &spec.containers {
            let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
            let lacks = |name: &str| requests.is_none_or(|r| !r.contains_key(name));
            scored.milli_cpu += if lacks("cpu") { DEFAULT_MILLI_CPU } else { 0 };
            scored.memory += if lacks("memory") { DEFAULT_MEMORY } else { 0 };
        }
        let host_ports = host_ports(spec);
        let affinity = PodAffinity::of(&pod);
        let class = class(&pod, affinity.is_some());
        let claims = claims(&pod, spec);
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        Self {
            requests: own,
            scored_requests: scored,
            host_ports,
            affinity,
            claims,
            priority: spec.priority.unwrap_or(0),
            started,
            is_terminal: is_terminal(&pod),
            class,
            form: Form::Whole(pod),
        }
    }

    /// Of a pod that has its node, and of which only what others ask about is kept: there may be very many of them.
    pub fn placed(pod: &Arc<Pod>) -> Self {
        let info = Self::new(pod.clone());
        Self { form: Form::Gist(Box::new(Gist::of(pod))), ..info }
    }

    /// The pod; of one that has its node, what is kept of it.
    pub fn pod(&self) -> Arc<Pod> {
        match &self.form {
            Form::Whole(pod) => pod.clone(),
            Form::Gist(gist) => Arc::new(gist.pod()),
        }
    }

    fn metadata(&self) -> &ObjectMeta {
        match &self.form {
            Form::Whole(pod) => &pod.metadata,
            Form::Gist(gist) => &gist.metadata,
        }
    }

    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key::new(self.namespace(), self.name())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }

    /// Its labels.
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.metadata().labels.as_ref()
    }

    /// Identity.
    pub fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    /// Whether it is about to go.
    pub fn is_terminating(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    /// Whether it has ended.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The node that it has; empty if none.
    pub fn node(&self) -> &str {
        match &self.form {
            Form::Whole(pod) => node_name(pod),
            Form::Gist(gist) => gist.node.as_deref().unwrap_or_default(),
        }
    }

    /// Why it has to go, if it has.
    pub fn disruption(&self) -> Option<&PodCondition> {
        match &self.form {
            Form::Whole(pod) => condition(pod, DISRUPTION_TARGET),
            Form::Gist(gist) => gist.disruption.as_deref(),
        }
    }

    /// `spec.priority`.
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// The specification, until it has its node.
    pub fn spec(&self) -> Option<&PodSpec> {
        match &self.form {
            Form::Whole(pod) => pod.spec.as_ref(),
            Form::Gist(_) => None,
        }
    }

    /// What taints it bears, until it has its node.
    pub fn tolerations(&self) -> &[Toleration] {
        self.spec().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }

    /// The node that a preemption made room on for it; empty if none.
    pub fn nominated_node(&self) -> &str {
        match &self.form {
            Form::Whole(pod) => {
                pod.status.as_ref().and_then(|s| s.nominated_node_name.as_deref()).unwrap_or_default()
            }
            Form::Gist(_) => "",
        }
    }

    /// Whether plugins that look at one node only cannot tell them apart.
    pub fn is_like(&self, other: &Self) -> bool {
        let asks = |pod: &Self| {
            let spec = pod.spec()?;
            let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
            Some((spec.node_name.clone(), spec.node_selector.clone(), affinity.cloned()))
        };
        self.priority == other.priority
            && self.requests == other.requests
            && self.host_ports == other.host_ports
            && self.tolerations() == other.tolerations()
            && asks(self) == asks(other)
    }

    /// Whether it mounts this claim.
    pub fn mounts(&self, claim: &PersistentVolumeClaim) -> bool {
        claim.metadata.namespace.as_deref() == Some(self.namespace())
            && self.claims.iter().any(|used| Some(&used.name) == claim.metadata.name.as_ref())
    }

    /// Its volumes on disks that may be in use elsewhere.
    pub fn disks(&self) -> impl Iterator<Item = &Volume> {
        let kept = match &self.form {
            Form::Whole(_) => [].iter(),
            Form::Gist(gist) => gist.disks.iter(),
        };
        self.spec().into_iter().flat_map(disks).chain(kept)
    }

    /// What controls it.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.metadata().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
    }

    /// Since when it runs; none if it does not yet.
    pub fn started(&self) -> Option<Timestamp> {
        self.started
    }
}

/// The volumes that may be in use elsewhere.
fn disks(spec: &PodSpec) -> impl Iterator<Item = &Volume> {
    spec.volumes.iter().flatten().filter(|volume| {
        volume.gce_persistent_disk.is_some()
            || volume.aws_elastic_block_store.is_some()
            || volume.iscsi.is_some()
            || volume.rbd.is_some()
    })
}

fn class(pod: &Pod, affine: bool) -> String {
    let mut class = String::new();
    for (key, value) in pod.metadata.labels.iter().flatten() {
        class.push_str(key);
        class.push('=');
        class.push_str(value);
        class.push(',');
    }
    if is_terminating(pod) {
        class.push('-');
    }
    if affine && let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) {
        class.push_str(&serde_json::to_string(affinity).expect("an affinity can be written as JSON"));
    }
    class
}

fn claims(pod: &Pod, spec: &PodSpec) -> Vec<ClaimUse> {
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(ClaimUse { name: claim.claim_name.clone(), ephemeral: false }),
            (None, Some(_)) => Some(ClaimUse { name: format!("{pod}-{}", volume.name), ephemeral: true }),
            (None, None) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_placed_pods_what_others_ask_about_is_kept() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": "p", "uid": "1", "labels": {"app": "web"}, "annotations": {"a": "b"},
                "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "node", "priority": 7, "containers": [{"name": "c", "image": "i",
                "ports": [{"hostPort": 80, "containerPort": 80}], "resources": {"requests": {"cpu": "1"}}}],
                "volumes": [{"name": "disk", "gcePersistentDisk": {"pdName": "d"}}, {"name": "text", "emptyDir": {}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "DisruptionTarget", "status": "True"}]},
        }))
        .expect("a pod");
        let (whole, placed) = (PodInfo::new(Arc::new(pod.clone())), PodInfo::placed(&Arc::new(pod)));
        assert_eq!((placed.key(), placed.uid(), placed.labels()), (whole.key(), whole.uid(), whole.labels()));
        assert_eq!((placed.priority(), placed.started()), (whole.priority(), whole.started()));
        assert_eq!((&placed.requests, &placed.claims), (&whole.requests, &whole.claims));
        assert_eq!((&placed.host_ports, &placed.class), (&whole.host_ports, &whole.class));
        assert_eq!(placed.disks().map(|volume| volume.name.as_str()).collect::<Vec<_>>(), ["disk"]);
        assert!(placed.is_terminating() && placed.disruption().is_some_and(|target| target.status == "True"));
        let pod = placed.pod();
        assert_eq!(
            (node_name(&pod), pod.status.as_ref().unwrap().phase.as_deref()),
            ("node", Some("Running"))
        );
        assert!(condition(&pod, DISRUPTION_TARGET).is_some() && placed.spec().is_none());
    }
}
