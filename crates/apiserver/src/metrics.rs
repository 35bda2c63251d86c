//! What the server counts about its requests.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/metrics`: names and labels are upstream's.

use crate::body::Response;
use component_base::Metrics;
use http::HeaderMap;
use http::header::ACCEPT;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

/// Upstream's buckets for request latencies, thinned out.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 15.0, 60.0];

/// Labels of a served request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) code: u16,
}

/// Labels of a latency.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct LatencyLabels {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
}

/// `request_kind` of a request in flight.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct InflightLabels {
    pub(crate) request_kind: &'static str,
}

type LatencyFamily = Family<LatencyLabels, Histogram, fn() -> Histogram>;

/// The metrics of one server.
pub(crate) struct ServerMetrics {
    requests: Family<RequestLabels, Counter>,
    latencies: LatencyFamily,
    inflight: Family<InflightLabels, Gauge>,
    longrunning: Gauge,
}

impl ServerMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let latencies: LatencyFamily = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        Self {
            requests: metrics.register(
                "apiserver_request",
                "Requests by verb, resource and response code",
                Family::default(),
            ),
            latencies: metrics.register(
                "apiserver_request_duration_seconds",
                "Latency of requests that are not long-running",
                latencies,
            ),
            inflight: metrics.register(
                "apiserver_current_inflight_requests",
                "Requests being served",
                Family::default(),
            ),
            longrunning: metrics.register(
                "apiserver_longrunning_requests",
                "Watches and log streams being served",
                Gauge::default(),
            ),
        }
    }

    pub(crate) fn observe(&self, labels: &RequestLabels, took: Option<Duration>) {
        self.requests.get_or_create(labels).inc();
        if let Some(took) = took {
            let latency = LatencyLabels {
                verb: labels.verb.clone(),
                group: labels.group.clone(),
                resource: labels.resource.clone(),
            };
            self.latencies.get_or_create(&latency).observe(took.as_secs_f64());
        }
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn enter(&self, kind: RequestKind) -> InflightGuard {
        let gauge = match kind {
            RequestKind::ReadOnly => {
                self.inflight.get_or_create(&InflightLabels { request_kind: "readOnly" }).clone()
            }
            RequestKind::Mutating => {
                self.inflight.get_or_create(&InflightLabels { request_kind: "mutating" }).clone()
            }
            RequestKind::LongRunning => self.longrunning.clone(),
        };
        gauge.inc();
        InflightGuard(gauge)
    }
}

/// All metrics in the format that the client asks for: Prometheus' own unless it asks for OpenMetrics.
pub(crate) fn respond(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let first = accepts.flat_map(|v| v.split(',')).find_map(|clause| {
        let media_type = clause.split(';').next().unwrap_or("").trim();
        match media_type {
            "application/openmetrics-text" => Some(true),
            "text/plain" | "*/*" | "text/*" => Some(false),
            _ => None,
        }
    });
    if first == Some(true) {
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
        return crate::respond::bytes(200, media_type, metrics.encode());
    }
    let media_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    crate::respond::bytes(200, media_type, metrics.encode_text())
}

/// The class of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// Takes a reading seat.
    ReadOnly,
    /// Takes a writing seat.
    Mutating,
    /// A watch or log stream: no seat, no time limit.
    LongRunning,
}

/// Counts down when dropped.
pub(crate) struct InflightGuard(Gauge);

impl Drop for InflightGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
