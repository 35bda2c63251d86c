//! How long rules take. **Upstream**: `pkg/proxy/metrics`; names and buckets are its.

use component_base::Metrics;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What the proxy measures.
pub(crate) struct Measured {
    /// All rules from nothing.
    pub(crate) full: Histogram,
    /// What changed alone.
    pub(crate) partial: Histogram,
}

impl Measured {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let histogram = |name: &str, help: &str| {
            metrics.shared(name, help, || Histogram::new(exponential_buckets(0.001, 2.0, 15)))
        };
        Self {
            full: histogram(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for full resyncs",
            ),
            partial: histogram(
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for partial resyncs",
            ),
        }
    }
}
