//! Metrics of this kubelet, of its containers, and of resources for metrics-server.
//!
//! **Contract**: Prometheus' text format 0.0.4; names, labels and help are upstream's.
//! **Upstream**: `pkg/kubelet/metrics`, `pkg/kubelet/metrics/collectors/resource_metrics.go`, cadvisor's `prometheus.go`.

use super::usage::{PodUsage, Usage};
use super::volumes::VolumeUsage;
use super::{Answer, Body, Refusal, Server, body, with_type};
use http::Response;
use jiff::Timestamp;
use runtime::{
    ContainerFilter, ContainerState, ContainerStats, InterfaceStats, PodSandboxFilter, SandboxState,
    StatsDetail,
};
use std::collections::BTreeMap;
use std::fmt::Write;

/// An answer in Prometheus' format.
pub(super) fn exposition(text: String) -> Response<Body> {
    with_type(body(text), "text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
}

impl Server {
    /// What the process counts, and what this kubelet runs.
    pub(super) async fn own_metrics(&self) -> Answer {
        let runtime = &self.containers.runtime;
        let (containers, sandboxes) = (ContainerFilter::default(), PodSandboxFilter::default());
        let found = futures::future::try_join(
            runtime.list_containers(&containers),
            runtime.list_pod_sandboxes(&sandboxes),
        );
        let (containers, sandboxes) = found.await.map_err(Refusal::internal)?;
        let mut text = Text(self.host.context.metrics.encode_text());
        text.family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
        text.sample("kubelet_node_name", &[("node", &self.host.node_name)], 1.0);
        text.family("kubelet_running_containers", "gauge", "[ALPHA] Number of containers currently running");
        for (state, name) in [
            (ContainerState::Created, "created"),
            (ContainerState::Running, "running"),
            (ContainerState::Exited, "exited"),
            (ContainerState::Unknown, "unknown"),
        ] {
            match containers.iter().filter(|container| container.state == state).count() {
                0 => {}
                n => text.sample("kubelet_running_containers", &[("container_state", name)], n as f64),
            }
        }
        let running = sandboxes.iter().filter(|sandbox| sandbox.state == SandboxState::Ready).count();
        text.family(
            "kubelet_running_pods",
            "gauge",
            "[ALPHA] Number of pods that have a running pod sandbox",
        );
        text.sample("kubelet_running_pods", &[], running as f64);
        let evictions = "[ALPHA] Cumulative number of pod evictions by eviction signal";
        let preemptions = "[ALPHA] Cumulative number of pod preemptions by preemption resource";
        for (name, label, help, tally) in [
            ("kubelet_evictions", "eviction_signal", evictions, &self.host.evictions),
            ("kubelet_preemptions", "preemption_signal", preemptions, &self.host.preemptions),
        ] {
            let counts = tally.read();
            if !counts.is_empty() {
                text.family(name, "counter", help);
            }
            for (signal, count) in &counts {
                text.sample(name, &[(label, signal)], *count as f64);
            }
        }
        self.claims(&mut text).await;
        Ok(exposition(text.0))
    }

    /// What claims' volumes take.
    async fn claims(&self, text: &mut Text) {
        let mut claims = BTreeMap::new();
        for pod in self.host.pods.list().into_iter().filter(|pod| !api::pod::is_terminal(pod)) {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            for volume in self.volume_usage(&pod).await.iter() {
                if let Some(claim) = &volume.claim {
                    claims.insert((namespace.clone(), claim.clone()), volume.clone());
                }
            }
        }
        if claims.is_empty() {
            return;
        }
        type Value = fn(&VolumeUsage) -> u64;
        let families: [(&str, &str, Value); 6] = [
            ("available_bytes", "Number of available bytes in the volume", |v| v.disk.available),
            ("capacity_bytes", "Capacity in bytes of the volume", |v| v.disk.capacity),
            ("inodes", "Maximum number of inodes in the volume", |v| v.disk.inodes),
            ("inodes_free", "Number of free inodes in the volume", |v| v.disk.inodes_free),
            ("inodes_used", "Number of used inodes in the volume", |v| v.used.inodes),
            ("used_bytes", "Number of used bytes in the volume", |v| v.used.bytes),
        ];
        for (name, help, value) in families {
            let name = format!("kubelet_volume_stats_{name}");
            text.family(&name, "gauge", &format!("[ALPHA] {help}"));
            for ((namespace, claim), volume) in &claims {
                let labels = [("namespace", namespace.as_str()), ("persistentvolumeclaim", claim.as_str())];
                text.sample(&name, &labels, value(volume) as f64);
            }
        }
    }

    pub(super) async fn resource_metrics(&self) -> Answer {
        let usage = self.usage(StatsDetail::Compute).await;
        Ok(exposition(resource(usage.as_ref().ok())))
    }

    pub(super) async fn container_metrics(&self) -> Answer {
        let usage = self.usage(StatsDetail::Filesystems).await?;
        Ok(exposition(cadvisor(&usage, self.host.machine.cpus, self.host.machine.memory)))
    }
}

/// Text in the making.
struct Text(String);

type Labels<'a> = [(&'a str, &'a str)];

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &Labels<'_>, value: f64) {
        self.line(name, labels, value);
        self.write(format_args!("\n"));
    }

    /// With the time at which it was true, in milliseconds.
    fn sample_at(&mut self, name: &str, labels: &Labels<'_>, value: f64, at: Timestamp) {
        self.line(name, labels, value);
        self.write(format_args!(" {}\n", at.as_millisecond()));
    }

    fn line(&mut self, name: &str, labels: &Labels<'_>, value: f64) {
        self.write(format_args!("{name}"));
        for (index, (key, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.write(format_args!("{before}{key}=\"{text}\""));
        }
        self.write(format_args!("{} {value}", if labels.is_empty() { "" } else { "}" }));
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.0.write_fmt(arguments).expect("writing to a string cannot fail");
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// What the metrics API is made from. None: nothing could be learnt.
fn resource(usage: Option<&Usage>) -> String {
    let mut text = Text(String::new());
    let Some(Usage { now, node, pods }) = usage else {
        scrape_error(&mut text, true);
        return text.0;
    };
    let containers = || pods.iter().flat_map(|pod| pod.containers.iter().map(move |c| (pod, c)));
    let name = "container_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds");
    for (pod, container) in containers() {
        text.sample_at(
            name,
            &of_container(pod, container),
            seconds(container.cpu_nanos),
            container.timestamp,
        );
    }
    let name = "container_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the container in bytes");
    for (pod, container) in containers() {
        let value = container.memory.working_set as f64;
        text.sample_at(name, &of_container(pod, container), value, container.timestamp);
    }
    let name = "container_start_time_seconds";
    text.family(name, "gauge", "[STABLE] Start time of the container since unix epoch in seconds");
    for (pod, container) in containers() {
        if let Some(started) = pod.started_at(container) {
            text.sample(name, &of_container(pod, container), started.as_millisecond() as f64 / 1e3);
        }
    }
    let name = "node_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds");
    text.sample_at(name, &[], seconds(node.cpu_nanos), *now);
    let name = "node_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the node in bytes");
    text.sample_at(name, &[], node.memory.working_set as f64, *now);
    let name = "pod_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds");
    for pod in pods {
        text.sample_at(name, &of_pod(pod), seconds(pod.cpu_nanos()), *now);
    }
    let name = "pod_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the pod in bytes");
    for pod in pods {
        text.sample_at(name, &of_pod(pod), pod.memory().working_set as f64, *now);
    }
    scrape_error(&mut text, false);
    text.0
}

fn scrape_error(text: &mut Text, failed: bool) {
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    text.family("resource_scrape_error", "gauge", help);
    text.sample("resource_scrape_error", &[], f64::from(u8::from(failed)));
}

fn names(pod: &PodUsage) -> (&str, &str) {
    let metadata = &pod.pod.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn of_pod(pod: &PodUsage) -> [(&str, &str); 2] {
    let (namespace, name) = names(pod);
    [("namespace", namespace), ("pod", name)]
}

fn of_container<'a>(pod: &'a PodUsage, container: &'a ContainerStats) -> [(&'a str, &'a str); 3] {
    let (namespace, name) = names(pod);
    [("container", &container.metadata.name), ("namespace", namespace), ("pod", name)]
}

/// One family of cadvisor's about containers.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&ContainerStats) -> Option<f64>,
}

const CONTAINERS: [Family; 5] = [
    Family {
        name: "container_cpu_usage_seconds_total",
        kind: "counter",
        help: "Cumulative cpu time consumed in seconds.",
        value: |stats| Some(seconds(stats.cpu_nanos)),
    },
    Family {
        name: "container_fs_usage_bytes",
        kind: "gauge",
        help: "Number of bytes that are consumed by the container on this filesystem.",
        value: |stats| stats.rootfs.as_ref().map(|used| used.used_bytes as f64),
    },
    Family {
        name: "container_memory_rss",
        kind: "gauge",
        help: "Size of RSS in bytes.",
        value: |stats| Some(stats.memory.rss as f64),
    },
    Family {
        name: "container_memory_usage_bytes",
        kind: "gauge",
        help: "Current memory usage in bytes, including all memory regardless of when it was accessed",
        value: |stats| Some(stats.memory.usage as f64),
    },
    Family {
        name: "container_memory_working_set_bytes",
        kind: "gauge",
        help: "Current working set in bytes.",
        value: |stats| Some(stats.memory.working_set as f64),
    },
];

/// Name, help and value of a counter of an interface.
type Counter = (&'static str, &'static str, fn(&InterfaceStats) -> u64);

const INTERFACES: [Counter; 4] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |i| i.rx_bytes),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |i| i.rx_errors,
    ),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |i| i.tx_bytes),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |i| i.tx_errors,
    ),
];

fn cadvisor(usage: &Usage, cpus: u64, memory: u64) -> String {
    let mut text = Text(String::new());
    for Family { name, kind, help, value } in CONTAINERS {
        text.family(name, kind, help);
        for pod in &usage.pods {
            for container in &pod.containers {
                let Some(value) = value(container) else { continue };
                let image = image(pod, container);
                let [container_label, namespace, pod_label] = of_container(pod, container);
                let labels = [
                    container_label,
                    ("id", container.id.as_str()),
                    ("image", image),
                    ("name", container.id.as_str()),
                    namespace,
                    pod_label,
                ];
                text.sample_at(name, &labels, value, container.timestamp);
            }
        }
    }
    for (name, help, value) in INTERFACES {
        text.family(name, "counter", help);
        for pod in &usage.pods {
            for interface in pod.network.iter().flat_map(|stats| &stats.interfaces) {
                let [namespace, pod_label] = of_pod(pod);
                let labels = [("interface", interface.name.as_str()), namespace, pod_label];
                text.sample_at(name, &labels, value(interface) as f64, usage.now);
            }
        }
    }
    text.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    text.sample("machine_cpu_cores", &[], cpus as f64);
    text.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    text.sample("machine_memory_bytes", &[], memory as f64);
    text.0
}

/// The image as the spec names it.
fn image<'a>(pod: &'a PodUsage, container: &ContainerStats) -> &'a str {
    let Some(spec) = &pod.pod.spec else { return "" };
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let found = all.find(|declared| declared.name == container.metadata.name);
    found.and_then(|declared| declared.image.as_deref()).unwrap_or_default()
}
