//! Names with a meaning to the cluster: labels, annotations, taints, finalizers, namespaces.
//!
//! **Upstream**: `k8s.io/api/core/v1/well_known_*.go`, `annotation_key_constants.go` and the components that own them.

/// Namespaces that every cluster has, in the order in which they are made.
pub mod namespace {
    /// Where objects without a namespace go.
    pub const DEFAULT: &str = "default";
    /// The cluster's own objects.
    pub const KUBE_SYSTEM: &str = "kube-system";
    /// Readable by everybody.
    pub const KUBE_PUBLIC: &str = "kube-public";
    /// Heartbeats of nodes.
    pub const KUBE_NODE_LEASE: &str = "kube-node-lease";
    /// All of them.
    pub const ALL: [&str; 4] = [DEFAULT, KUBE_SYSTEM, KUBE_PUBLIC, KUBE_NODE_LEASE];
}

/// Label keys.
pub mod label {
    /// The name of a namespace, on itself.
    pub const METADATA_NAME: &str = "kubernetes.io/metadata.name";
    /// The host name of a node.
    pub const HOSTNAME: &str = "kubernetes.io/hostname";
    /// The operating system of a node.
    pub const OS: &str = "kubernetes.io/os";
    /// The architecture of a node.
    pub const ARCH: &str = "kubernetes.io/arch";
    /// The former key of [`OS`].
    pub const BETA_OS: &str = "beta.kubernetes.io/os";
    /// The former key of [`ARCH`].
    pub const BETA_ARCH: &str = "beta.kubernetes.io/arch";
    /// The zone of a node.
    pub const TOPOLOGY_ZONE: &str = "topology.kubernetes.io/zone";
    /// The region of a node.
    pub const TOPOLOGY_REGION: &str = "topology.kubernetes.io/region";
    /// Prefix of a node's roles.
    pub const NODE_ROLE_PREFIX: &str = "node-role.kubernetes.io/";
    /// The role of a control plane node.
    pub const NODE_ROLE_CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
    /// The former way to state a node's role.
    pub const NODE_ROLE: &str = "kubernetes.io/role";
    /// The Service of an EndpointSlice.
    pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
    /// Who keeps an EndpointSlice.
    pub const ENDPOINTSLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
    /// Marks what the server made of itself.
    pub const RBAC_BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
    /// Marks Services of the cluster itself, which `cluster-info` lists.
    pub const CLUSTER_SERVICE: &str = "kubernetes.io/cluster-service";
    /// Excludes a node from load balancers.
    pub const EXCLUDE_BALANCER: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
}

/// Annotation keys.
pub mod annotation {
    /// What `kubectl apply` applied last.
    pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    /// The container that `kubectl logs` and `exec` take when none is named.
    pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
    /// Where the kubelet got a pod from.
    pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
    /// The hash of a static pod, on its mirror.
    pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
    /// The hash of a static pod.
    pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
    /// When the kubelet first saw a pod.
    pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
    /// The service account of a token Secret.
    pub const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
    /// The identity of the service account of a token Secret.
    pub const SERVICE_ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
    /// Whether bootstrapping repairs an RBAC object.
    pub const RBAC_AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
    /// What a controller writes to say that it failed over endpoints.
    pub const ENDPOINTS_OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
    /// When an object's last change triggered endpoints.
    pub const ENDPOINTS_LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
    /// Ends the initial events of a streaming list.
    pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
    /// The TTL for cached secrets that the node lifecycle sets.
    pub const NODE_TTL: &str = "node.alpha.kubernetes.io/ttl";
}

/// Taint keys.
pub mod taint {
    /// The node is not ready.
    pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
    /// The node cannot be reached.
    pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
    /// The node is cordoned.
    pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
    /// The node is short of memory.
    pub const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
    /// The node is short of disk.
    pub const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
    /// The node is short of process ids.
    pub const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
    /// The node's network is not set up.
    pub const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
    /// The node is shut down for good.
    pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
}

/// Finalizers.
pub mod finalizer {
    /// In a namespace's `spec.finalizers`: its content goes first.
    pub const KUBERNETES: &str = "kubernetes";
    /// Dependents become orphans first.
    pub const ORPHAN: &str = "orphan";
    /// Dependents are deleted first.
    pub const FOREGROUND: &str = "foregroundDeletion";
    /// A volume goes after the claim that is bound to it.
    pub const PV_PROTECTION: &str = "kubernetes.io/pv-protection";
    /// A claim goes after the last pod that uses it.
    pub const PVC_PROTECTION: &str = "kubernetes.io/pvc-protection";
    /// A VolumeAttributesClass goes after the last claim and volume that use it.
    pub const VAC_PROTECTION: &str = "kubernetes.io/vac-protection";
}

/// Names of priority classes of the system.
pub mod priority_class {
    /// Prefix that users may not take.
    pub const SYSTEM_PREFIX: &str = "system-";
    /// What a cluster cannot do without.
    pub const CLUSTER_CRITICAL: &str = "system-cluster-critical";
    /// What a node cannot do without.
    pub const NODE_CRITICAL: &str = "system-node-critical";
    /// The value of [`CLUSTER_CRITICAL`].
    pub const CLUSTER_CRITICAL_VALUE: i32 = 2_000_000_000;
    /// The value of [`NODE_CRITICAL`].
    pub const NODE_CRITICAL_VALUE: i32 = 2_000_001_000;
    /// The highest value that a user may give.
    pub const HIGHEST_USER_VALUE: i32 = 1_000_000_000;
}

/// The ConfigMap with the cluster's CA that every namespace gets.
pub const ROOT_CA_CONFIG_MAP: &str = "kube-root-ca.crt";
/// The ServiceAccount that every namespace gets.
pub const DEFAULT_SERVICE_ACCOUNT: &str = "default";
/// The scheduler of pods that name none.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// Where a service account's token, CA and namespace stand in a container.
pub const SERVICE_ACCOUNT_MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
