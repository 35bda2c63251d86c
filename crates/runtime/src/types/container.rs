//! Requests and answers about containers.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::{ContainerId, ImageId, NamespaceOptions, SandboxId, StringMap, labels};

/// Which container of its pod, and which try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ContainerMetadata {
    /// Name of the container in its pod.
    pub name: String,
    /// 0 for the first; the container's restart count.
    pub attempt: u32,
}

/// Everything needed to make a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Identity.
    pub metadata: ContainerMetadata,
    /// The image to run: an id, or a reference that is present.
    pub image: String,
    /// The reference that the user wrote, for the status; empty: `image`.
    pub user_image: String,
    /// Replaces the image's entry point; empty: keeps it.
    pub command: Vec<String>,
    /// Replaces the image's arguments; empty: keeps them, unless `command` is given.
    pub args: Vec<String>,
    /// Empty: the image's.
    pub working_dir: String,
    /// In order; a later one of the same name wins.
    pub env: Vec<EnvVar>,
    /// Files and directories of the node inside the container.
    pub mounts: Vec<Mount>,
    /// Devices of the node inside the container.
    pub devices: Vec<Device>,
    /// The caller's labels; those of [`labels`] are added by the runtime.
    pub labels: StringMap,
    /// Annotations, kept and returned as they are.
    pub annotations: StringMap,
    /// Keeps standard input open.
    pub stdin: bool,
    /// Closes standard input after the first attach.
    pub stdin_once: bool,
    /// Gives it a terminal; standard output and error are then one.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// Rights.
    pub security: SecurityContext,
    /// How its log is kept.
    pub log: LogConfig,
}

/// One environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value, with everything expanded.
    pub value: String,
}

impl EnvVar {
    /// `name=value`.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// One path of the node inside the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Path in the container.
    pub container_path: String,
    /// Path on the node; a missing one may be made a directory.
    pub host_path: String,
    /// Forbids writing.
    pub readonly: bool,
    /// Which mounts made later are seen on the other side.
    pub propagation: MountPropagation,
}

/// Which mounts made later are seen on the other side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MountPropagation {
    /// None (`rprivate`).
    #[default]
    Private,
    /// The node's are seen in the container (`rslave`).
    HostToContainer,
    /// Both ways (`rshared`).
    Bidirectional,
}

/// One device of the node inside the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Path in the container.
    pub container_path: String,
    /// Path on the node.
    pub host_path: String,
    /// Of `r`, `w` and `m`.
    pub permissions: String,
}

/// Limits of a container; `None` is the engine's default, or on an update: unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Relative CPU weight of cgroup v1, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// CPU time a period, in microseconds.
    pub cpu_quota: Option<i64>,
    /// The period, in microseconds.
    pub cpu_period: Option<u64>,
    /// CPUs it may use, as a list of ranges.
    pub cpuset_cpus: Option<String>,
    /// Memory in bytes.
    pub memory_limit: Option<i64>,
    /// Memory and swap in bytes; kubelet sets it to `memory_limit` to forbid swap.
    pub memory_swap_limit: Option<i64>,
    /// Preference of the kernel's out-of-memory killer, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Number of processes.
    pub pids_limit: Option<i64>,
    /// Bytes in huge pages, by resource (`hugepages-2Mi`).
    pub huge_pages: BTreeMap<String, i64>,
}

/// Rights of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityContext {
    /// User id; wins over `run_as_username`. Neither: the image's.
    pub run_as_user: Option<i64>,
    /// User name in the image's `/etc/passwd`.
    pub run_as_username: Option<String>,
    /// Group id.
    pub run_as_group: Option<i64>,
    /// Further groups.
    pub supplemental_groups: Vec<i64>,
    /// All capabilities, all devices, no confinement.
    pub privileged: bool,
    /// Capabilities without `CAP_`, or `ALL`.
    pub add_capabilities: Vec<String>,
    /// Capabilities without `CAP_`, or `ALL`.
    pub drop_capabilities: Vec<String>,
    /// Mounts the root file system read-only.
    pub readonly_rootfs: bool,
    /// The process may gain no rights, e.g. by setuid programs.
    pub no_new_privs: bool,
    /// System call filter.
    pub seccomp: SeccompProfile,
    /// AppArmor profile, `runtime/default`, `unconfined` or a name; empty: the engine's choice.
    pub apparmor_profile: String,
    /// SELinux labels `user:…`, `role:…`, `type:…`, `level:…`.
    pub selinux_options: Vec<String>,
    /// Paths of `/proc` and `/sys` to hide; none: the engine's list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths of `/proc` to make read-only; none: the engine's list.
    pub readonly_paths: Option<Vec<String>>,
    /// What it shares.
    pub namespaces: NamespaceOptions,
    /// Instead of processes of its own: it sees those of this container (CRI's mode `TARGET`).
    pub pid_target: Option<ContainerId>,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompProfile {
    /// Kubernetes' default without `seccompDefault`: all of them.
    #[default]
    Unconfined,
    /// The engine's list.
    RuntimeDefault,
    /// A profile in Docker's JSON form, read by the caller.
    Localhost(String),
}

/// How a container's log is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// Rotates at this size in bytes; none: kubelet's default, 10 MiB.
    pub max_size: Option<u64>,
    /// Keeps this many files; none: kubelet's default, 5.
    pub max_files: Option<u32>,
}

impl LogConfig {
    /// `containerLogMaxSize`, 10Mi.
    pub const DEFAULT_MAX_SIZE: u64 = 10 * 1024 * 1024;
    /// `containerLogMaxFiles`.
    pub const DEFAULT_MAX_FILES: u32 = 5;
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ContainerState {
    /// Never started.
    Created,
    /// Its process lives.
    Running,
    /// Its process has ended, or could not be started.
    Exited,
    /// The engine does not know.
    #[default]
    Unknown,
}

/// One container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its sandbox.
    pub pod_sandbox_id: SandboxId,
    /// Identity.
    pub metadata: ContainerMetadata,
    /// The reference that the user wrote.
    pub image: String,
    /// The image by content.
    pub image_id: ImageId,
    /// Where it is in its life.
    pub state: ContainerState,
    /// When it was created (whole seconds on some engines).
    pub created_at: Timestamp,
    /// Labels of the caller and of [`labels`].
    pub labels: StringMap,
    /// Annotations of the caller.
    pub annotations: StringMap,
}

impl Container {
    /// UID of the pod, from the labels.
    pub fn pod_uid(&self) -> &str {
        self.labels.get(labels::POD_UID).map_or("", String::as_str)
    }
}

/// One container in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Its id.
    pub id: ContainerId,
    /// Its sandbox.
    pub pod_sandbox_id: SandboxId,
    /// Identity.
    pub metadata: ContainerMetadata,
    /// Where it is in its life.
    pub state: ContainerState,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its process was started, if it was.
    pub started_at: Option<Timestamp>,
    /// When its process ended, if it has.
    pub finished_at: Option<Timestamp>,
    /// Exit code, 128 + n after signal n; 0 until it has ended.
    pub exit_code: i32,
    /// One of [`reason`](super::reason), once it has ended; else empty.
    pub reason: String,
    /// Why it could not start; else empty.
    pub message: String,
    /// The reference that the user wrote.
    pub image: String,
    /// The image by content.
    pub image_id: ImageId,
    /// `repository@digest` where there is one, else the id. Pod status: `imageID` is `<scheme>://<image_ref>`.
    pub image_ref: String,
    /// Labels of the caller and of [`labels`].
    pub labels: StringMap,
    /// Annotations of the caller.
    pub annotations: StringMap,
    /// What of the node is mounted.
    pub mounts: Vec<Mount>,
    /// The limits in force.
    pub resources: Resources,
    /// The log's path on the node; empty if there is none.
    pub log_path: String,
}

/// Which containers to list; all given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFilter {
    /// Only this one.
    pub id: Option<ContainerId>,
    /// Only those in this state.
    pub state: Option<ContainerState>,
    /// Only those of this sandbox.
    pub pod_sandbox_id: Option<SandboxId>,
    /// Only those with all of these labels.
    pub labels: StringMap,
}

/// What a command in a container did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// Standard output.
    pub stdout: Bytes,
    /// Standard error.
    pub stderr: Bytes,
    /// Exit code.
    pub exit_code: i32,
}
