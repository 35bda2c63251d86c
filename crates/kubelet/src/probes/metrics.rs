//! How often probes succeeded and failed, for `/metrics/probes`.
//!
//! **Contract**: what was counted of a probe is forgotten with its container.
//! **Upstream**: `ProberResults` of `pkg/kubelet/prober`.

use super::Target;
use crate::health::Probe;
use component_base::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    container: String,
    namespace: String,
    pod: String,
    pod_uid: String,
    probe_type: &'static str,
    result: &'static str,
}

/// Counts of a node's probes.
#[derive(Clone, Default)]
pub(crate) struct Results(Family<Labels, Counter>);

impl Results {
    /// Counts into a registry of its own, as upstream does.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let help =
            "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result";
        Self(metrics.register("prober_probe", help, Family::default()))
    }

    pub(super) fn count(&self, target: &Target, probe: Probe, succeeded: bool) {
        self.0.get_or_create(&labels(target, probe, succeeded)).inc();
    }

    pub(super) fn forget(&self, target: &Target, probe: Probe) {
        for succeeded in [true, false] {
            self.0.remove(&labels(target, probe, succeeded));
        }
    }
}

fn labels(target: &Target, probe: Probe, succeeded: bool) -> Labels {
    let metadata = &target.pod.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Labels {
        container: target.container.name.clone(),
        namespace: text(&metadata.namespace),
        pod: text(&metadata.name),
        pod_uid: text(&metadata.uid),
        probe_type: match probe {
            Probe::Startup => "Startup",
            Probe::Liveness => "Liveness",
            Probe::Readiness => "Readiness",
        },
        result: if succeeded { "successful" } else { "failed" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_probe_and_result() {
        let metrics = Metrics::default();
        let results = Results::new(&metrics);
        let mut pod = api::k8s_openapi::api::core::v1::Pod::default();
        pod.metadata.name = Some("p".into());
        pod.metadata.namespace = Some("n".into());
        pod.metadata.uid = Some("u".into());
        let target = Target {
            pod: std::sync::Arc::new(pod),
            container: api::k8s_openapi::api::core::v1::Container { name: "c".into(), ..Default::default() },
            id: "id".into(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            pod_ip: None,
        };
        results.count(&target, Probe::Liveness, true);
        results.count(&target, Probe::Liveness, true);
        results.count(&target, Probe::Readiness, false);
        let text = metrics.encode_text();
        for line in [
            "# TYPE prober_probe_total counter",
            "prober_probe_total{container=\"c\",namespace=\"n\",pod=\"p\",pod_uid=\"u\",probe_type=\"Liveness\",result=\"successful\"} 2",
            "prober_probe_total{container=\"c\",namespace=\"n\",pod=\"p\",pod_uid=\"u\",probe_type=\"Readiness\",result=\"failed\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        results.forget(&target, Probe::Liveness);
        assert!(!metrics.encode_text().contains("Liveness"));
    }
}
