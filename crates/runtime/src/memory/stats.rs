//! What is used on paper: as the script says.

use jiff::Timestamp;

use super::containers::Contained;
use super::sandboxes::Sandbox;
use crate::*;

impl Contained {
    pub(super) fn stats(&self, id: &ContainerId, now: Timestamp) -> ContainerStats {
        let usage = self.script.usage;
        let ran = self.started_at.map_or(0, |started| now.duration_since(started).as_millis());
        // A thousandth of a processor is a microsecond of its time each millisecond.
        let cpu_nanos = u64::try_from(ran).unwrap_or(0) * 1000 * u64::from(usage.cpu_millis);
        ContainerStats {
            id: id.clone(),
            metadata: self.metadata.clone(),
            labels: self.labels.to_map(),
            timestamp: now,
            started_at: self.started_at,
            cpu_nanos,
            memory: MemoryStats {
                usage: usage.memory_bytes,
                working_set: usage.memory_bytes,
                rss: usage.memory_bytes,
                ..MemoryStats::default()
            },
            rootfs: Some(FilesystemUsage::default()),
            logs: Some(FilesystemUsage::default()),
        }
    }
}

impl Sandbox {
    pub(super) fn stats(&self, id: &SandboxId, now: Timestamp) -> PodSandboxStats {
        let eth0 = InterfaceStats { name: "eth0".to_owned(), ..InterfaceStats::default() };
        PodSandboxStats {
            id: id.clone(),
            metadata: self.metadata.clone(),
            timestamp: now,
            interfaces: self.ip.map(|_| eth0).into_iter().collect(),
        }
    }
}
