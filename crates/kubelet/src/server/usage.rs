//! What the node and its pods use, for the summary and for metrics.
//!
//! **Contract**: [`Rates`] turns counters into rates between two questions; the first question about something gets none.
//! **Upstream**: `pkg/kubelet/stats`, cadvisor.

use super::volumes::VolumeUsage;
use super::{Host, Refusal, Server};
use api::k8s_openapi::api::core::v1::Pod;
use jiff::Timestamp;
use runtime::{
    ContainerFilter, ContainerStats, InterfaceStats, MemoryStats, PodSandboxFilter, PodSandboxStats,
    StatsDetail, labels,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// All that is used on this node.
pub(super) struct Usage {
    pub(super) now: Timestamp,
    pub(super) node: NodeUsage,
    pub(super) pods: Vec<PodUsage>,
}

/// What the node uses as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct NodeUsage {
    pub(super) cpu_nanos: u64,
    pub(super) memory: MemoryStats,
    pub(super) memory_available: u64,
    pub(super) interfaces: Vec<InterfaceStats>,
    pub(super) disk: Option<Disk>,
    pub(super) started_at: Option<Timestamp>,
}

/// A file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) available: u64,
    pub(super) capacity: u64,
    pub(super) inodes_free: u64,
    pub(super) inodes: u64,
}

/// What one pod uses.
pub(super) struct PodUsage {
    pub(super) pod: Arc<Pod>,
    pub(super) network: Option<PodSandboxStats>,
    pub(super) containers: Vec<ContainerStats>,
    /// Empty unless disks were asked about.
    pub(super) volumes: Arc<[VolumeUsage]>,
}

impl PodUsage {
    pub(super) fn cpu_nanos(&self) -> u64 {
        self.containers.iter().map(|container| container.cpu_nanos).sum()
    }

    pub(super) fn memory(&self) -> MemoryStats {
        total(self.containers.iter().map(|container| container.memory))
    }

    /// When a container was started, by its status.
    pub(super) fn started_at(&self, container: &ContainerStats) -> Option<Timestamp> {
        let status = self.pod.status.as_ref()?;
        let all = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        let mut all = all.into_iter().flatten().flatten();
        let found = all.find(|status| status.name == container.metadata.name)?;
        let running = found.state.as_ref()?.running.as_ref()?;
        container.started_at.or(running.started_at.as_ref().map(|time| time.0))
    }
}

fn total(all: impl Iterator<Item = MemoryStats>) -> MemoryStats {
    all.fold(MemoryStats::default(), |sum, one| MemoryStats {
        usage: sum.usage + one.usage,
        working_set: sum.working_set + one.working_set,
        rss: sum.rss + one.rss,
        page_faults: sum.page_faults + one.page_faults,
        major_page_faults: sum.major_page_faults + one.major_page_faults,
    })
}

impl Server {
    /// Asks the runtime and the machine.
    pub(super) async fn usage(&self, detail: StatsDetail) -> Result<Usage, Refusal> {
        let runtime = &self.containers.runtime;
        let (containers, sandboxes) = futures::future::try_join(
            runtime.container_stats(&ContainerFilter::default(), detail),
            runtime.pod_sandbox_stats(&PodSandboxFilter::default()),
        )
        .await
        .map_err(Refusal::internal)?;
        let mut pods = by_pod(self.host.pods.list(), containers, sandboxes);
        if detail == StatsDetail::Filesystems {
            for usage in &mut pods {
                usage.volumes = self.volume_usage(&usage.pod).await;
            }
        }
        let now = self.host.context.clock.now();
        Ok(Usage { now, node: node_usage(&self.host, &pods), pods })
    }
}

fn by_pod(
    pods: Vec<Arc<Pod>>,
    containers: Vec<ContainerStats>,
    sandboxes: Vec<PodSandboxStats>,
) -> Vec<PodUsage> {
    let mut by_uid: HashMap<String, Vec<ContainerStats>> = HashMap::new();
    for container in containers {
        let uid = container.labels.get(labels::POD_UID).cloned().unwrap_or_default();
        by_uid.entry(uid).or_default().push(container);
    }
    let mut networks: HashMap<String, PodSandboxStats> =
        sandboxes.into_iter().map(|sandbox| (sandbox.metadata.uid.clone(), sandbox)).collect();
    let mut usages: Vec<PodUsage> = pods
        .into_iter()
        .filter_map(|pod| {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let mut containers = by_uid.remove(&uid)?;
            containers.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
            Some(PodUsage { network: networks.remove(&uid), pod, containers, volumes: Arc::default() })
        })
        .collect();
    let key = |usage: &PodUsage| (usage.pod.metadata.namespace.clone(), usage.pod.metadata.name.clone());
    usages.sort_by_key(key);
    usages
}

/// Of the machine; of a node on paper, the sum of its pods.
fn node_usage(host: &Host, pods: &[PodUsage]) -> NodeUsage {
    if host.is_real {
        return machine::usage(host.machine.memory);
    }
    let memory = total(pods.iter().map(PodUsage::memory));
    NodeUsage {
        cpu_nanos: pods.iter().map(PodUsage::cpu_nanos).sum(),
        memory_available: host.machine.memory.saturating_sub(memory.working_set),
        memory,
        ..NodeUsage::default()
    }
}

/// The last counter of each thing that was asked for.
#[derive(Default)]
pub(super) struct Rates(Mutex<BTreeMap<String, (Timestamp, u64)>>);

impl Rates {
    /// How much a counter of nanoseconds has grown a second since the last question; keeps only what this question
    /// names.
    pub(super) fn of(&self, counters: Vec<(String, Timestamp, u64)>) -> HashMap<String, u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rates = HashMap::new();
        let mut next = BTreeMap::new();
        for (key, at, count) in counters {
            match last.get(&key) {
                Some(&(before, counted)) if at > before && count >= counted => {
                    let seconds = at.duration_since(before).as_secs_f64();
                    rates.insert(key.clone(), ((count - counted) as f64 / seconds) as u64);
                }
                _ => {}
            }
            next.insert(key, (at, count));
        }
        *last = next;
        rates
    }
}

/// The machine's own counters.
mod machine {
    use super::{Disk, NodeUsage};
    use jiff::Timestamp;
    use runtime::{InterfaceStats, MemoryStats};
    use std::collections::HashMap;
    use std::fs;

    /// The kernel counts in hundredths of a second, on every architecture of Linux.
    const TICK_NANOS: u64 = 10_000_000;

    pub(super) fn usage(memory_capacity: u64) -> NodeUsage {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let stat = read("/proc/stat");
        let (memory, memory_available) = memory(&read("/proc/meminfo"), memory_capacity);
        let disk = rustix::fs::statvfs("/").ok().map(|fs| Disk {
            available: fs.f_bavail * fs.f_frsize,
            capacity: fs.f_blocks * fs.f_frsize,
            inodes_free: fs.f_favail,
            inodes: fs.f_files,
        });
        NodeUsage {
            cpu_nanos: cpu_nanos(&stat),
            memory,
            memory_available,
            interfaces: interfaces(&read("/proc/net/dev")),
            disk,
            started_at: boot_time(&stat),
        }
    }

    /// User, nice, system, irq, softirq and steal; not idle and waiting.
    fn cpu_nanos(stat: &str) -> u64 {
        let Some(line) = stat.lines().find_map(|line| line.strip_prefix("cpu ")) else { return 0 };
        let ticks: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index)).sum::<u64>() * TICK_NANOS
    }

    fn boot_time(stat: &str) -> Option<Timestamp> {
        let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Timestamp::from_second(seconds).ok()
    }

    fn memory(meminfo: &str, capacity: u64) -> (MemoryStats, u64) {
        let lines = meminfo.lines().filter_map(|line| line.split_once(':'));
        let all: HashMap<&str, u64> = lines
            .filter_map(|(key, rest)| {
                let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
                Some((key, kib * 1024))
            })
            .collect();
        let get = |key: &str| all.get(key).copied().unwrap_or(0);
        let usage = capacity.saturating_sub(get("MemFree"));
        let working_set = usage.saturating_sub(get("Inactive(file)"));
        let stats = MemoryStats { usage, working_set, rss: get("AnonPages"), ..MemoryStats::default() };
        (stats, capacity.saturating_sub(working_set))
    }

    /// All but loopback.
    fn interfaces(dev: &str) -> Vec<InterfaceStats> {
        let lines = dev.lines().filter_map(|line| line.split_once(':'));
        lines
            .map(|(name, rest)| (name.trim(), rest))
            .filter(|(name, _)| *name != "lo")
            .map(|(name, rest)| {
                let counts: Vec<u64> =
                    rest.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
                let get = |index: usize| counts.get(index).copied().unwrap_or(0);
                let (rx_bytes, rx_errors, tx_bytes, tx_errors) = (get(0), get(2), get(8), get(10));
                InterfaceStats { name: name.to_owned(), rx_bytes, rx_errors, tx_bytes, tx_errors }
            })
            .collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn reads_the_kernels_tables() {
            let stat = "cpu  100 10 50 9999 888 5 4 1 0 0\ncpu0 1 1 1\nbtime 1767225600\n";
            assert_eq!(cpu_nanos(stat), 170 * TICK_NANOS);
            assert_eq!(boot_time(stat).map(|time| time.as_second()), Some(1_767_225_600));
            let meminfo = "MemTotal: 1000 kB\nMemFree:  400 kB\nInactive(file): 100 kB\nAnonPages: 50 kB\n";
            let (stats, available) = memory(meminfo, 1000 * 1024);
            assert_eq!((stats.usage >> 10, stats.working_set >> 10, available >> 10), (600, 500, 500));
            let dev = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9\n  eth0: 10 1 2 0 0 0 0 0 20 3 4 0\n";
            let eth0 = InterfaceStats {
                name: "eth0".into(),
                rx_bytes: 10,
                rx_errors: 2,
                tx_bytes: 20,
                tx_errors: 4,
            };
            assert_eq!(interfaces(dev), [eth0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_between_two_questions() {
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let rates = Rates::default();
        let ask = |list: &[(&str, i64, u64)]| {
            rates.of(list.iter().map(|(key, time, count)| ((*key).to_owned(), at(*time), *count)).collect())
        };
        assert_eq!(ask(&[("a", 10, 100), ("b", 10, 500)]), HashMap::new());
        let got = ask(&[("a", 20, 1100), ("b", 20, 400)]);
        assert_eq!(got, HashMap::from([("a".to_owned(), 100)]), "b was restarted");
        assert_eq!(ask(&[("b", 30, 600)]), HashMap::from([("b".to_owned(), 20)]));
        assert_eq!(ask(&[("a", 40, 2000)]), HashMap::new(), "a was forgotten");
    }
}
