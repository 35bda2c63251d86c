//! What the machine has left, and when that is too little.
//!
//! **Contract**: thresholds are upstream's, but a disk has room as long as a gibibyte is free: it is the user's own, not a
//! node's alone (`docs/decisions/0013-disk-pressure.md`).
//! **Upstream**: `DefaultEvictionHard` of `pkg/kubelet/eviction/defaults_linux.go`.

use api::quantity::Quantity;
use runtime::StatsDetail;
use std::path::Path;

/// `memory.available<100Mi`.
const MEMORY: u64 = 100 << 20;
/// `nodefs.available<10%`, `imagefs.available<15%`, `inodesFree<5%`.
const NODE_DISK_PERCENT: u64 = 10;
const IMAGE_DISK_PERCENT: u64 = 15;
const INODES_PERCENT: u64 = 5;
/// A disk with so much left is not short, however large it is.
const ENOUGH_DISK: u64 = 1 << 30;
/// As many process ids as a machine needs to look after itself.
const PIDS: u64 = 100;

/// What may run short; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signal {
    Memory,
    NodeDisk,
    ImageDisk,
    Pid,
}

impl Signal {
    /// What has to be asked to know who has it.
    pub(super) fn detail(self) -> StatsDetail {
        match self {
            Self::Memory | Self::Pid => StatsDetail::Compute,
            Self::NodeDisk | Self::ImageDisk => StatsDetail::Filesystems,
        }
    }
}

/// What is left of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) signal: Signal,
    pub(super) available: u64,
    pub(super) threshold: u64,
    /// Of a disk, that no more files can be made.
    inodes: bool,
}

impl Observation {
    /// Whether that is too little.
    pub(super) fn is_met(&self) -> bool {
        self.available < self.threshold
    }

    pub(super) fn of(signal: Signal, available: u64, threshold: u64) -> Self {
        Self { signal, available, threshold, inodes: false }
    }

    /// As upstream calls what is looked at.
    pub(super) fn name(&self) -> &'static str {
        match self.signal {
            Signal::Memory => "memory.available",
            Signal::NodeDisk if self.inodes => "nodefs.inodesFree",
            Signal::NodeDisk => "nodefs.available",
            Signal::ImageDisk if self.inodes => "imagefs.inodesFree",
            Signal::ImageDisk => "imagefs.available",
            Signal::Pid => "pid.available",
        }
    }

    /// The resource that pods give back.
    pub(super) fn resource(&self) -> &'static str {
        match self.signal {
            Signal::Memory => "memory",
            Signal::NodeDisk | Signal::ImageDisk if self.inodes => "inodes",
            Signal::NodeDisk | Signal::ImageDisk => "ephemeral-storage",
            Signal::Pid => "pids",
        }
    }

    /// So much of it, as upstream writes it.
    pub(super) fn amount(&self, amount: u64) -> Quantity {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        if self.inodes || self.signal == Signal::Pid {
            Quantity::new(amount)
        } else {
            Quantity::bytes(amount)
        }
    }
}

/// Looks at the machine. What cannot be read is not short.
pub(super) fn observe(root_dir: &Path, engine_dir: &Path) -> Vec<Observation> {
    let mut all = Vec::new();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    if let Some(available) = available_memory(&meminfo) {
        all.push(Observation::of(Signal::Memory, available, MEMORY));
    }
    all.extend(disk(Signal::NodeDisk, root_dir, NODE_DISK_PERCENT));
    all.extend(disk(Signal::ImageDisk, engine_dir, IMAGE_DISK_PERCENT));
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(available) = available_pids(&read("/proc/loadavg"), &read("/proc/sys/kernel/pid_max")) {
        all.push(Observation::of(Signal::Pid, available, PIDS));
    }
    all
}

fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// `0.00 0.01 0.05 1/567 12345`: the second number of the fourth field is all tasks.
fn available_pids(loadavg: &str, pid_max: &str) -> Option<u64> {
    let tasks: u64 = loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(pid_max.trim().parse::<u64>().ok()?.saturating_sub(tasks))
}

/// Bytes and inodes of one file system; the scarcer of the two.
fn disk(signal: Signal, path: &Path, percent: u64) -> Option<Observation> {
    let found = rustix::fs::statvfs(path).ok()?;
    let threshold = space_threshold(found.f_blocks * found.f_frsize, percent);
    let bytes = Observation::of(signal, found.f_bavail * found.f_frsize, threshold);
    let threshold = found.f_files * INODES_PERCENT / 100;
    let inodes = Observation { inodes: true, ..Observation::of(signal, found.f_ffree, threshold) };
    Some(if inodes.is_met() { inodes } else { bytes })
}

fn space_threshold(capacity: u64, percent: u64) -> u64 {
    (capacity / 100 * percent).min(ENOUGH_DISK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_machine() {
        let meminfo = "MemTotal:  8000 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available_memory(meminfo), Some(2 << 20));
        assert_eq!(available_pids("0.00 0.01 0.05 1/567 12345\n", "4194304\n"), Some(4_193_737));
        assert_eq!(available_memory(""), None);
        let here = observe(Path::new("/"), Path::new("/nonexistent"));
        let signals: Vec<Signal> = here.iter().map(|o| o.signal).collect();
        assert_eq!(signals, [Signal::Memory, Signal::NodeDisk, Signal::Pid]);
    }

    #[test]
    fn a_large_disk_has_room_as_long_as_a_gibibyte_is_free() {
        assert_eq!(space_threshold(5 << 30, 10), (5 << 30) / 100 * 10);
        assert_eq!(space_threshold(500 << 30, 10), 1 << 30);
    }
}
