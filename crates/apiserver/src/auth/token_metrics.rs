//! What is counted of service account tokens.
//!
//! **Upstream**: `pkg/serviceaccount/metrics.go`; names are upstream's.

use component_base::Metrics;
use prometheus_client::metrics::counter::Counter;

/// The counters; those of [`Default`] are nobody's to read.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenMetrics {
    /// Tokens of Secrets.
    pub(super) legacy: Counter,
    /// Those whose Secret was made for an account.
    pub(super) legacy_auto: Counter,
    /// Those whose Secret somebody made.
    pub(super) legacy_manual: Counter,
    /// Those that were marked as invalid.
    pub(super) invalid_legacy_auto: Counter,
    /// Tokens past the time that they were asked for.
    pub(super) stale: Counter,
    /// Tokens that are to be renewed at a time that has not come.
    pub(super) valid: Counter,
}

impl TokenMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| {
            metrics.register(&format!("serviceaccount_{name}"), help, Counter::default())
        };
        Self {
            legacy: counter("legacy_tokens", "Cumulative legacy service account tokens used"),
            legacy_auto: counter("legacy_auto_token_uses", "Cumulative auto-generated legacy tokens used"),
            legacy_manual: counter(
                "legacy_manual_token_uses",
                "Cumulative manually created legacy tokens used",
            ),
            invalid_legacy_auto: counter(
                "invalid_legacy_auto_token_uses",
                "Cumulative invalid auto-generated legacy tokens used",
            ),
            stale: counter("stale_tokens", "Cumulative stale projected service account tokens used"),
            valid: counter("valid_tokens", "Cumulative valid projected service account tokens used"),
        }
    }
}
