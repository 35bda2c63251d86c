//! `autoscaling/v1`: HorizontalPodAutoscalers that look at the CPU alone; what they cannot say stands in annotations.
//!
//! **Contract**: nothing is lost on the way from v2 to v1 and back.
//! **Upstream**: `pkg/apis/autoscaling/v1/conversion.go`; the annotations' metrics have the shape of v2beta1, and the
//! annotation of the behaviour has Go's own field names.

use crate::registry::Conversion;
use crate::registry::metadata;
use crate::resources::edit::{self, items, text};
use api::kind::{Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ANNOTATIONS: [&str; 4] = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR];
/// **Upstream**: `DefaultCPUUtilization`.
const DEFAULT_UTILIZATION: i64 = 80;
const TARGET: &str = "targetCPUUtilizationPercentage";
const CURRENT: &str = "currentCPUUtilizationPercentage";

/// The version.
pub(super) struct V1(Resource);

impl V1 {
    pub(super) fn new() -> Self {
        let (plural, singular) = ("horizontalpodautoscalers", "horizontalpodautoscaler");
        let scope = Scope::Namespaced;
        let resource = Resource::new("autoscaling", "v1", "HorizontalPodAutoscaler", plural, singular, scope);
        Self(resource.short(&["hpa"]).in_categories(&["all"]))
    }
}

#[async_trait]
impl Conversion for V1 {
    fn resource(&self) -> &Resource {
        &self.0
    }

    async fn as_shown(&self, objects: Vec<Value>) -> Result<Vec<Value>, Status> {
        Ok(objects.into_iter().map(shown).collect())
    }

    async fn to_stored(&self, objects: Vec<Value>) -> Result<Vec<Value>, Status> {
        objects.into_iter().map(stored).collect()
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = edit::child_or_new(object, "spec") {
            edit::set_default(spec, "minReplicas", 1);
        }
    }
}

/// Whether a metric is the one that v1 has a field for.
fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

fn shown(mut object: Value) -> Value {
    let mut annotations: Vec<(&str, Value)> = Vec::new();
    let mut spec = object["spec"].take();
    let metrics = take(&mut spec, "metrics").unwrap_or_default();
    let metrics = metrics.as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(cpu) = metrics.iter().find(|metric| is_cpu(metric)) {
        let share = &cpu["resource"]["target"]["averageUtilization"];
        if !share.is_null() {
            spec[TARGET] = share.clone();
        }
    }
    let others: Vec<Value> = metrics
        .iter()
        .filter(|m| !is_cpu(m) || m["resource"]["target"]["averageUtilization"].is_null())
        .map(|metric| flat(metric, Part::Target))
        .collect();
    if !others.is_empty() {
        annotations.push((METRICS, others.into()));
    }
    if let Some(behavior) = take(&mut spec, "behavior") {
        annotations.push((BEHAVIOR, recased(behavior, char::to_ascii_uppercase)));
    }
    let mut status = object["status"].take();
    let current = take(&mut status, "currentMetrics").unwrap_or_default();
    let current = current.as_array().map(Vec::as_slice).unwrap_or_default();
    for metric in current.iter().filter(|metric| is_cpu(metric)) {
        let share = &metric["resource"]["current"]["averageUtilization"];
        if !share.is_null() {
            status[CURRENT] = share.clone();
        }
    }
    if !current.is_empty() {
        let current: Vec<Value> = current.iter().map(|metric| flat(metric, Part::Current)).collect();
        annotations.push((CURRENT_METRICS, current.into()));
    }
    if let Some(conditions) = take(&mut status, "conditions").filter(|c| !edit::is_empty(c)) {
        annotations.push((CONDITIONS, conditions));
    }
    object["spec"] = spec;
    // Upstream's type has no pointer here: what is missing is zero.
    for field in ["currentReplicas", "desiredReplicas"] {
        edit::set_default(&mut status, field, 0);
    }
    object["status"] = status;
    if !annotations.is_empty() {
        let all = edit::child_or_new(metadata_of(&mut object), "annotations");
        if let Some(all) = all.and_then(Value::as_object_mut) {
            for (name, value) in annotations {
                all.insert(name.to_owned(), value.to_string().into());
            }
        }
    }
    object
}

fn stored(mut object: Value) -> Result<Value, Status> {
    let mut said: [Option<Value>; 4] = Default::default();
    if let Some(annotations) = metadata::of(&mut object).get_mut("annotations").and_then(Value::as_object_mut)
    {
        for (slot, name) in said.iter_mut().zip(ANNOTATIONS) {
            let text = annotations.shift_remove(name);
            *slot = match text.as_ref().and_then(Value::as_str) {
                Some(text) => {
                    Some(serde_json::from_str(text).map_err(|e| Status::bad_request(e.to_string()))?)
                }
                None => None,
            };
        }
        if annotations.is_empty() {
            metadata::of(&mut object).shift_remove("annotations");
        }
    }
    let [others, current, conditions, behavior] = said;
    let mut spec = object["spec"].take();
    let mut metrics: Vec<Value> = take(&mut spec, TARGET).map(cpu_target).into_iter().collect();
    metrics.extend(items(&json!({"m": others}), "m").iter().map(|metric| deep(metric, Part::Target)));
    if metrics.is_empty() {
        metrics.push(cpu_target(DEFAULT_UTILIZATION.into()));
    }
    spec["metrics"] = metrics.into();
    if let Some(behavior) = behavior {
        spec["behavior"] = recased(behavior, char::to_ascii_lowercase);
    }
    object["spec"] = spec;
    let mut status = object["status"].take();
    if status.is_object() {
        let share = take(&mut status, CURRENT);
        let listed: Vec<Value> = match (current, share) {
            // These know more.
            (Some(current), _) => {
                items(&json!({"m": current}), "m").iter().map(|m| deep(m, Part::Current)).collect()
            }
            (None, Some(share)) => vec![json!({"type": "Resource",
                "resource": {"name": "cpu", "current": {"averageUtilization": share}}})],
            (None, None) => Vec::new(),
        };
        status["currentMetrics"] = if listed.is_empty() { Value::Null } else { listed.into() };
        if let Some(conditions) = conditions {
            status["conditions"] = conditions;
        }
        object["status"] = status;
    } else if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
    }
    Ok(object)
}

fn metadata_of(object: &mut Value) -> &mut Value {
    metadata::of(object);
    &mut object["metadata"]
}

fn cpu_target(share: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": share}}})
}

fn take(value: &mut Value, field: &str) -> Option<Value> {
    value.as_object_mut()?.shift_remove(field).filter(|value| !value.is_null())
}

/// The same with the first letter of every field's name in another case.
fn recased(value: Value, case: fn(&char) -> char) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let mut letters = name.chars();
                    let first: String = letters.next().iter().map(case).collect();
                    (first + letters.as_str(), recased(value, case))
                })
                .collect(),
        ),
        Value::Array(items) => items.into_iter().map(|item| recased(item, case)).collect(),
        other => other,
    }
}

/// Whether a metric says what is wanted or what is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Target,
    Current,
}

impl Part {
    /// Where v2 keeps the amounts.
    fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Current => "current",
        }
    }

    /// `averageValue` as v2beta1 names it in this part: `targetAverageValue`.
    fn prefixed(self, field: &str) -> String {
        let mut letters = field.chars();
        let first: String = letters.next().iter().map(char::to_ascii_uppercase).collect();
        format!("{}{first}{}", self.name(), letters.as_str())
    }
}

/// The metrics that have a source: type, field.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("External", "external"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

fn source_of(metric: &Value) -> Option<&'static str> {
    SOURCES.iter().find(|(kind, _)| *kind == text(metric, "type")).map(|(_, field)| *field)
}

/// A metric of v2 in the shape of v2beta1.
fn flat(metric: &Value, part: Part) -> Value {
    let Some(field) = source_of(metric) else { return metric.clone() };
    let (source, amounts) = (&metric[field], &metric[field][part.name()]);
    // What v2beta1 writes where there is no value; it cannot leave it out.
    let zero = Value::from("0");
    let mut out = Map::new();
    let mut put = |name: &str, value: &Value| {
        if !value.is_null() {
            out.insert(name.to_owned(), value.clone());
        }
    };
    let (name, selector) = (&source["metric"]["name"], &source["metric"]["selector"]);
    match field {
        "object" => {
            put("target", &source["describedObject"]);
            put("metricName", name);
            put(&part.prefixed("value"), if amounts["value"].is_null() { &zero } else { &amounts["value"] });
            put("selector", selector);
            put("averageValue", &amounts["averageValue"]);
        }
        "pods" => {
            put("metricName", name);
            put(&part.prefixed("averageValue"), &amounts["averageValue"]);
            put("selector", selector);
        }
        "external" => {
            put("metricName", name);
            put("metricSelector", selector);
            put(&part.prefixed("value"), &amounts["value"]);
            put(&part.prefixed("averageValue"), &amounts["averageValue"]);
        }
        _ => {
            put("name", &source["name"]);
            put(&part.prefixed("averageUtilization"), &amounts["averageUtilization"]);
            put(&part.prefixed("averageValue"), &amounts["averageValue"]);
            put("container", &source["container"]);
        }
    }
    json!({"type": metric["type"], field: out})
}

/// A metric of v2beta1 in the shape of v2.
fn deep(metric: &Value, part: Part) -> Value {
    let Some(field) = source_of(metric) else { return metric.clone() };
    let source = &metric[field];
    let mut amounts = Map::new();
    let mut kind = "Value";
    let amount = |name: &str| match &source[part.prefixed(name).as_str()] {
        Value::String(text) if text.is_empty() || text == "0" => &Value::Null,
        value => value,
    };
    let average = if field == "object" { &source["averageValue"] } else { amount("averageValue") };
    for (name, value) in [
        ("value", amount("value")),
        ("averageValue", average),
        ("averageUtilization", amount("averageUtilization")),
    ] {
        if !value.is_null() {
            amounts.insert(name.to_owned(), value.clone());
        }
    }
    if amounts.contains_key("averageValue") {
        kind = "AverageValue";
    }
    if amounts.contains_key("averageUtilization") {
        kind = "Utilization";
    }
    if part == Part::Target {
        amounts.insert("type".to_owned(), kind.into());
    }
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            out.insert(name.to_owned(), value);
        }
    };
    match field {
        "resource" | "containerResource" => {
            put("name", source["name"].clone());
            put("container", source["container"].clone());
        }
        _ => {
            let selector = if field == "external" { &source["metricSelector"] } else { &source["selector"] };
            let mut named = json!({"name": source["metricName"]});
            if !selector.is_null() {
                named["selector"] = selector.clone();
            }
            put("metric", named);
            put("describedObject", source["target"].clone());
        }
    }
    put(part.name(), Value::Object(amounts));
    json!({"type": metric["type"], field: out})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2() -> Value {
        json!({"metadata": {"name": "h", "annotations": {"mine": "1"}},
            "spec": {"minReplicas": 1, "maxReplicas": 3,
                "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 60}}},
                    {"type": "Resource", "resource": {"name": "memory",
                        "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "rps", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "10"}}},
                    {"type": "Object", "object": {"metric": {"name": "hits"},
                        "describedObject": {"kind": "Ingress", "name": "i"},
                        "target": {"type": "Value", "value": "2k"}}},
                    {"type": "External", "external": {"metric": {"name": "queue"},
                        "target": {"type": "Value", "value": "30"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                        "target": {"type": "Utilization", "averageUtilization": 50}}},
                ],
                "behavior": {"scaleDown": {"selectPolicy": "Max",
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}},
            "status": {"currentReplicas": 1, "desiredReplicas": 2,
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": null}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 20, "averageValue": "10m"}}}]}})
    }

    #[test]
    fn nothing_is_lost_on_the_way_through_v1() {
        let v1 = shown(v2());
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(v1["status"]["currentCPUUtilizationPercentage"], 20);
        let annotations = &v1["metadata"]["annotations"];
        assert!(annotations[METRICS].as_str().unwrap().contains(r#""targetAverageValue":"1Gi""#));
        assert_eq!(
            annotations[BEHAVIOR],
            r#"{"ScaleDown":{"SelectPolicy":"Max","Policies":[{"Type":"Percent","Value":100,"PeriodSeconds":15}]}}"#
        );
        assert_eq!(stored(v1).unwrap(), v2());
    }

    #[test]
    fn an_autoscaler_without_metrics_looks_at_the_cpu() {
        let v1 = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3}});
        let v2 = stored(v1).unwrap();
        assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(shown(v2)["spec"]["targetCPUUtilizationPercentage"], 80);
    }
}
