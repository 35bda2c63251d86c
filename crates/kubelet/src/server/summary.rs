//! `/stats/summary`.
//!
//! **Upstream**: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.

use super::request::Query;
use super::usage::{Disk, PodUsage, Usage};
use super::volumes::VolumeUsage;
use super::{Answer, Server, json};
use api::golang;
use jiff::Timestamp;
use runtime::{FilesystemUsage, InterfaceStats, MemoryStats, StatsDetail};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

impl Server {
    pub(super) async fn summary(&self, query: &Query) -> Answer {
        let only_compute = query.flag("only_cpu_and_memory");
        let detail = if only_compute { StatsDetail::Compute } else { StatsDetail::Filesystems };
        let usage = self.usage(detail).await?;
        let rates = self.rates.of(counters(&usage));
        let capacity = self.host.machine.memory;
        Ok(json(&summary(&usage, &rates, &self.host.node_name, capacity, only_compute)))
    }
}

/// The key of the node's own rate.
const NODE: &str = "";

fn counters(usage: &Usage) -> Vec<(String, Timestamp, u64)> {
    let containers = usage.pods.iter().flat_map(|pod| &pod.containers);
    let containers = containers.map(|c| (c.id.to_string(), c.timestamp, c.cpu_nanos));
    containers.chain([(NODE.to_owned(), usage.now, usage.node.cpu_nanos)]).collect()
}

fn summary(
    usage: &Usage,
    rates: &HashMap<String, u64>,
    node_name: &str,
    memory_capacity: u64,
    only_compute: bool,
) -> Value {
    let Usage { now, node, pods } = usage;
    let mut described = json!({
        "nodeName": node_name,
        "startTime": node.started_at.map(rfc3339),
        "cpu": cpu(*now, node.cpu_nanos, rates.get(NODE)),
        "memory": memory(*now, &node.memory, Some(memory_capacity)),
    });
    if !only_compute {
        described["network"] = network(*now, &node.interfaces);
        if let Some(disk) = &node.disk {
            described["fs"] = filesystem(*now, disk, disk.capacity - disk.available, None);
        }
    }
    let pods: Vec<Value> = pods.iter().map(|pod| describe(pod, usage, rates, only_compute)).collect();
    let mut summary = json!({"node": described, "pods": pods});
    // What is not known is left out.
    golang::drop_nulls(&mut summary);
    summary
}

fn describe(pod: &PodUsage, usage: &Usage, rates: &HashMap<String, u64>, only_compute: bool) -> Value {
    let disk = usage.node.disk.unwrap_or_default();
    let containers = pod.containers.iter().map(|container| {
        let at = container.timestamp;
        let on_disk = |used: &Option<FilesystemUsage>| {
            let used = used.as_ref().filter(|_| !only_compute)?;
            Some(filesystem(at, &disk, used.used_bytes, used.inodes_used))
        };
        json!({
            "name": container.metadata.name,
            "startTime": pod.started_at(container).map(rfc3339),
            "cpu": cpu(at, container.cpu_nanos, rates.get(container.id.as_str())),
            "memory": memory(at, &container.memory, None),
            "rootfs": on_disk(&container.rootfs),
            "logs": on_disk(&container.logs),
        })
    });
    let rates_of_all: Option<u64> = pod.containers.iter().map(|c| rates.get(c.id.as_str())).sum();
    let at = pod.containers.first().map_or(usage.now, |container| container.timestamp);
    let metadata = &pod.pod.metadata;
    let started = pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let mut described = json!({
        "podRef": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
        "startTime": started.map(|time| rfc3339(time.0)),
        "containers": containers.collect::<Vec<_>>(),
        "cpu": cpu(at, pod.cpu_nanos(), rates_of_all.as_ref()),
        "memory": memory(at, &pod.memory(), None),
    });
    if !only_compute {
        described["network"] = match &pod.network {
            Some(stats) => network(stats.timestamp, &stats.interfaces),
            None => Value::Null,
        };
        let used: u64 = pod
            .containers
            .iter()
            .flat_map(|c| [&c.rootfs, &c.logs])
            .flatten()
            .map(|used| used.used_bytes)
            .sum();
        described["volume"] = pod.volumes.iter().map(|volume| describe_volume(pod, volume)).collect();
        let of_volumes: u64 = pod.volumes.iter().filter(|v| v.claim.is_none()).map(|v| v.used.bytes).sum();
        described["ephemeral-storage"] = filesystem(at, &disk, used + of_volumes, None);
    }
    described
}

fn describe_volume(pod: &PodUsage, volume: &VolumeUsage) -> Value {
    let mut described = filesystem(volume.at, &volume.disk, volume.used.bytes, Some(volume.used.inodes));
    described["name"] = volume.name.as_str().into();
    described["pvcRef"] = match &volume.claim {
        Some(claim) => json!({"name": claim, "namespace": pod.pod.metadata.namespace}),
        None => Value::Null,
    };
    described
}

fn cpu(at: Timestamp, nanos: u64, rate: Option<&u64>) -> Value {
    json!({"time": rfc3339(at), "usageNanoCores": rate, "usageCoreNanoSeconds": nanos})
}

fn memory(at: Timestamp, memory: &MemoryStats, capacity: Option<u64>) -> Value {
    json!({
        "time": rfc3339(at),
        "availableBytes": capacity.map(|capacity| capacity.saturating_sub(memory.working_set)),
        "usageBytes": memory.usage,
        "workingSetBytes": memory.working_set,
        "rssBytes": memory.rss,
        "pageFaults": memory.page_faults,
        "majorPageFaults": memory.major_page_faults,
    })
}

/// The first interface stands for the whole.
fn network(at: Timestamp, interfaces: &[InterfaceStats]) -> Value {
    let one = |interface: &InterfaceStats| {
        json!({
            "name": interface.name,
            "rxBytes": interface.rx_bytes,
            "rxErrors": interface.rx_errors,
            "txBytes": interface.tx_bytes,
            "txErrors": interface.tx_errors,
        })
    };
    let main = interfaces.iter().find(|interface| interface.name == "eth0").or(interfaces.first());
    let Some(main) = main else { return Value::Null };
    let mut whole = Map::from_iter([("time".to_owned(), rfc3339(at).into())]);
    whole.extend(one(main).as_object().cloned().unwrap_or_default());
    whole.insert("interfaces".to_owned(), interfaces.iter().map(one).collect());
    whole.into()
}

fn filesystem(at: Timestamp, disk: &Disk, used: u64, inodes_used: Option<u64>) -> Value {
    json!({
        "time": rfc3339(at),
        "availableBytes": disk.available,
        "capacityBytes": disk.capacity,
        "usedBytes": used,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": inodes_used,
    })
}

fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
