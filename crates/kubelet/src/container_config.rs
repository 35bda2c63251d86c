//! From a pod's words to the runtime's: sandbox and container configurations.
//!
//! **Contract**: pure; everything from outside the pod comes in as a [`NodeContext`].
//! **Not here**: what cannot be expressed (`admission` has refused it before).
//! **Upstream**: `generatePodSandboxConfig`, `generateContainerConfig` of `pkg/kubelet/kuberuntime`.

pub(crate) use crate::environment::expand_strict;

use crate::environment::expand;
use crate::limits;
use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use api::pod::is_sidecar;
use api::quantity::Quantity;
use runtime::{
    ContainerConfig, ContainerMetadata, Device, DnsConfig, EnvVar, Mount, NamespaceMode, NamespaceOptions,
    PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol, Resources, SecurityContext, StringMap,
};
use std::collections::{BTreeMap, HashMap};

/// Container annotation with the hash of what, when changed, restarts the container.
pub(crate) const HASH_ANNOTATION: &str = "io.kubernetes.container.hash";
/// Container annotation with the limits that the container was made with.
pub(crate) const RESOURCES_ANNOTATION: &str = "minik.resources";
/// Container annotation with the number of restarts.
const RESTART_COUNT_ANNOTATION: &str = "io.kubernetes.container.restartCount";
/// Container annotation with the path, inside the container, of the termination message.
pub(crate) const TERMINATION_PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";
/// Container annotation with the pod's grace period in seconds, for whoever stops an orphan.
pub(crate) const GRACE_ANNOTATION: &str = "io.kubernetes.pod.terminationGracePeriod";

/// `minShares`, `sharesPerCPU`, `quotaPeriod`: `pkg/kubelet/cm/helpers_linux.go`.
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
const SHARES_PER_CPU: i128 = 1024;
const QUOTA_PERIOD_US: i128 = 100_000;
const MIN_QUOTA_US: i128 = 1000;

/// What a container may learn of its node and of its running pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeContext {
    pub(crate) node_name: String,
    pub(crate) host_ips: Vec<String>,
    pub(crate) pod_ips: Vec<String>,
    /// Thousandths of processors.
    pub(crate) cpu_millis: u64,
    /// Bytes of memory.
    pub(crate) memory_capacity: u64,
    /// Bytes of the disk.
    pub(crate) disk_capacity: u64,
    /// Bytes in huge pages, by resource.
    pub(crate) huge_pages: BTreeMap<String, u64>,
}

/// What of a container's configuration had to be found out.
pub(crate) struct Parts {
    /// The image's id.
    pub(crate) image: String,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) devices: Vec<Device>,
    pub(crate) security: SecurityContext,
}

/// The hash of what, when changed, restarts a container: its name and image.
pub(crate) fn hash(container: &Container) -> String {
    // FNV-1a, 32 bits: stable across builds, unlike the standard library's hasher.
    let image = container.image.as_deref().unwrap_or_default();
    let bytes = container.name.bytes().chain([0]).chain(image.bytes());
    let sum = bytes.fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{sum:x}")
}

/// The sandbox of a pod, with this host name.
pub(crate) fn sandbox(pod: &Pod, attempt: u32, hostname: String, dns: Option<DnsConfig>) -> PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let ports = spec.containers.iter().flat_map(|c| c.ports.iter().flatten());
    PodSandboxConfig {
        metadata: PodSandboxMetadata {
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            attempt,
        },
        hostname: if host_network { String::new() } else { hostname },
        dns,
        port_mappings: ports
            .filter(|_| !host_network)
            .filter_map(|port| {
                Some(PortMapping {
                    protocol: match port.protocol.as_deref() {
                        Some("UDP") => Protocol::Udp,
                        Some("SCTP") => Protocol::Sctp,
                        _ => Protocol::Tcp,
                    },
                    container_port: u16::try_from(port.container_port).ok()?,
                    host_port: u16::try_from(port.host_port?).ok().filter(|port| *port != 0)?,
                    host_ip: port.host_ip.clone().unwrap_or_default(),
                })
            })
            .collect(),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        annotations: annotations(pod, &spec),
        namespaces: namespaces(&spec),
        sysctls: spec
            .security_context
            .iter()
            .flat_map(|security| security.sysctls.iter().flatten())
            .map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()))
            .collect(),
        privileged: spec
            .containers
            .iter()
            .any(|c| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true)),
        resources: pod_resources(&spec),
        ..Default::default()
    }
}

/// The pod's own, which runtimes may follow, without what is only kubectl's memory; and ours.
fn annotations(pod: &Pod, spec: &PodSpec) -> StringMap {
    const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    annotations.insert(GRACE_ANNOTATION.to_owned(), grace_period(spec).to_string());
    annotations
}

/// One container of a pod.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    parts: Parts,
    node: &NodeContext,
) -> ContainerConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let Parts { image, env, mounts, devices, security } = parts;
    let vars: HashMap<&str, &str> = env.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
    let expand_all = |words: &Option<Vec<String>>| {
        words.iter().flatten().map(|word| expand(word, &vars)).collect::<Vec<_>>()
    };
    let path = container.termination_message_path.clone().unwrap_or_default();
    let resources = resources(pod, container, node);
    ContainerConfig {
        metadata: ContainerMetadata { name: container.name.clone(), attempt },
        image,
        user_image: container.image.clone().unwrap_or_default(),
        command: expand_all(&container.command),
        args: expand_all(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts,
        devices,
        annotations: StringMap::from([
            (HASH_ANNOTATION.to_owned(), hash(container)),
            (RESOURCES_ANNOTATION.to_owned(), limits::fingerprint(&resources)),
            (RESTART_COUNT_ANNOTATION.to_owned(), attempt.to_string()),
            (TERMINATION_PATH_ANNOTATION.to_owned(), path),
            (GRACE_ANNOTATION.to_owned(), grace_period(&spec).to_string()),
        ]),
        stdin: container.stdin.unwrap_or_default(),
        stdin_once: container.stdin_once.unwrap_or_default(),
        tty: container.tty.unwrap_or_default(),
        resources,
        security,
        env,
        ..Default::default()
    }
}

/// Seconds between the stop signal and SIGKILL when the request does not say.
pub(crate) fn grace_period(spec: &PodSpec) -> i64 {
    spec.termination_grace_period_seconds.unwrap_or(30)
}

pub(crate) fn namespaces(spec: &PodSpec) -> NamespaceOptions {
    let node_or = |host: Option<bool>, mode| if host == Some(true) { NamespaceMode::Node } else { mode };
    let pid = if spec.share_process_namespace == Some(true) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    NamespaceOptions {
        network: node_or(spec.host_network, NamespaceMode::Pod),
        pid: node_or(spec.host_pid, pid),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod),
    }
}

/// A quantity's value in thousandths.
fn milli(quantities: Option<&BTreeMap<String, ApiQuantity>>, name: &str) -> Option<i128> {
    let quantity = quantities?.get(name)?;
    quantity.0.parse::<Quantity>().ok().map(|q| i128::from(q.millis()))
}

/// What a container may have. A limit that it does not set is its pod's.
pub(crate) fn resources(pod: &Pod, container: &Container, node: &NodeContext) -> Resources {
    let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let of_pod = pod.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.limits.as_ref());
    let cpu_request = milli(requests, "cpu").or(milli(limits, "cpu")).unwrap_or(0);
    let cpu_limit = milli(limits, "cpu").or_else(|| milli(of_pod, "cpu"));
    let memory_limit = milli(limits, "memory").or_else(|| milli(of_pod, "memory"));
    let memory_request = milli(requests, "memory").unwrap_or(0) / 1000 + memory_share(pod);
    let memory_request = match is_sidecar(container) {
        // It does not go before those whom it serves.
        true => memory_request.max(least_memory(pod)),
        false => memory_request,
    };
    Resources {
        oom_score_adj: Some(oom_score_adj(pod, memory_request, node.memory_capacity)),
        ..limited(cpu_request, cpu_limit, memory_limit)
    }
}

/// What all containers of a pod may have together; nothing if it does not say.
fn pod_resources(spec: &PodSpec) -> Resources {
    // No engine limits a container's huge pages: what all of them may have is limited here.
    let huge = api::pod::limits(spec).into_iter().filter(|(name, _)| name.starts_with("hugepages-"));
    let huge_pages = huge.map(|(name, quantity)| (name, quantity.value())).collect();
    let Some(own) = &spec.resources else { return Resources { huge_pages, ..Resources::default() } };
    let amount = |name: &str| milli(own.limits.as_ref(), name);
    let cpu_request = milli(own.requests.as_ref(), "cpu").or(amount("cpu")).unwrap_or(0);
    Resources { huge_pages, ..limited(cpu_request, amount("cpu"), amount("memory")) }
}

/// From thousandths of processors and of bytes.
fn limited(cpu_request: i128, cpu_limit: Option<i128>, memory_limit: Option<i128>) -> Resources {
    let shares = u64::try_from(cpu_request * SHARES_PER_CPU / 1000).unwrap_or(MAX_SHARES);
    let memory_limit = memory_limit.map(|m| i64::try_from(m / 1000).unwrap_or(i64::MAX));
    Resources {
        cpu_shares: Some(shares.clamp(MIN_SHARES, MAX_SHARES)),
        cpu_period: cpu_limit.map(|_| QUOTA_PERIOD_US as u64),
        cpu_quota: cpu_limit
            .map(|m| i64::try_from((m * QUOTA_PERIOD_US / 1000).max(MIN_QUOTA_US)).unwrap_or(i64::MAX)),
        memory_limit,
        memory_swap_limit: memory_limit,
        ..Default::default()
    }
}

/// Of the memory that a pod requests beyond what its containers do, each container's part.
fn memory_share(pod: &Pod) -> i128 {
    let Some(spec) = &pod.spec else { return 0 };
    let of_pod = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let Some(of_pod) = milli(of_pod, "memory") else { return 0 };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
    let all: Vec<&Container> = spec.containers.iter().chain(sidecars).collect();
    let of = |c: &Container| milli(c.resources.as_ref().and_then(|r| r.requests.as_ref()), "memory");
    let requested: i128 = all.iter().filter_map(|c| of(c)).sum();
    let count = i128::try_from(all.len().max(1)).unwrap_or(1);
    (of_pod - requested).max(0) / 1000 / count
}

/// The least that a container of the pod requests, those aside that run before.
fn least_memory(pod: &Pod) -> i128 {
    let all = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requests = all.map(|c| milli(c.resources.as_ref().and_then(|r| r.requests.as_ref()), "memory"));
    requests.map(|request| request.unwrap_or(0) / 1000).min().unwrap_or(0)
}

/// **Upstream**: `pkg/kubelet/qos/policy.go`.
fn oom_score_adj(pod: &Pod, memory_request: i128, memory_capacity: u64) -> i32 {
    let class = pod.status.as_ref().and_then(|s| s.qos_class.as_deref()).unwrap_or("BestEffort");
    let node_critical =
        pod.spec.as_ref().and_then(|s| s.priority_class_name.as_deref()) == Some("system-node-critical");
    match class {
        _ if node_critical => -997,
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let share = 1000 * memory_request / i128::from(memory_capacity.max(1));
            i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_shares_quota_and_bytes() {
        let pod = Pod::default();
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}
        }))
        .expect("a container");
        let got = resources(&pod, &container, &NodeContext::default());
        assert_eq!(got.cpu_shares, Some(256));
        assert_eq!(got.cpu_quota, Some(50_000));
        assert_eq!(got.memory_limit, Some(64 << 20));
    }

    #[test]
    fn a_sidecar_is_not_killed_before_those_whom_it_serves() {
        let asks =
            |memory: &str| serde_json::json!({"name": "c", "resources": {"requests": {"memory": memory}}});
        let mut sidecar = asks("50Mi");
        sidecar["restartPolicy"] = "Always".into();
        let spec = serde_json::json!({"initContainers": [sidecar, asks("50Mi")], "containers": [asks("300Mi"), asks("200Mi")]});
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"spec": spec, "status": {"qosClass": "Burstable"}}))
                .expect("a pod");
        let node = NodeContext { memory_capacity: 1000 << 20, ..NodeContext::default() };
        let spec = pod.spec.as_ref().expect("a spec");
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        let scores: Vec<i32> = all.filter_map(|c| resources(&pod, c, &node).oom_score_adj).collect();
        assert_eq!(scores, [800, 950, 700, 800]);
    }

    #[test]
    fn what_a_container_does_not_limit_its_pod_does() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "resources": {"requests": {"cpu": "2", "memory": "300Mi"}, "limits": {"cpu": "4", "memory": "512Mi"}},
            "containers": [{"name": "a", "resources": {"limits": {"memory": "64Mi"}, "requests": {"memory": "100Mi"}}}, {"name": "b"}]
        }, "status": {"qosClass": "Burstable"}}))
        .expect("a pod");
        let spec = pod.spec.as_ref().expect("a spec");
        let node = NodeContext { memory_capacity: 1000 << 20, ..NodeContext::default() };
        let [a, b] = [0, 1].map(|n| resources(&pod, &spec.containers[n], &node));
        assert_eq!((a.memory_limit, a.cpu_quota, a.cpu_shares), (Some(64 << 20), Some(400_000), Some(2)));
        assert_eq!((b.memory_limit, b.oom_score_adj), (Some(512 << 20), Some(900)));
        let all = sandbox(&pod, 0, String::new(), None).resources;
        assert_eq!((all.memory_limit, all.cpu_shares), (Some(512 << 20), Some(2048)));
        let none = sandbox(&Pod::default(), 0, String::new(), None).resources;
        assert_eq!(none, Resources::default());
    }
}
