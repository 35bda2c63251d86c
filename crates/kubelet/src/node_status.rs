//! The node's object: registered once, kept true by heartbeats.
//!
//! **Contract**: foreign labels, annotations, taints, capacities and conditions are preserved; status is written when
//! it changed, and else every five minutes; the lease is the frequent sign of life.
//! **Upstream**: `pkg/kubelet/kubelet_node_status.go`, `pkg/kubelet/nodestatus`.

use crate::eviction::Pressure;
use crate::images::EventKind;
use crate::kubelet::Config;
use crate::pod_worker::Node;
use crate::{Error, machine::MachineInfo};
use api::k8s_openapi::api::core::v1::{
    ContainerImage, Node as ApiNode, NodeAddress, NodeCondition, NodeFeatures, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeSpec, NodeStatus, NodeSystemInfo,
};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use api::well_known::label;
use client::lease::renew_node_lease;
use component_base::Context;
use component_base::logging::chain;
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use runtime::{Image, RuntimeStatus, Version};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// `nodeStatusUpdateFrequency`.
pub(crate) const UPDATE: Duration = Duration::from_secs(10);
/// `nodeStatusReportFrequency`: an unchanged status is written no oftener.
pub(crate) const REPORT: SignedDuration = SignedDuration::from_secs(300);
/// Registration is tried again after 100 ms, doubling to 7 s.
const REGISTER_RETRY: Duration = Duration::from_millis(100);
const REGISTER_RETRY_MAX: Duration = Duration::from_secs(7);
/// How often the engine is asked for its images, which it finds hard to say.
const IMAGES: SignedDuration = SignedDuration::from_secs(60);
/// `nodeStatusMaxImages`, and how many names of each (`maxNamesPerImageInNodeStatus`).
const MAX_IMAGES: usize = 50;
const MAX_IMAGE_NAMES: usize = 5;
/// `maxPods`.
pub(crate) const MAX_PODS: u64 = 110;

/// The conditions that this kubelet decides.
const OWN_CONDITIONS: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];

/// What this kubelet can do that not all can (`nodedeclaredfeatures`): there is no CPU manager in the way of a resize.
const DECLARED_FEATURES: [&str; 1] = ["GuaranteedQoSPodCPUResize"];

/// Keeps the node's object.
pub(crate) struct Reporter {
    node: Arc<Node>,
    context: Context,
    client: kube::Client,
    config: Config,
    version: Version,
    owner: Arc<Mutex<Option<OwnerReference>>>,
    /// The images last told, and when they were asked for.
    images: Mutex<Option<(Timestamp, Vec<ContainerImage>)>>,
}

impl Reporter {
    pub(crate) fn new(node: Arc<Node>, client: kube::Client, config: Config, version: Version) -> Self {
        let context = node.context.clone();
        Self { node, context, client, config, version, owner: Arc::default(), images: Mutex::default() }
    }

    /// Registers the node, then reports until the context ends.
    pub(crate) async fn run(self) {
        let mut pause = REGISTER_RETRY;
        loop {
            match Box::pin(self.register()).await {
                Ok(node) => {
                    self.own(&node);
                    break;
                }
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
            self.context.clock.sleep(pause).await;
            pause = (pause * 2).min(REGISTER_RETRY_MAX);
        }
        let owner = self.owner.clone();
        let (client, context, name) =
            (self.client.clone(), self.context.clone(), self.config.node_name.clone());
        self.context.shutdown.spawn(async move {
            let owner = move || owner.lock().unwrap_or_else(PoisonError::into_inner).clone();
            renew_node_lease(client, &context, &name, owner).await;
        });
        self.event("Starting", "Starting kubelet.");

        let mut reported = self.context.clock.now();
        let mut ending = self.node.shutting_down.subscribe();
        loop {
            tokio::select! {
                () = self.context.clock.sleep(UPDATE) => {}
                // Nobody is to be sent here any more.
                Ok(()) = ending.changed() => {}
            }
            let now = self.context.clock.now();
            // Boxed: a node that waits is small, and there may be a thousand of them.
            match Box::pin(self.report(reported, now)).await {
                Ok(true) => reported = now,
                Ok(false) => {}
                // Somebody deleted the node: as long as this kubelet runs, it is one.
                Err(error) if error.is_not_found() => match Box::pin(self.register()).await {
                    Ok(node) => {
                        self.own(&node);
                        reported = now;
                    }
                    Err(error) => tracing::warn!("{}", chain(&error)),
                },
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
        }
    }

    /// Makes the node the owner of its lease.
    fn own(&self, node: &ApiNode) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.config.node_name.clone(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            ..Default::default()
        });
    }

    /// What is true of this node now.
    async fn facts(&self, now: Timestamp) -> Facts<'_> {
        let runtime = self.runtime_status().await;
        let images = self.images(now).await;
        Facts {
            config: &self.config,
            version: &self.version,
            runtime,
            images,
            pressure: self.node.pressure.read(now),
            may_mount: self.node.may_mount,
            shutting_down: *self.node.shutting_down.borrow(),
        }
    }

    fn api(&self) -> Api<ApiNode> {
        Api::all(self.client.clone())
    }

    async fn runtime_status(&self) -> runtime::Result<RuntimeStatus> {
        let status = self.config.runtime.status().await;
        if let Err(error) = &status {
            tracing::warn!("ask the runtime's status: {error}");
        }
        status
    }

    /// The engine's images as of lately.
    async fn images(&self, now: Timestamp) -> Option<Vec<ContainerImage>> {
        let locked = || self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let known = locked().clone();
        if let Some((_, images)) = known.filter(|(at, _)| now.duration_since(*at) < IMAGES) {
            return Some(images);
        }
        match self.config.images.list_images().await {
            Ok(images) => {
                let images = image_list(&images);
                *locked() = Some((now, images.clone()));
                Some(images)
            }
            Err(error) => {
                tracing::debug!("list images: {error}");
                None
            }
        }
    }

    /// Creates the node, or takes over the one that is there; its status is complete afterwards.
    async fn register(&self) -> Result<ApiNode, Error> {
        let now = self.context.clock.now();
        let facts = self.facts(now).await;
        let mut fresh = ApiNode {
            metadata: api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                name: Some(self.config.node_name.clone()),
                labels: Some(labels(&self.config)),
                ..Default::default()
            },
            spec: Some(NodeSpec {
                pod_cidr: self.config.pod_cidrs.first().cloned(),
                pod_cidrs: Some(self.config.pod_cidrs.clone()).filter(|cidrs| !cidrs.is_empty()),
                ..Default::default()
            }),
            status: None,
        };
        fresh.status = Some(node_status(&facts, &NodeStatus::default(), now));
        match self.api().create(&PostParams::default(), &fresh).await {
            Ok(node) => {
                self.node_ready_events(None, &node);
                self.node.object.saw(&node);
                return Ok(node);
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(Error::api("register the node")(error)),
        }
        let body = serde_json::json!({ "metadata": { "labels": labels(&self.config) } });
        let node = self
            .api()
            .patch(&self.config.node_name, &PatchParams::default(), &Patch::Merge(body))
            .await
            .map_err(Error::api("label the node"))?;
        self.report(Timestamp::UNIX_EPOCH, now).await?;
        Ok(node)
    }

    /// Writes the status if it changed, or if it was written too long ago; tells whether it did. It goes by what the node
    /// says now: others write to it too, and what they say of its readiness is to be set right.
    async fn report(&self, reported: Timestamp, now: Timestamp) -> Result<bool, Error> {
        let name = &self.config.node_name;
        let (facts, node) = futures::future::join(self.facts(now), self.object()).await;
        let node = node?;
        let old = node.status.clone().unwrap_or_default();
        let status = node_status(&facts, &old, now);
        if same(&old, &status) && now.duration_since(reported) < REPORT {
            return Ok(false);
        }
        let body = Patch::Strategic(patch(&old, &status));
        let written = self.api().patch_status(name, &PatchParams::default(), &body).await;
        let written = written.map_err(Error::api("update the node's status"))?;
        self.node_ready_events(Some(&node), &written);
        Ok(true)
    }

    /// The node's object as it is.
    async fn object(&self) -> Result<Arc<ApiNode>, Error> {
        if let Some(node) = self.node.object.current() {
            return Ok(node);
        }
        let node = self.api().get(&self.config.node_name).await.map_err(Error::api("get the node"))?;
        self.node.object.saw(&node);
        Ok(Arc::new(node))
    }

    fn node_ready_events(&self, before: Option<&ApiNode>, after: &ApiNode) {
        let (was, is) = (before.is_some_and(is_ready), is_ready(after));
        let name = &self.config.node_name;
        if is && !was {
            self.event("NodeReady", &format!("Node {name} status is now: NodeReady"));
        } else if was && !is {
            self.event("NodeNotReady", &format!("Node {name} status is now: NodeNotReady"));
        }
    }

    fn event(&self, reason: &str, message: &str) {
        self.node.own_event(EventKind::Normal, reason, message);
    }
}

fn is_ready(node: &ApiNode) -> bool {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// What a node's status is computed from.
struct Facts<'a> {
    config: &'a Config,
    version: &'a Version,
    runtime: runtime::Result<RuntimeStatus>,
    /// None: the engine does not say.
    images: Option<Vec<ContainerImage>>,
    pressure: Pressure,
    /// Volumes can be made read-only with all that is mounted in them.
    may_mount: bool,
    shutting_down: bool,
}

fn labels(config: &Config) -> BTreeMap<String, String> {
    let MachineInfo { operating_system, architecture, .. } = &config.machine;
    let mut labels = config.labels.clone();
    for (key, value) in [
        (label::HOSTNAME, &config.node_name),
        (label::OS, operating_system),
        (label::ARCH, architecture),
        (label::BETA_OS, operating_system),
        (label::BETA_ARCH, architecture),
    ] {
        labels.insert(key.to_owned(), value.clone());
    }
    labels
}

/// Whether two statuses say the same, heartbeat times apart.
fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let without_times = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    without_times(a) == without_times(b)
}

/// The status that the node is to have now.
fn node_status(facts: &Facts<'_>, old: &NodeStatus, now: Timestamp) -> NodeStatus {
    let machine = &facts.config.machine;
    let kibibytes = |bytes: u64| quantity(&format!("{}Ki", bytes / 1024));
    let mut own = BTreeMap::from([
        ("cpu".to_owned(), quantity(&machine.cpus.to_string())),
        ("memory".to_owned(), kibibytes(machine.memory)),
        ("ephemeral-storage".to_owned(), kibibytes(machine.disk)),
        ("pods".to_owned(), quantity(&MAX_PODS.to_string())),
    ]);
    own.extend(machine.huge_pages.iter().map(|(name, bytes)| (name.clone(), kibibytes(*bytes))));
    // Others may add resources to the capacity; the kubelet makes them allocatable.
    let mut capacity = old.capacity.clone().unwrap_or_default();
    capacity.extend(own);
    // Huge pages are nobody's memory but theirs who ask for them.
    let set_apart = machine.huge_pages.values().sum();
    let mut allocatable = capacity.clone();
    allocatable.insert("memory".to_owned(), kibibytes(machine.memory.saturating_sub(set_apart)));
    let internal = machine.addresses.iter().map(|address| ("InternalIP", address.to_string()));
    let addresses = internal.chain([("Hostname", facts.config.node_name.clone())]);
    NodeStatus {
        declared_features: Some(DECLARED_FEATURES.map(str::to_owned).to_vec()),
        addresses: Some(
            addresses.map(|(type_, address)| NodeAddress { type_: type_.to_owned(), address }).collect(),
        ),
        allocatable: Some(allocatable),
        capacity: Some(capacity),
        node_info: Some(NodeSystemInfo {
            architecture: machine.architecture.clone(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!(
                "{}://{}",
                facts.version.runtime_name, facts.version.runtime_version
            ),
            kernel_version: machine.kernel_version.clone(),
            kubelet_version: facts.config.version.clone(),
            machine_id: machine.machine_id.clone(),
            operating_system: machine.operating_system.clone(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            ..Default::default()
        }),
        conditions: Some(conditions(facts, old, now)),
        images: facts.images.clone().or_else(|| old.images.clone()),
        features: Some(NodeFeatures { supplemental_groups_policy: Some(false) }),
        runtime_handlers: Some(vec![NodeRuntimeHandler {
            name: Some(String::new()),
            features: Some(NodeRuntimeHandlerFeatures {
                recursive_read_only_mounts: Some(facts.may_mount),
                user_namespaces: Some(false),
            }),
        }]),
        ..old.clone()
    }
}

/// The largest images, at most so many names of each.
fn image_list(images: &[Image]) -> Vec<ContainerImage> {
    let mut named: Vec<&Image> =
        images.iter().filter(|i| !i.repo_tags.is_empty() || !i.repo_digests.is_empty()).collect();
    named.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let one = |image: &Image| ContainerImage {
        names: Some(
            image.repo_digests.iter().chain(&image.repo_tags).take(MAX_IMAGE_NAMES).cloned().collect(),
        ),
        size_bytes: i64::try_from(image.size).ok(),
    };
    named.into_iter().take(MAX_IMAGES).map(one).collect()
}

/// In the canonical form, as the API server keeps it: any other would look like a change.
fn quantity(text: &str) -> Quantity {
    let parsed = text.parse::<api::quantity::Quantity>();
    Quantity(parsed.map_or_else(|_| text.to_owned(), |quantity| quantity.to_string()))
}

/// The strategic merge patch from one status to the other, of this kubelet's fields only.
fn patch(old: &NodeStatus, new: &NodeStatus) -> serde_json::Value {
    let own = new.conditions.iter().flatten().filter(|c| OWN_CONDITIONS.contains(&c.type_.as_str()));
    let mut allocatable = serde_json::json!(new.allocatable);
    let kept = new.allocatable.clone().unwrap_or_default();
    for gone in old.allocatable.iter().flat_map(BTreeMap::keys).filter(|name| !kept.contains_key(*name)) {
        allocatable[gone] = serde_json::Value::Null;
    }
    serde_json::json!({ "status": {
        "addresses": new.addresses,
        "allocatable": allocatable,
        "capacity": new.capacity,
        "conditions": own.collect::<Vec<_>>(),
        "declaredFeatures": new.declared_features,
        "features": new.features,
        "runtimeHandlers": new.runtime_handlers,
        "images": new.images,
        "nodeInfo": new.node_info,
    }})
}

fn conditions(facts: &Facts<'_>, old: &NodeStatus, now: Timestamp) -> Vec<NodeCondition> {
    let not_ready = |message: String| ("False", "KubeletNotReady", message);
    let ready = match &facts.runtime {
        _ if facts.shutting_down => not_ready("node is shutting down".to_owned()),
        Ok(status) if status.is_ready() => {
            let mut message = "kubelet is posting ready status".to_owned();
            for warning in &status.warnings {
                message.push_str(". WARNING: ");
                message.push_str(warning);
            }
            ("True", "KubeletReady", message)
        }
        Ok(status) => {
            let failing = status.conditions.iter().filter(|c| !c.status);
            let list: Vec<String> = failing.map(|c| format!("{}: {}", c.reason, c.message)).collect();
            not_ready(format!("container runtime not ready: {}", list.join(", ")))
        }
        Err(error @ runtime::Error::Unavailable { .. }) => not_ready(error.to_string()),
        Err(error) => not_ready(format!("container runtime is down: {error}")),
    };
    let pressure = |met: bool, yes: (&'static str, &str), no: (&'static str, &str)| {
        let (status, (reason, message)) = if met { ("True", yes) } else { ("False", no) };
        (status, reason, message.to_owned())
    };
    let memory = pressure(
        facts.pressure.memory,
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let disk = pressure(
        facts.pressure.disk,
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pid = pressure(
        facts.pressure.pid,
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    let mut list = Vec::new();
    for (kind, (status, reason, message)) in
        [("MemoryPressure", memory), ("DiskPressure", disk), ("PIDPressure", pid), ("Ready", ready)]
    {
        let before = old.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == status);
        list.push(NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now))),
        });
    }
    let foreign = old.conditions.iter().flatten().filter(|c| !OWN_CONDITIONS.contains(&c.type_.as_str()));
    list.extend(foreign.cloned());
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_written_as_they_are_kept() {
        for (text, kept) in [("268435456Ki", "256Gi"), ("32", "32"), ("8145484Ki", "8145484Ki")] {
            assert_eq!(quantity(text).0, kept);
        }
    }

    #[test]
    fn a_patch_leaves_alone_what_others_wrote_and_takes_back_what_they_did() {
        let status = |value| -> NodeStatus { serde_json::from_value(value).expect("a status") };
        let old = status(json!({"allocatable": {"cpu": "1", "example.com/gone": "2"}}));
        let new = status(json!({
            "capacity": {"cpu": "1"}, "allocatable": {"cpu": "1"},
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Foreign", "status": "True"}],
        }));
        let patch = patch(&old, &new);
        assert_eq!(patch["status"]["allocatable"], json!({"cpu": "1", "example.com/gone": null}));
        assert_eq!(patch["status"]["conditions"].as_array().map(Vec::len), Some(1));
    }
}
