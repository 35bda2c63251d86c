//! `container_stats` and `pod_sandbox_stats`: what the engine reads from the kernel.
//!
//! Contract: one request a container, all at once; one that ends meanwhile is left out. Writable layers are counted
//! file by file by the engine, in one request.
//!
//! Upstream: cri-dockerd's `container_stats.go`; working set as cadvisor counts it.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use runtime::{
    Container, ContainerFilter, ContainerState, ContainerStats, FilesystemUsage, InterfaceStats, MemoryStats,
    PodSandboxFilter, PodSandboxStats, Result, SandboxState, StatsDetail,
};

use crate::client::DockerRuntime;
use crate::{error, labels, time};

/// Requests at a time.
const CONCURRENCY: usize = 16;

impl DockerRuntime {
    pub(crate) async fn stats_of_containers(
        &self,
        filter: &ContainerFilter,
        detail: StatsDetail,
    ) -> Result<Vec<ContainerStats>> {
        let running = ContainerFilter { state: Some(ContainerState::Running), ..filter.clone() };
        let found = self.list_all(&running).await?;
        let (sizes, log_dir) = match detail {
            StatsDetail::Compute => (HashMap::new(), None),
            StatsDetail::Filesystems => {
                (self.writable_sizes().await?, Some(self.facts().await?.root_dir.join("containers")))
            }
        };
        let asked = futures::stream::iter(found.into_iter().map(|container| async {
            let stats = self.one_shot(container.id.as_str()).await?;
            Ok(stats.map(|stats| (container, stats)))
        }));
        let answers: Vec<Option<_>> = asked.buffer_unordered(CONCURRENCY).try_collect().await?;
        let (sizes, log_dir) = (&sizes, log_dir.as_deref());
        let described = answers.into_iter().flatten().map(|(container, stats)| async move {
            let usage = |used_bytes| FilesystemUsage { used_bytes, ..FilesystemUsage::default() };
            let logs = match log_dir {
                Some(directory) => Some(usage(log_size(directory, container.id.as_str()).await)),
                None => None,
            };
            let rootfs = sizes.get(container.id.as_str()).copied().map(usage);
            describe(container, &stats, rootfs, logs)
        });
        Ok(join_all(described).await)
    }

    pub(crate) async fn stats_of_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>> {
        let running = PodSandboxFilter { state: Some(SandboxState::Ready), ..filter.clone() };
        let found = self.list_sandboxes(&running).await?;
        let asked = futures::stream::iter(found.into_iter().map(|sandbox| async {
            let stats = self.one_shot(sandbox.id.as_str()).await?;
            Ok(stats.map(|stats| PodSandboxStats {
                id: sandbox.id,
                metadata: sandbox.metadata,
                timestamp: read_at(&stats),
                interfaces: interfaces(stats),
            }))
        }));
        let answers: Vec<Option<_>> = asked.buffer_unordered(CONCURRENCY).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// None: it is gone.
    async fn one_shot(&self, id: &str) -> Result<Option<ContainerStatsResponse>> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        match self.client.stats(id, Some(options)).boxed().next().await {
            Some(Ok(stats)) => Ok(Some(stats)),
            None => Ok(None),
            Some(Err(error)) if error::is_status(&error, 404) || error::is_status(&error, 409) => Ok(None),
            Some(Err(error)) => Err(error::other("container stats")(error)),
        }
    }

    /// Bytes of the profile's writable layers, by container.
    async fn writable_sizes(&self) -> Result<HashMap<String, u64>> {
        let filters = labels::filter(&self.config, Some(labels::TYPE_CONTAINER), &Default::default());
        let options = ListContainersOptionsBuilder::default().size(true).filters(&filters).build();
        let found = self.client.list_containers(Some(options)).await;
        let found = found.map_err(error::other("list containers with sizes"))?;
        // An empty layer has no size in the answer.
        let size = |size: Option<i64>| size.and_then(|size| size.try_into().ok()).unwrap_or(0);
        Ok(found.into_iter().filter_map(|summary| Some((summary.id?, size(summary.size_rw)))).collect())
    }
}

fn describe(
    container: Container,
    stats: &ContainerStatsResponse,
    rootfs: Option<FilesystemUsage>,
    logs: Option<FilesystemUsage>,
) -> ContainerStats {
    let usage = stats.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref());
    ContainerStats {
        id: container.id,
        metadata: container.metadata,
        labels: container.labels,
        timestamp: read_at(stats),
        started_at: None,
        cpu_nanos: usage.and_then(|usage| usage.total_usage).unwrap_or(0),
        memory: stats.memory_stats.as_ref().map(memory).unwrap_or_default(),
        rootfs,
        logs,
    }
}

fn read_at(stats: &ContainerStatsResponse) -> Timestamp {
    time::parse(stats.read.as_deref()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Names are those of cgroup v1, else of v2.
fn memory(stats: &ContainerMemoryStats) -> MemoryStats {
    let get = |names: [&str; 2]| {
        let all = stats.stats.as_ref();
        names.iter().find_map(|name| all?.get(*name).copied()).unwrap_or(0)
    };
    let usage = stats.usage.unwrap_or(0);
    MemoryStats {
        usage,
        working_set: usage.saturating_sub(get(["total_inactive_file", "inactive_file"])),
        rss: get(["total_rss", "anon"]),
        page_faults: get(["total_pgfault", "pgfault"]),
        major_page_faults: get(["total_pgmajfault", "pgmajfault"]),
    }
}

fn interfaces(stats: ContainerStatsResponse) -> Vec<InterfaceStats> {
    let all = stats.networks.unwrap_or_default().into_iter();
    let mut interfaces: Vec<_> = all
        .map(|(name, counted)| InterfaceStats {
            name,
            rx_bytes: counted.rx_bytes.unwrap_or(0),
            rx_errors: counted.rx_errors.unwrap_or(0),
            tx_bytes: counted.tx_bytes.unwrap_or(0),
            tx_errors: counted.tx_errors.unwrap_or(0),
        })
        .collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

/// Of the files `ID-json.log*`; 0 if they cannot be seen from here.
async fn log_size(directory: &Path, id: &str) -> u64 {
    let Ok(mut entries) = tokio::fs::read_dir(directory.join(id)).await else { return 0 };
    let mut size = 0;
    while let Ok(Some(entry)) = entries.next_entry().await {
        if entry.file_name().to_string_lossy().contains("-json.log") {
            size += entry.metadata().await.map_or(0, |metadata| metadata.len());
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_set_leaves_out_inactive_caches() {
        let stats = |pairs: &[(&str, u64)]| ContainerMemoryStats {
            usage: Some(1000),
            stats: Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()),
            ..ContainerMemoryStats::default()
        };
        let v1 = memory(&stats(&[("total_inactive_file", 300), ("inactive_file", 1), ("total_rss", 50)]));
        assert_eq!((v1.working_set, v1.rss), (700, 50));
        let v2 = memory(&stats(&[("inactive_file", 200), ("anon", 40), ("pgmajfault", 3)]));
        assert_eq!((v2.working_set, v2.rss, v2.major_page_faults), (800, 40, 3));
        assert_eq!(memory(&stats(&[("inactive_file", 2000)])).working_set, 0);
    }
}
