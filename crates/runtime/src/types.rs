//! Requests and answers of the runtime traits.
//!
//! Contract: plain data, no behaviour; every field has a meaningful default, so that callers name what they need
//! and add `..Default::default()`.
//!
//! Upstream: the messages of CRI v1 with the same names.

mod container;
mod stats;
mod streams;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

pub use container::*;
pub use stats::*;
pub use streams::*;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// From the runtime's text.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The runtime's text, without a scheme such as `docker://`.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id.into())
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.into())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id_type! {
    /// A sandbox, as the runtime calls it.
    SandboxId
}
id_type! {
    /// A container, as the runtime calls it. In a pod's status: `<runtime name>://<id>`.
    ContainerId
}
id_type! {
    /// An image, by content: `sha256:…` on Docker.
    ImageId
}

/// Labels every runtime puts on sandboxes and containers, with the names that dockershim and CRI runtimes use.
pub mod labels {
    /// Name of the pod.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Namespace of the pod.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// UID of the pod.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Name of the container; `POD` for a sandbox.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// Reasons of a container that has ended, as the kubelet shows them.
pub mod reason {
    /// Exit code 0.
    pub const COMPLETED: &str = "Completed";
    /// Any other exit code.
    pub const ERROR: &str = "Error";
    /// Killed for its memory limit.
    pub const OOM_KILLED: &str = "OOMKilled";
    /// The process could not be started.
    pub const CONTAINER_CANNOT_RUN: &str = "ContainerCannotRun";
}

/// Labels or annotations.
pub type StringMap = BTreeMap<String, String>;

/// Who the runtime is. A node's `containerRuntimeVersion` is `<name>://<version>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// `docker`, `simulated`.
    pub runtime_name: String,
    /// `20.10.24`.
    pub runtime_version: String,
    /// The version of the engine's API in use, `1.41`.
    pub runtime_api_version: String,
}

/// Whether the runtime can work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeStatus {
    /// `RuntimeReady` and `NetworkReady`.
    pub conditions: Vec<RuntimeCondition>,
    /// What this machine cannot do and what is done instead, a sentence each.
    pub warnings: Vec<String>,
    /// The engine's data directory, `/var/lib/docker`; empty if it has none.
    pub root_dir: String,
    /// `cgroupfs` or `systemd`; empty if it has none.
    pub cgroup_driver: String,
    /// 1 or 2; 0 if it has none.
    pub cgroup_version: u8,
}

impl RuntimeStatus {
    /// Whether all conditions hold.
    pub fn is_ready(&self) -> bool {
        self.conditions.iter().all(|condition| condition.status)
    }
}

/// One condition of a runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeCondition {
    /// [`RuntimeCondition::RUNTIME_READY`] or [`RuntimeCondition::NETWORK_READY`].
    pub kind: String,
    /// Whether it holds.
    pub status: bool,
    /// One word, CamelCase; empty when it holds.
    pub reason: String,
    /// A sentence; empty when it holds.
    pub message: String,
}

impl RuntimeCondition {
    /// The runtime can start containers.
    pub const RUNTIME_READY: &'static str = "RuntimeReady";
    /// The runtime can give pods addresses.
    pub const NETWORK_READY: &'static str = "NetworkReady";

    /// A condition that holds.
    pub fn holds(kind: &str) -> Self {
        Self { kind: kind.to_owned(), status: true, ..Self::default() }
    }
}

/// Which pod, and which try at a sandbox for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PodSandboxMetadata {
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// 0 for the first sandbox of the pod.
    pub attempt: u32,
}

/// Everything needed to make a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSandboxConfig {
    /// Identity.
    pub metadata: PodSandboxMetadata,
    /// Host name inside; empty with the host's network.
    pub hostname: String,
    /// `/etc/resolv.conf` of the pod; none: the engine's choice.
    pub dns: Option<DnsConfig>,
    /// Ports of the node that lead to the pod. Those with `host_port` 0 are ignored.
    pub port_mappings: Vec<PortMapping>,
    /// The caller's labels; those of [`labels`] are added by the runtime.
    pub labels: StringMap,
    /// Annotations, kept and returned as they are.
    pub annotations: StringMap,
    /// What the pod shares with the node.
    pub namespaces: NamespaceOptions,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: StringMap,
    /// Whether a container of the pod is privileged.
    pub privileged: bool,
    /// Parent cgroup; empty: the engine's choice.
    pub cgroup_parent: String,
    /// What all containers of the pod may have together; the default: nothing is limited.
    pub resources: Resources,
    /// The handler of the pod's RuntimeClass; empty: the engine's own.
    pub runtime_handler: String,
}

/// Content of a pod's `/etc/resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// One port of the node that leads to the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortMapping {
    /// Transport.
    pub protocol: Protocol,
    /// Port of the pod.
    pub container_port: u16,
    /// Port of the node; 0: none.
    pub host_port: u16,
    /// Address of the node; empty: all.
    pub host_ip: String,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// `tcp`, `udp`, `sctp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Whose namespace a container uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NamespaceMode {
    /// The pod's, shared by its containers.
    #[default]
    Pod,
    /// The container's own.
    Container,
    /// The node's.
    Node,
}

/// Whose namespaces are used. Upstream's default for `pid` is [`NamespaceMode::Container`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamespaceOptions {
    /// `Pod` or `Node`.
    pub network: NamespaceMode,
    /// `Container`, `Pod` (shareProcessNamespace) or `Node` (hostPID).
    pub pid: NamespaceMode,
    /// `Pod` or `Node` (hostIPC).
    pub ipc: NamespaceMode,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self { network: NamespaceMode::Pod, pid: NamespaceMode::Container, ipc: NamespaceMode::Pod }
    }
}

/// Whether a sandbox works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SandboxState {
    /// Runs.
    Ready,
    /// Has stopped, or never started.
    #[default]
    NotReady,
}

/// One sandbox in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSandbox {
    /// Its id.
    pub id: SandboxId,
    /// Identity.
    pub metadata: PodSandboxMetadata,
    /// Whether it runs.
    pub state: SandboxState,
    /// When it was created (whole seconds on some engines).
    pub created_at: Timestamp,
    /// Labels of the caller.
    pub labels: StringMap,
    /// Annotations of the caller.
    pub annotations: StringMap,
}

/// One sandbox in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSandboxStatus {
    /// Its id.
    pub id: SandboxId,
    /// Identity.
    pub metadata: PodSandboxMetadata,
    /// Whether it runs.
    pub state: SandboxState,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its addresses, the first is the pod's `podIP`; empty with the node's network and when it does not run.
    pub ips: Vec<IpAddr>,
    /// What it shares with the node.
    pub namespaces: NamespaceOptions,
    /// Labels of the caller.
    pub labels: StringMap,
    /// Annotations of the caller.
    pub annotations: StringMap,
}

/// Which sandboxes to list; all given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSandboxFilter {
    /// Only this one.
    pub id: Option<SandboxId>,
    /// Only those in this state.
    pub state: Option<SandboxState>,
    /// Only those with all of these labels.
    pub labels: StringMap,
}

/// Which part of a container's log, and how. The order of the limits is upstream's: tail, then since, then bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Goes on until the container ends.
    pub follow: bool,
    /// Only the last so many lines (of those that are there at the beginning).
    pub tail_lines: Option<u64>,
    /// Only lines written at or after this time.
    pub since: Option<Timestamp>,
    /// Puts the time and a blank in front of each line.
    pub timestamps: bool,
    /// Ends after so many bytes, within a line if need be.
    pub limit_bytes: Option<u64>,
    /// Only one of the two streams; none: both.
    pub stream: Option<LogStreamKind>,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LogStreamKind {
    /// Standard output; both, with a terminal.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a log: a line, or a part of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it was written to.
    pub stream: LogStreamKind,
    /// When it was written.
    pub timestamp: Timestamp,
    /// What a user sees: the line with its newline, after the time if that was asked for. Joining the pieces gives
    /// the log.
    pub bytes: Bytes,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuntimeEventKind {
    /// Made, not started.
    Created,
    /// Its process lives.
    Started,
    /// Its process has ended.
    Stopped,
    /// Removed.
    Deleted,
    /// The kernel killed a process of it for memory; `Stopped` follows if it was the last.
    OomKilled,
}

/// Something happened to a sandbox or container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// What.
    pub kind: RuntimeEventKind,
    /// To which container; none: to the sandbox itself.
    pub container_id: Option<ContainerId>,
    /// Its sandbox.
    pub sandbox_id: SandboxId,
    /// UID of its pod.
    pub pod_uid: String,
    /// Exit code, when `Stopped` and known.
    pub exit_code: Option<i32>,
    /// When.
    pub time: Timestamp,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// By content.
    pub id: ImageId,
    /// `name:tag` references.
    pub repo_tags: Vec<String>,
    /// `name@digest` references.
    pub repo_digests: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// User id it runs as, if a number was given. Both absent: root.
    pub uid: Option<i64>,
    /// User name it runs as, if a name was given.
    pub username: Option<String>,
}

/// Credentials for a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// User.
    pub username: String,
    /// Password or token.
    pub password: String,
    /// Instead of user and password: an identity token.
    pub identity_token: String,
    /// Instead of user and password: a bearer token.
    pub registry_token: String,
    /// The registry they are for.
    pub server_address: String,
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

/// What something takes of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// Where.
    pub mountpoint: String,
    /// Bytes used.
    pub used_bytes: u64,
    /// Inodes used, where known.
    pub inodes_used: Option<u64>,
}
