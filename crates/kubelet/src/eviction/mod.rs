//! What happens when the machine runs short, or a pod takes more than it said.
//!
//! **Contract**: every ten seconds the machine is looked at; under pressure the node says so, takes fewer pods, and one
//! pod at a time is evicted, in upstream's order; for want of disk, unused images go first. A pod that exceeds its own limits
//! of local storage is evicted at once. Looking costs a few files; containers are counted only under pressure, or for pods
//! with such limits.
//! **Not here**: how an evicted pod ends (`pod_worker`).
//! **Upstream**: `pkg/kubelet/eviction`, messages included.

mod rank;
mod signals;

use crate::image_gc;
use crate::images::EventKind;
use crate::pod_worker::Node;
use crate::preemption;
use crate::static_pods::{is_static, mirrored};
use crate::volumes::usage_of;
use api::k8s_openapi::api::core::v1::{Pod, PodSpec};
use api::pod::{is_terminal, limits as pod_limits, parse_quantity};
use api::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};
use rank::{Candidate, order};
use runtime::{ContainerFilter, ContainerStats, StatsDetail, labels};
use signals::{Observation, Signal};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// `evictionMonitoringPeriod`.
const PERIOD: Duration = Duration::from_secs(10);
/// `evictionPressureTransitionPeriod`: how long pressure is told after it has ended.
const TRANSITION: SignedDuration = SignedDuration::from_secs(300);
/// Priorities from here on belong to what keeps the cluster alive: `SystemCriticalPriority`.
pub(crate) const CRITICAL: i32 = 2_000_000_000;

/// The resource that local storage is.
const STORAGE: &str = "ephemeral-storage";

/// `immediateEvictionGracePeriodSeconds`.
const GRACE: u64 = 1;

/// A pod that must go, and the words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Eviction {
    pub(crate) uid: String,
    pub(crate) cause: Cause,
    pub(crate) message: String,
    /// Seconds between its stop signals and SIGKILL.
    pub(crate) grace: u64,
}

/// For whose sake a pod must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Something is short.
    Resources,
    /// The pod took more local storage than was agreed.
    Limits,
    /// The node ends.
    NodeShutdown,
    /// A critical pod needs its place.
    Preemption,
}

impl Cause {
    /// The pod's `status.reason`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Resources | Self::Limits => "Evicted",
            Self::NodeShutdown => "Terminated",
            Self::Preemption => "Preempting",
        }
    }

    /// What the condition `DisruptionTarget` says, if the pod has one: who has itself to blame has none.
    /// `message` is what the status says.
    pub(crate) fn disruption(self, message: &str) -> Option<String> {
        match self {
            Self::Limits => None,
            Self::Preemption => Some(preemption::DISRUPTION.to_owned()),
            Self::Resources | Self::NodeShutdown => Some(message.to_owned()),
        }
    }
}

/// What the machine is short of, as the node tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
    pub(crate) pid: bool,
}

/// The pressure last seen; shared by whoever tells of it.
#[derive(Clone, Default)]
pub(crate) struct PressureGauge(Arc<Mutex<BTreeMap<Signal, Timestamp>>>);

impl PressureGauge {
    /// What the node is to say now.
    pub(crate) fn read(&self, now: Timestamp) -> Pressure {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately =
            |signal: &Signal| seen.get(signal).is_some_and(|at| now.duration_since(*at) < TRANSITION);
        Pressure {
            memory: lately(&Signal::Memory),
            disk: lately(&Signal::NodeDisk) || lately(&Signal::ImageDisk),
            pid: lately(&Signal::Pid),
        }
    }

    fn note(&self, met: &[Signal], now: Timestamp) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in met {
            seen.insert(*signal, now);
        }
    }
}

/// Looks at the machine until the context ends. `root_dir` has the pods' files, `engine_dir` the images.
pub(crate) async fn run(node: Arc<Node>, gauge: PressureGauge, root_dir: PathBuf, engine_dir: PathBuf) {
    loop {
        node.context.clock.sleep(PERIOD).await;
        let pods: Vec<Arc<Pod>> = node.pods.list().into_iter().filter(|pod| is_active(pod)).collect();
        let mut evicted = over_their_limits(&node, &pods).await;
        let observed = observe(&root_dir, &engine_dir).await;
        let met: Vec<Signal> = observed.iter().filter(|o| o.is_met()).map(|o| o.signal).collect();
        gauge.note(&met, node.context.clock.now());
        if evicted.is_empty()
            && let Some(observation) = observed.iter().find(|o| o.is_met())
        {
            let words = format!("Attempting to reclaim {}", observation.resource());
            node.own_event(EventKind::Warning, "EvictionThresholdMet", &words);
            if make_room(&node, observation.signal, &root_dir, &engine_dir).await {
                continue;
            }
            let guilty = most_guilty(&node, observation, &pods).await;
            evicted.extend(guilty.map(|eviction| (observation.name(), eviction)));
        }
        for (signal, eviction) in evicted {
            node.evictions.count(signal, 1);
            if node.evict.send(eviction).await.is_err() {
                return;
            }
        }
    }
}

async fn observe(root_dir: &Path, engine_dir: &Path) -> Vec<Observation> {
    let (root, engine) = (root_dir.to_owned(), engine_dir.to_owned());
    tokio::task::spawn_blocking(move || signals::observe(&root, &engine)).await.unwrap_or_default()
}

/// Before a pod has to go for want of disk, unused images do; tells whether that was enough.
async fn make_room(node: &Node, signal: Signal, root_dir: &Path, engine_dir: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let images_help = match signal {
        Signal::ImageDisk => true,
        Signal::NodeDisk => device(root_dir) == device(engine_dir),
        Signal::Memory | Signal::Pid => false,
    };
    if !images_help {
        return false;
    }
    if let Err(error) = image_gc::collect(&node.context.clock, &*node.runtime, &node.images, u64::MAX).await {
        tracing::warn!("collect unused images: {error}");
    }
    !observe(root_dir, engine_dir).await.iter().any(Observation::is_met)
}

fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the node or the cluster cannot do without a pod.
pub(crate) fn is_critical(pod: &Pod) -> bool {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    is_static(pod) || mirrored(pod).is_some() || priority >= CRITICAL
}

/// The pod that goes first when the machine is short of something.
async fn most_guilty(node: &Node, observation: &Observation, pods: &[Arc<Pod>]) -> Option<Eviction> {
    let by_pod = usage(node, observation.signal.detail()).await?;
    let memory = observation.signal == Signal::Memory;
    let on_disks = matches!(observation.signal, Signal::NodeDisk | Signal::ImageDisk);
    let mut candidates = Vec::new();
    for pod in pods.iter().filter(|pod| !is_critical(pod)) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let containers = by_pod.get(&uid).map(Vec::as_slice).unwrap_or_default();
        let resource = observation.resource();
        let request = pod.spec.as_ref().map(api::pod::requests).unwrap_or_default();
        let of_containers: u64 =
            containers.iter().map(|c| if memory { c.memory.working_set } else { on_disk(c) }).sum();
        let of_volumes: u64 = match pod.spec.as_ref().filter(|_| on_disks) {
            Some(spec) => sizes(node, pod, empty_dirs(spec)).await.values().sum(),
            None => 0,
        };
        candidates.push(Candidate {
            pod: pod.clone(),
            priority: pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0),
            usage: of_containers + of_volumes,
            request: request.get(resource).and_then(|q| u64::try_from(q.value()).ok()).unwrap_or(0),
        });
    }
    let first = order(candidates).into_iter().next()?;
    let uid = first.pod.metadata.uid.clone().unwrap_or_default();
    let containers = by_pod.get(&uid).map(Vec::as_slice).unwrap_or_default();
    let message = message(observation, first.pod.spec.as_ref(), containers);
    Some(Eviction { uid, cause: Cause::Resources, message, grace: GRACE })
}

/// The words of an eviction under pressure.
fn message(observation: &Observation, spec: Option<&PodSpec>, containers: &[ContainerStats]) -> String {
    let resource = observation.resource();
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        observation.amount(observation.threshold),
        observation.amount(observation.available)
    );
    for container in spec.iter().flat_map(|s| &s.containers) {
        let used = containers.iter().find(|c| c.metadata.name == container.name);
        let memory = observation.signal == Signal::Memory;
        let Some(used) = used.map(|c| if memory { c.memory.working_set } else { on_disk(c) }) else {
            continue;
        };
        let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        let request = requests.and_then(|r| r.get(resource)).map(parse_quantity).unwrap_or_default();
        if used > u64::try_from(request.value()).unwrap_or(0) {
            text.push_str(&format!(
                "Container {} was using {}, request is {request}, has larger consumption of {resource}. ",
                container.name,
                bytes(used)
            ));
        }
    }
    text
}

fn bytes(bytes: u64) -> Quantity {
    Quantity::bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn on_disk(container: &ContainerStats) -> u64 {
    let of = |usage: &Option<runtime::FilesystemUsage>| usage.as_ref().map_or(0, |usage| usage.used_bytes);
    of(&container.rootfs) + of(&container.logs)
}

/// What containers use, by the UID of their pods.
async fn usage(node: &Node, detail: StatsDetail) -> Option<HashMap<String, Vec<ContainerStats>>> {
    match node.runtime.container_stats(&ContainerFilter::default(), detail).await {
        Ok(stats) => {
            let mut by_pod: HashMap<String, Vec<ContainerStats>> = HashMap::new();
            for container in stats {
                let uid = container.labels.get(labels::POD_UID).cloned().unwrap_or_default();
                by_pod.entry(uid).or_default().push(container);
            }
            Some(by_pod)
        }
        Err(error) => {
            tracing::warn!("ask what containers use: {error}");
            None
        }
    }
}

/// Pods that have taken more local storage than they said they would, and as upstream calls what they have exceeded.
async fn over_their_limits(node: &Node, pods: &[Arc<Pod>]) -> Vec<(&'static str, Eviction)> {
    let mine = pods.iter().filter(|pod| !is_critical(pod));
    let limited: Vec<(&Arc<Pod>, LocalLimits)> =
        mine.filter_map(|pod| Some((pod, LocalLimits::of(pod.spec.as_ref()?)?))).collect();
    if limited.is_empty() {
        return Vec::new();
    }
    let stats = if limited.iter().any(|(_, limits)| limits.total.is_some()) {
        usage(node, StatsDetail::Filesystems).await.unwrap_or_default()
    } else {
        HashMap::new()
    };
    let mut evictions = Vec::new();
    for (pod, limits) in limited {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let sizes = sizes(node, pod, limits.volumes.keys().cloned().collect()).await;
        let containers = stats.get(&uid).map(Vec::as_slice).unwrap_or_default();
        let on_disk: BTreeMap<String, u64> =
            containers.iter().map(|c| (c.metadata.name.clone(), on_disk(c))).collect();
        if let Some((signal, message)) = limits.exceeded(&sizes, &on_disk) {
            evictions.push((signal, Eviction { uid, cause: Cause::Limits, message, grace: GRACE }));
        }
    }
    evictions
}

/// The emptyDirs that are on disk.
fn empty_dirs(spec: &PodSpec) -> Vec<String> {
    let on_disk = spec.volumes.iter().flatten().filter(|volume| {
        let source = volume.empty_dir.as_ref();
        source.is_some_and(|source| source.medium.as_deref().unwrap_or_default().is_empty())
    });
    on_disk.map(|volume| volume.name.clone()).collect()
}

/// The bytes that these emptyDirs of a pod take.
async fn sizes(node: &Node, pod: &Pod, names: Vec<String>) -> BTreeMap<String, u64> {
    let Some(pod_dir) = node.pod_dir(pod) else { return BTreeMap::new() };
    let sizes = tokio::task::spawn_blocking(move || {
        names.into_iter().map(|name| (usage_of(&empty_dir(&pod_dir, &name)).bytes, name)).collect::<Vec<_>>()
    });
    sizes.await.unwrap_or_default().into_iter().map(|(bytes, name)| (name, bytes)).collect()
}

/// What a pod has said of its local storage.
#[derive(Debug, Default)]
struct LocalLimits {
    /// Every emptyDir on disk, with its limit in bytes and in words where it has one.
    volumes: BTreeMap<String, Option<(u64, String)>>,
    containers: BTreeMap<String, (u64, String)>,
    /// Of all containers together, as far as they have one.
    total: Option<Quantity>,
}

impl LocalLimits {
    /// None: it has said nothing.
    fn of(spec: &PodSpec) -> Option<Self> {
        let mut limits = Self::default();
        let amount = |q: &api::k8s_openapi::apimachinery::pkg::api::resource::Quantity| {
            (u64::try_from(parse_quantity(q).value()).unwrap_or(0), q.0.clone())
        };
        let on_disk = empty_dirs(spec);
        for volume in spec.volumes.iter().flatten().filter(|volume| on_disk.contains(&volume.name)) {
            let Some(source) = &volume.empty_dir else { continue };
            let limit = source.size_limit.as_ref().map(amount).filter(|(bytes, _)| *bytes > 0);
            limits.volumes.insert(volume.name.clone(), limit);
        }
        for container in &spec.containers {
            let list = container.resources.as_ref().and_then(|r| r.limits.as_ref());
            if let Some(limit) = list.and_then(|l| l.get(STORAGE)) {
                limits.containers.insert(container.name.clone(), amount(limit));
            }
        }
        // A container without a limit of its own shares that of the others.
        limits.total = pod_limits(spec).get(STORAGE).copied();
        limits.containers.retain(|_, (bytes, _)| *bytes > 0);
        let says_something = limits.total.is_some()
            || !limits.containers.is_empty()
            || limits.volumes.values().any(Option::is_some);
        says_something.then_some(limits)
    }

    /// What is exceeded, as upstream calls it, and the words for it.
    fn exceeded(
        &self,
        volumes: &BTreeMap<String, u64>,
        containers: &BTreeMap<String, u64>,
    ) -> Option<(&'static str, String)> {
        for (name, limit) in &self.volumes {
            let used = volumes.get(name).copied().unwrap_or(0);
            if let Some((limit, text)) = limit
                && used > *limit
            {
                let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit {text:?}. ");
                return Some(("emptydirfs.limit", message));
            }
        }
        let all: u64 = volumes.values().chain(containers.values()).sum();
        let all = i64::try_from(all).unwrap_or(i64::MAX);
        if let Some(total) = self.total.filter(|total| all > total.value()) {
            let message =
                format!("Pod ephemeral local storage usage exceeds the total limit of containers {total}. ");
            return Some(("ephemeralpodfs.limit", message));
        }
        self.containers.iter().find_map(|(name, (limit, text))| {
            let used = containers.get(name).copied().unwrap_or(0);
            (used > *limit).then(|| {
                let message =
                    format!("Container {name} exceeded its local ephemeral storage limit {text:?}. ");
                ("ephemeralcontainerfs.limit", message)
            })
        })
    }
}

fn empty_dir(pod_dir: &Path, volume: &str) -> PathBuf {
    pod_dir.join("volumes").join("kubernetes.io~empty-dir").join(volume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{ContainerId, ContainerMetadata, MemoryStats, StringMap};
    use serde_json::json;

    #[test]
    fn limits_of_local_storage_are_found_exceeded_in_upstreams_words() {
        let spec: PodSpec = serde_json::from_value(json!({
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "w", "emptyDir": {}},
                {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
            "containers": [{"name": "c", "resources": {"limits": {"ephemeral-storage": "4Mi"}}}]
        }))
        .expect("a spec");
        let limits = LocalLimits::of(&spec).expect("it says something");
        assert_eq!(limits.volumes.keys().collect::<Vec<_>>(), ["v", "w"]);
        const MI: u64 = 1 << 20;
        let of_pod = "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ";
        for (v, w, c, said) in [
            (MI, MI, MI, None),
            (
                MI + 1,
                0,
                0,
                Some(("emptydirfs.limit", "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ")),
            ),
            (0, 3 * MI, 2 * MI, Some(("ephemeralpodfs.limit", of_pod))),
        ] {
            let volumes = [("v".to_owned(), v), ("w".to_owned(), w)].into();
            let got = limits.exceeded(&volumes, &[("c".to_owned(), c)].into());
            assert_eq!(got, said.map(|(signal, message)| (signal, message.to_owned())));
        }
        let both: PodSpec = serde_json::from_value(json!({"containers": [
            {"name": "c", "resources": {"limits": {"ephemeral-storage": "4Mi"}}}, {"name": "d"}]}))
        .expect("a spec");
        let limits = LocalLimits::of(&both).expect("it says something");
        for (c, d, said) in [(3 * MI, MI, None), (0, 5 * MI, Some(of_pod))] {
            let used = [("c".to_owned(), c), ("d".to_owned(), d)].into();
            let got = limits.exceeded(&BTreeMap::new(), &used).map(|(_, message)| message);
            assert_eq!(got.as_deref(), said);
        }
        let silent: PodSpec = serde_json::from_value(json!({"containers": [{"name": "c"}]})).expect("a spec");
        assert!(LocalLimits::of(&silent).is_none());
    }

    #[test]
    fn what_ran_short_is_told_in_upstreams_words() {
        let spec: PodSpec = serde_json::from_value(json!({"containers": [
            {"name": "c", "resources": {"requests": {"memory": "1Mi"}}}, {"name": "d"}]}))
        .expect("a spec");
        let used = ContainerStats {
            id: ContainerId::new("c"),
            metadata: ContainerMetadata { name: "c".to_owned(), ..ContainerMetadata::default() },
            labels: StringMap::default(),
            timestamp: Timestamp::UNIX_EPOCH,
            started_at: None,
            cpu_nanos: 0,
            memory: MemoryStats { working_set: 3 << 20, ..MemoryStats::default() },
            rootfs: None,
            logs: None,
        };
        let short = Observation::of(Signal::Memory, (99 << 20) + 512, 100 << 20);
        assert_eq!(
            message(&short, Some(&spec), &[used]),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 103809536. Container c was \
             using 3Mi, request is 1Mi, has larger consumption of memory. "
        );
    }

    #[test]
    fn pressure_is_told_for_five_minutes() {
        let gauge = PressureGauge::default();
        let at = |second| Timestamp::from_second(second).expect("in range");
        gauge.note(&[Signal::Memory], at(100));
        assert_eq!(gauge.read(at(399)), Pressure { memory: true, ..Pressure::default() });
        assert_eq!(gauge.read(at(400)), Pressure::default());
    }
}
