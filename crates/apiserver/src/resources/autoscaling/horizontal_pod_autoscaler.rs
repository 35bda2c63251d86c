//! HorizontalPodAutoscaler: how many pods, by what they are busy with.
//!
//! **Upstream**: `pkg/registry/autoscaling/horizontalpodautoscaler`, `pkg/apis/autoscaling/validation`.

use super::metrics;
use super::v1::V1;
use crate::registry::{Cell, Column, Conversion, Strategy, WriteContext};
use crate::resources::edit::{is_empty, items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// **Upstream**: `MaxStabilizationWindowSeconds`, `MaxPeriodSeconds`.
const MAX_WINDOW: i64 = 3600;
const MAX_PERIOD: i64 = 1800;

/// The strategy of HorizontalPodAutoscalers.
pub(crate) struct HorizontalPodAutoscaler(Resource);

impl HorizontalPodAutoscaler {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("horizontalpodautoscalers", "horizontalpodautoscaler");
        let scope = Scope::Namespaced;
        let resource = Resource::new("autoscaling", "v2", "HorizontalPodAutoscaler", plural, singular, scope);
        Self(resource.short(&["hpa"]).in_categories(&["all"]))
    }
}

/// Once a behaviour is given, both directions have rules.
fn default_behavior(spec: &mut Value) {
    let Some(behavior) = edit::child(spec, "behavior") else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    if let Some(up) = edit::child_or_new(behavior, "scaleUp") {
        edit::set_default(up, "stabilizationWindowSeconds", 0);
        edit::set_default_text(up, "selectPolicy", "Max");
        edit::set_default(up, "policies", json!([pods, percent]));
    }
    if let Some(down) = edit::child_or_new(behavior, "scaleDown") {
        edit::set_default_text(down, "selectPolicy", "Max");
        edit::set_default(down, "policies", json!([percent]));
    }
}

fn check_rules(errors: &mut ErrorList, path: &Path, rules: &Value) {
    if !rules.is_object() {
        return;
    }
    let window = path.child("stabilizationWindowSeconds");
    match rules["stabilizationWindowSeconds"].as_i64() {
        Some(seconds) if seconds < 0 => {
            errors.push(Error::invalid(&window, seconds, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > MAX_WINDOW => {
            errors.push(Error::invalid(&window, seconds, "must be less than or equal to 3600"));
        }
        _ => {}
    }
    let select = &rules["selectPolicy"];
    check::one_of_if_set(errors, &path.child("selectPolicy"), select, &["Disabled", "Max", "Min"]);
    let (policies, path) = (items(rules, "policies"), path.child("policies"));
    if policies.is_empty() {
        errors.push(Error::required(&path, "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        let path = path.index(i);
        if !matches!(text(policy, "type"), "Pods" | "Percent") {
            errors.push(Error::not_supported(
                &path.child("type"),
                text(policy, "type"),
                &["Percent", "Pods"],
            ));
        }
        for (field, max) in [("value", i64::MAX), ("periodSeconds", MAX_PERIOD)] {
            let number = policy[field].as_i64().unwrap_or(0);
            if number <= 0 {
                errors.push(Error::invalid(&path.child(field), number, "must be greater than zero"));
            } else if number > max {
                let detail = format!("must be less than or equal to {max}");
                errors.push(Error::invalid(&path.child(field), number, &detail));
            }
        }
    }
}

impl Strategy for HorizontalPodAutoscaler {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn versions(&self) -> Vec<Arc<dyn Conversion>> {
        vec![Arc::new(V1::new())]
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default(spec, "minReplicas", 1);
        if is_empty(&spec["metrics"]) {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            edit::set(
                spec,
                "metrics",
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
            );
        }
        default_behavior(spec);
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"desiredReplicas": 0, "currentMetrics": null}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let (min, max) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64().unwrap_or(0));
        if let Some(min) = min.filter(|min| *min < 1) {
            let detail = "must be greater than or equal to 1";
            errors.push(Error::invalid(&path.child("minReplicas"), min, detail));
        }
        let at = path.child("maxReplicas");
        if max < 1 {
            errors.push(Error::invalid(&at, max, "must be greater than 0"));
        }
        if min.is_some_and(|min| max < min) {
            errors.push(Error::invalid(&at, max, "must be greater than or equal to `minReplicas`"));
        }
        metrics::check_reference(&mut errors, &path.child("scaleTargetRef"), &spec["scaleTargetRef"]);
        for (i, metric) in items(spec, "metrics").iter().enumerate() {
            metrics::check_metric(&mut errors, &path.child("metrics").index(i), metric);
        }
        for direction in ["scaleUp", "scaleDown"] {
            let path = path.child("behavior").child(direction);
            check_rules(&mut errors, &path, &spec["behavior"][direction]);
        }
        errors
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let counts = ["currentReplicas", "desiredReplicas"];
        check::none_negative(&mut errors, &Path::new("status"), &object["status"], &counts);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Reference", "string").field("spec.scaleTargetRef"),
                Column::new("Targets", "string").field("spec.metrics"),
                Column::new("MinPods", "string").field("spec.minReplicas"),
                Column::new("MaxPods", "string").field("spec.maxReplicas"),
                Column::new("Replicas", "string").field("status.currentReplicas"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let target = &spec["scaleTargetRef"];
        let min = spec["minReplicas"].as_i64();
        vec![
            cells::name(object),
            format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
            metrics::targets(spec, status).into(),
            min.map_or_else(|| "<unset>".to_owned(), |min| min.to_string()).into(),
            spec["maxReplicas"].as_i64().unwrap_or(0).into(),
            status["currentReplicas"].as_i64().unwrap_or(0).into(),
            cells::age(object, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_it_is_and_where_it_wants_to_be() {
        let mut object = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
        let strategy = HorizontalPodAutoscaler::new();
        strategy.default(&mut object);
        assert_eq!(metrics::targets(&object["spec"], &json!({})), "cpu: <unknown>/80%");
        let status = json!({"currentMetrics": [{"resource": {"current": {"averageUtilization": 20}}}]});
        assert_eq!(metrics::targets(&object["spec"], &status), "cpu: 20%/80%");
    }
}
