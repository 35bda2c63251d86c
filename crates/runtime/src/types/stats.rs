//! What containers and sandboxes use.

use jiff::Timestamp;

use super::{ContainerId, ContainerMetadata, FilesystemUsage, PodSandboxMetadata, SandboxId, StringMap};

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsDetail {
    /// Processor and memory.
    Compute,
    /// File systems as well, which engines may have to count file by file.
    Filesystems,
}

/// What a running container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStats {
    /// Which container.
    pub id: ContainerId,
    /// Identity.
    pub metadata: ContainerMetadata,
    /// Labels of the caller and of [`labels`](super::labels).
    pub labels: StringMap,
    /// When this was true.
    pub timestamp: Timestamp,
    /// When the container was started, where the engine says so.
    pub started_at: Option<Timestamp>,
    /// Processor time since the start, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory.
    pub memory: MemoryStats,
    /// Its writable layer.
    pub rootfs: Option<FilesystemUsage>,
    /// Its log.
    pub logs: Option<FilesystemUsage>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// All, with caches.
    pub usage: u64,
    /// What cannot be taken away without harm: all but inactive file caches.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Faults since the start.
    pub page_faults: u64,
    /// Faults that had to read a disk.
    pub major_page_faults: u64,
}

/// What a sandbox uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSandboxStats {
    /// Which sandbox.
    pub id: SandboxId,
    /// Identity.
    pub metadata: PodSandboxMetadata,
    /// When this was true.
    pub timestamp: Timestamp,
    /// Its network interfaces; none with the node's network.
    pub interfaces: Vec<InterfaceStats>,
}

/// One network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// `eth0`.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received wrongly.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}
