//! Asking the metrics APIs: usage of pods, custom metrics, external ones.
//!
//! **Upstream**: `pkg/controller/podautoscaler/metrics/client.go`.

use super::replicas::Sample;
use crate::Manager;
use crate::error::code;
use crate::workload::message;
use api::pod::parse_quantity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Which of a pod's containers count.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    Pod,
    Container(&'a str),
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: kube::api::ObjectMeta,
    timestamp: Timestamp,
    window: String,
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    usage: BTreeMap<String, Quantity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    #[serde(default)]
    described_object: Described,
    #[serde(default)]
    timestamp: Option<Timestamp>,
    value: Quantity,
}

#[derive(Default, Deserialize)]
struct Described {
    #[serde(default)]
    name: String,
}

/// `30s`, `1m0s`: as Go prints a span.
fn window(text: &str) -> SignedDuration {
    text.parse().unwrap_or(SignedDuration::from_secs(60))
}

fn encode(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

async fn get<T: DeserializeOwned>(manager: &Manager, path: &str, what: &str, api: &str) -> Result<T, String> {
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    manager.client.request::<T>(request).await.map_err(|error| {
        let said = message(&error);
        let said = if code(&error) == 404 {
            format!("the server could not find the requested resource (get {what})")
        } else {
            said
        };
        format!("unable to fetch metrics from {api} metrics API: {said}")
    })
}

/// What pods use of a resource.
pub(super) async fn usage(
    manager: &Manager,
    namespace: &str,
    selector: &str,
    resource: &str,
    of: Of<'_>,
) -> Result<BTreeMap<String, Sample>, String> {
    let path = format!(
        "/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={}",
        encode(selector)
    );
    let list: List<PodMetrics> = get(manager, &path, "pods.metrics.k8s.io", "resource").await?;
    if list.items.is_empty() {
        return Err("no metrics returned from resource metrics API".to_owned());
    }
    let sample = |pod: PodMetrics| {
        let counts = |container: &&ContainerMetrics| match of {
            Of::Pod => true,
            Of::Container(name) => container.name == name,
        };
        // What one container does not tell is not known of the pod.
        let amounts = pod.containers.iter().filter(counts).map(|container| container.usage.get(resource));
        let amounts: Vec<_> = amounts.collect::<Option<_>>()?;
        let value = amounts.iter().map(|amount| parse_quantity(amount).millis()).sum();
        (!amounts.is_empty()).then(|| {
            let sample = Sample { value, at: pod.timestamp, window: window(&pod.window) };
            (pod.metadata.name.unwrap_or_default(), sample)
        })
    };
    Ok(list.items.into_iter().filter_map(sample).collect())
}

/// A custom metric of pods, or of one object (`services/web`).
pub(super) async fn custom(
    manager: &Manager,
    namespace: &str,
    object: &str,
    metric: &str,
    selector: &str,
) -> Result<BTreeMap<String, Sample>, String> {
    let query = if object == "pods/*" { "labelSelector" } else { "metricLabelSelector" };
    let path = format!(
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/{object}/{metric}?{query}={}",
        encode(selector)
    );
    let list: List<Value> = get(manager, &path, &format!("{metric}.custom.metrics.k8s.io"), "custom").await?;
    if list.items.is_empty() {
        return Err("no metrics returned from custom metrics API".to_owned());
    }
    let now = manager.context.clock.now();
    let sample = |item: Value| {
        let value = parse_quantity(&item.value).millis();
        (
            item.described_object.name,
            Sample { value, at: item.timestamp.unwrap_or(now), window: window("1m") },
        )
    };
    Ok(list.items.into_iter().map(sample).collect())
}

/// The sum of an external metric.
pub(super) async fn external(
    manager: &Manager,
    namespace: &str,
    metric: &str,
    selector: &str,
) -> Result<i64, String> {
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?labelSelector={}",
        encode(selector)
    );
    let list: List<Value> =
        get(manager, &path, &format!("{metric}.external.metrics.k8s.io"), "external").await?;
    if list.items.is_empty() {
        return Err("no metrics returned from external metrics API".to_owned());
    }
    Ok(list.items.iter().map(|item| parse_quantity(&item.value).millis()).sum())
}
