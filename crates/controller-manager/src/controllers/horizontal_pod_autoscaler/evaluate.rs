//! What each metric of an autoscaler comes to.
//!
//! **Upstream**: `computeReplicasForMetric` in `pkg/controller/podautoscaler/horizontal.go`.

use super::metrics::{self, Of};
use super::replicas::{self, Proposal, Target, Tolerance};
use crate::Manager;
use crate::workload::owned;
use api::pod::{self, parse_quantity};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, MetricIdentifier, MetricSpec, MetricStatus,
    MetricTarget, MetricValueStatus, ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) manager: &'a Manager,
    pub(super) namespace: &'a str,
    /// The selector of the target's pods, as text.
    pub(super) selector: &'a str,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) current: i32,
    pub(super) tolerance: Tolerance,
    pub(super) now: Timestamp,
}

/// What a metric asks for.
pub(super) struct Answer {
    pub(super) replicas: i32,
    /// As rescaling tells of it.
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// Why a metric has no answer: reason of the condition, message.
pub(super) struct Unknown {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

fn quantity(millis: i64) -> Quantity {
    Quantity(if millis % 1000 == 0 { (millis / 1000).to_string() } else { format!("{millis}m") })
}

fn selector_text(metric: &MetricIdentifier) -> String {
    metric.selector.as_ref().map(|selector| owned::selector(selector).to_string()).unwrap_or_default()
}

fn millis(quantity: Option<&Quantity>) -> i64 {
    quantity.map_or(0, |quantity| parse_quantity(quantity).millis())
}

impl Question<'_> {
    pub(super) async fn ask(&self, spec: &MetricSpec) -> Result<Answer, Unknown> {
        match spec.type_.as_str() {
            "Resource" => self.resource(spec).await,
            "ContainerResource" => self.container_resource(spec).await,
            "Pods" => self.of_pods(spec).await,
            "Object" => self.object(spec).await,
            "External" => self.external(spec).await,
            other => {
                let message = format!("unknown metric source type \"{other}\"");
                Err(Unknown { reason: "InvalidMetricSourceType", message })
            }
        }
    }

    async fn resource(&self, spec: &MetricSpec) -> Result<Answer, Unknown> {
        let source = spec.resource.clone().unwrap_or_default();
        let proposal = self.usage(&source.name, Of::Pod, &source.target).await;
        let proposal = proposal.map_err(|message| Unknown { reason: "FailedGetResourceMetric", message })?;
        let (name, current) = self.told(&format!("{} resource", source.name), &proposal, &source.target);
        let status = ResourceMetricStatus { name: source.name, current };
        let status =
            MetricStatus { type_: "Resource".to_owned(), resource: Some(status), ..MetricStatus::default() };
        Ok(Answer { replicas: proposal.replicas, name, status })
    }

    async fn container_resource(&self, spec: &MetricSpec) -> Result<Answer, Unknown> {
        let source = spec.container_resource.clone().unwrap_or_default();
        let proposal = self.usage(&source.name, Of::Container(&source.container), &source.target).await;
        let proposal =
            proposal.map_err(|message| Unknown { reason: "FailedGetContainerResourceMetric", message })?;
        let (name, current) =
            self.told(&format!("{} container resource", source.name), &proposal, &source.target);
        let status =
            ContainerResourceMetricStatus { name: source.name, container: source.container, current };
        let status = MetricStatus {
            type_: "ContainerResource".to_owned(),
            container_resource: Some(status),
            ..MetricStatus::default()
        };
        Ok(Answer { replicas: proposal.replicas, name, status })
    }

    fn told(&self, what: &str, proposal: &Proposal, target: &MetricTarget) -> (String, MetricValueStatus) {
        let average_value = Some(quantity(proposal.average));
        if target.average_utilization.is_some() {
            let current =
                MetricValueStatus { average_utilization: proposal.utilization, average_value, value: None };
            return (format!("{what} utilization (percentage of request)"), current);
        }
        (what.to_owned(), MetricValueStatus { average_value, ..MetricValueStatus::default() })
    }

    async fn usage(&self, resource: &str, of: Of<'_>, target: &MetricTarget) -> Result<Proposal, String> {
        let failed = |why: String| {
            let what = if target.average_utilization.is_some() { "utilization" } else { "usage" };
            format!("failed to get {resource} {what}: {why}")
        };
        let unable = |why: String| failed(format!("unable to get metrics for resource {resource}: {why}"));
        let samples = metrics::usage(self.manager, self.namespace, self.selector, resource, of).await;
        let samples = samples.map_err(unable)?;
        let target = match target.average_utilization {
            Some(percent) => {
                Target::Utilization { percent, requests: self.requests(resource, of).map_err(failed)? }
            }
            None => Target::Average(millis(target.average_value.as_ref())),
        };
        let cpu = resource == "cpu";
        let all = replicas::by_pods(self.current, self.pods, samples, &target, cpu, self.tolerance, self.now);
        all.ok_or_else(|| {
            failed("did not receive metrics for targeted pods (pods might be unready)".to_owned())
        })
    }

    /// What each pod requests; all must.
    fn requests(&self, resource: &str, of: Of<'_>) -> Result<BTreeMap<String, i64>, String> {
        let mut all = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| !pod::is_terminal(pod)) {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let spec = pod.spec.as_ref();
            let sidecars = spec
                .into_iter()
                .flat_map(|s| s.init_containers.iter().flatten())
                .filter(|c| pod::is_sidecar(c));
            let containers = spec.into_iter().flat_map(|spec| &spec.containers).chain(sidecars);
            let mut total = 0;
            for container in containers {
                if matches!(of, Of::Container(wanted) if wanted != container.name) {
                    continue;
                }
                let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
                let Some(request) = requests.and_then(|requests| requests.get(resource)) else {
                    return Err(format!(
                        "missing request for {resource} in container {} of Pod {name}",
                        container.name
                    ));
                };
                total += parse_quantity(request).millis();
            }
            all.insert(name, total);
        }
        Ok(all)
    }

    async fn of_pods(&self, spec: &MetricSpec) -> Result<Answer, Unknown> {
        let source = spec.pods.clone().unwrap_or_default();
        let metric = source.metric.name.clone();
        let unknown = |why: String| Unknown {
            reason: "FailedGetPodsMetric",
            message: format!("unable to get metric {metric}: {why}"),
        };
        let samples = metrics::custom(self.manager, self.namespace, "pods/*", &metric, self.selector).await;
        let target = Target::Average(millis(source.target.average_value.as_ref()));
        let samples = samples.map_err(unknown)?;
        let proposal =
            replicas::by_pods(self.current, self.pods, samples, &target, false, self.tolerance, self.now);
        let proposal = proposal.ok_or_else(|| {
            unknown("did not receive metrics for targeted pods (pods might be unready)".to_owned())
        })?;
        let current = MetricValueStatus {
            average_value: Some(quantity(proposal.average)),
            ..MetricValueStatus::default()
        };
        let status = PodsMetricStatus { metric: source.metric, current };
        let status = MetricStatus { type_: "Pods".to_owned(), pods: Some(status), ..MetricStatus::default() };
        Ok(Answer { replicas: proposal.replicas, name: format!("pods metric {metric}"), status })
    }

    /// The replicas for a value, and how it stands.
    fn by(&self, value: i64, target: &MetricTarget) -> (i32, MetricValueStatus) {
        if let Some(average) = &target.average_value {
            let wanted =
                replicas::by_average(self.current, value, parse_quantity(average).millis(), self.tolerance);
            let average = quantity(value / i64::from(self.current.max(1)));
            return (
                wanted,
                MetricValueStatus { average_value: Some(average), ..MetricValueStatus::default() },
            );
        }
        let ready = self.pods.iter().filter(|pod| pod::phase(pod) == "Running" && pod::is_ready(pod)).count();
        let wanted =
            replicas::by_value(self.current, ready, value, millis(target.value.as_ref()), self.tolerance);
        (wanted, MetricValueStatus { value: Some(quantity(value)), ..MetricValueStatus::default() })
    }

    async fn object(&self, spec: &MetricSpec) -> Result<Answer, Unknown> {
        let source = spec.object.clone().unwrap_or_default();
        let (metric, object) = (source.metric.name.clone(), &source.described_object);
        let place = format!("{}s/{}", object.kind.to_lowercase(), object.name);
        let samples =
            metrics::custom(self.manager, self.namespace, &place, &metric, &selector_text(&source.metric))
                .await;
        let value = samples.map(|samples| samples.values().map(|sample| sample.value).sum::<i64>());
        let value = value.map_err(|why| Unknown {
            reason: "FailedGetObjectMetric",
            message: format!("unable to get metric {metric}: {} on {} {why}", object.kind, self.namespace),
        })?;
        let (replicas, current) = self.by(value, &source.target);
        let status =
            ObjectMetricStatus { metric: source.metric, described_object: source.described_object, current };
        let name = format!("{} metric {metric}", status.described_object.kind);
        let status =
            MetricStatus { type_: "Object".to_owned(), object: Some(status), ..MetricStatus::default() };
        Ok(Answer { replicas, name, status })
    }

    async fn external(&self, spec: &MetricSpec) -> Result<Answer, Unknown> {
        let source = spec.external.clone().unwrap_or_default();
        let (metric, selector) = (source.metric.name.clone(), selector_text(&source.metric));
        let value = metrics::external(self.manager, self.namespace, &metric, &selector).await;
        let value = value.map_err(|why| Unknown {
            reason: "FailedGetExternalMetric",
            message: format!("unable to get external metric {}/{metric}/{selector}: {why}", self.namespace),
        })?;
        let (replicas, current) = self.by(value, &source.target);
        let status = ExternalMetricStatus { metric: source.metric, current };
        let status =
            MetricStatus { type_: "External".to_owned(), external: Some(status), ..MetricStatus::default() };
        Ok(Answer { replicas, name: format!("external metric {metric}({selector})"), status })
    }
}
