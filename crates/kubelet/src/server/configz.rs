//! How this kubelet is set up, in the words of upstream's configuration file.
//!
//! **Contract**: only what holds here is named.
//! **Upstream**: `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`.

use super::Host;
use crate::node_status;
use client::lease::NODE_LEASE_SECONDS;
use runtime::LogConfig;
use serde_json::{Value, json};

pub(super) fn configuration(host: &Host) -> Value {
    json!({"kubeletconfig": {
        "enableServer": true,
        "enableDebuggingHandlers": true,
        "enableSystemLogHandler": host.is_real,
        "clusterDomain": host.cluster_dns.domain,
        "clusterDNS": host.cluster_dns.servers,
        "nodeStatusUpdateFrequency": duration(node_status::UPDATE.as_secs()),
        "nodeStatusReportFrequency": duration(node_status::REPORT.as_secs().unsigned_abs()),
        "nodeLeaseDurationSeconds": NODE_LEASE_SECONDS,
        "podCIDR": host.pod_cidr.as_deref().unwrap_or_default(),
        "maxPods": node_status::MAX_PODS,
        "shutdownGracePeriod": duration(host.shutdown_grace.total().as_secs()),
        "shutdownGracePeriodCriticalPods": duration(host.shutdown_grace.critical().as_secs()),
        "containerLogMaxSize": format!("{}Mi", LogConfig::DEFAULT_MAX_SIZE >> 20),
        "containerLogMaxFiles": LogConfig::DEFAULT_MAX_FILES,
    }})
}

/// As Go writes a duration.
fn duration(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}
