//! The descriptions of what watches over pods' numbers: autoscalers and disruption budgets.

use serde_json::Value;

use super::workloads::{created, described, head, recorded};
use super::{Describe, items, text};
use crate::connection::JSON;
use crate::output::plain;
use crate::output::table::format_selector;
use crate::report::Error;

/// An autoscaler's text, by its second version whichever was asked for.
pub(super) async fn autoscaler(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    if object["apiVersion"] == "autoscaling/v2" {
        return in_full(describe, object).await;
    }
    let metadata = &object["metadata"];
    let path = format!(
        "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{}",
        text(metadata, "namespace"),
        text(metadata, "name")
    );
    let object = describe.context.connection().await?.get(&path, JSON).await?;
    in_full(describe, &object).await
}

async fn in_full(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let mut out = head(object) + &described(object) + &created(describe, object);
    out += &format!("Reference:\t{}/{}\n", text(target, "kind"), text(target, "name"));
    out += "Metrics:\t( current / target )\n";
    for (index, one) in items(spec, "metrics").iter().enumerate() {
        out += &format!(
            "  {}\n",
            metric(one, items(status, "currentMetrics").get(index).unwrap_or(&Value::Null))
        );
    }
    let least = spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |number| number.to_string());
    out += &format!("Min replicas:\t{least}\nMax replicas:\t{}\n", spec["maxReplicas"]);
    if spec["behavior"].is_object() {
        out += "Behavior:\n";
        out += &behavior("Scale Up", &spec["behavior"]["scaleUp"]);
        out += &behavior("Scale Down", &spec["behavior"]["scaleDown"]);
    }
    let [current, desired] =
        ["currentReplicas", "desiredReplicas"].map(|field| status[field].as_i64().unwrap_or(0));
    out += &format!("{} pods:\t{current} current / {desired} desired\n", text(target, "kind"));
    let conditions = items(status, "conditions");
    if !conditions.is_empty() {
        out += "Conditions:\n  Type\tStatus\tReason\tMessage\n  ----\t------\t------\t-------\n";
    }
    for one in conditions {
        let fields = ["type", "status", "reason", "message"].map(|field| text(one, field));
        out += &format!("  {}\n", fields.join("\t"));
    }
    Ok(out + &recorded(describe, object).await)
}

/// What a metric is, what it is now and what it should be.
fn metric(metric: &Value, status: &Value) -> String {
    let kind = text(metric, "type");
    let mut field = kind.to_owned();
    if let Some(first) = field.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let (one, current) = (&metric[&field], &status[&field]["current"]);
    let (name, target) = (text(&one["metric"], "name"), &one["target"]);
    let average = target["averageValue"].is_string();
    // An amount that is missing where the rest is there.
    let amount = |of: &Value, field: &str| of[field].as_str().unwrap_or("<nil>").to_owned();
    let now = |field: &str| if current.is_object() { amount(current, field) } else { "<unknown>".to_owned() };
    match kind {
        "External" if average => {
            let now = current["averageValue"].as_str().unwrap_or("<unknown>");
            format!("{name:?} (target average value):\t{now} / {}", amount(target, "averageValue"))
        }
        "External" => format!("{name:?} (target value):\t{} / {}", now("value"), amount(target, "value")),
        "Pods" => format!("{name:?} on pods:\t{} / {}", now("averageValue"), amount(target, "averageValue")),
        "Object" => {
            let of = &one["describedObject"];
            let of = format!("\"{name}\" on {}/{}", text(of, "kind"), text(of, "name"));
            let (title, field) = match text(target, "type") {
                "AverageValue" => ("target average value", "averageValue"),
                _ => ("target value", "value"),
            };
            format!("{of} ({title}):\t{} / {}", now(field), amount(target, field))
        }
        "Resource" | "ContainerResource" => {
            let container = match kind {
                "Resource" => String::new(),
                _ => format!(" of container \"{}\"", text(one, "container")),
            };
            let of = format!("resource {}{container} on pods", text(one, "name"));
            if average {
                return format!("{of}:\t{} / {}", now("averageValue"), amount(target, "averageValue"));
            }
            let now = current["averageUtilization"].as_i64();
            let now = now.map(|percent| format!("{percent}% ({})", amount(current, "averageValue")));
            let wanted = target["averageUtilization"].as_i64().map(|percent| format!("{percent}%"));
            format!(
                "{of}  (as a percentage of request):\t{} / {}",
                now.as_deref().unwrap_or("<unknown>"),
                wanted.as_deref().unwrap_or("<auto>")
            )
        }
        other => format!("<unknown metric type {other:?}>"),
    }
}

/// The rules of one direction.
fn behavior(title: &str, rules: &Value) -> String {
    if !rules.is_object() {
        return String::new();
    }
    let mut out = format!("  {title}:\n");
    if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64() {
        out += &format!("    Stabilization Window: {seconds} seconds\n");
    }
    let policies = items(rules, "policies");
    if !policies.is_empty() {
        let select = rules["selectPolicy"].as_str().unwrap_or("Max");
        out += &format!("    Select Policy: {select}\n    Policies:\n");
    }
    for one in policies {
        let (kind, value, period) = (text(one, "type"), &one["value"], &one["periodSeconds"]);
        out += &format!("      - Type: {kind}\tValue: {value}\tPeriod: {period} seconds\n");
    }
    out
}

/// A budget's text.
pub(super) async fn disruption_budget(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut out = head(object);
    if !spec["minAvailable"].is_null() {
        out += &format!("Min available:\t{}\n", plain(&spec["minAvailable"]));
    } else if !spec["maxUnavailable"].is_null() {
        out += &format!("Max unavailable:\t{}\n", plain(&spec["maxUnavailable"]));
    }
    let selector = match &spec["selector"] {
        Value::Null => "<unset>".to_owned(),
        selector => format_selector(selector),
    };
    out += &format!("Selector:\t{selector}\nStatus:\n");
    for (title, field) in [
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        out += &format!("    {title}:\t{}\n", status[field].as_i64().unwrap_or(0));
    }
    Ok(out + &recorded(describe, object).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_are_told_as_they_are_and_as_they_should_be() {
        let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}});
        let memory = json!({"name": "memory", "container": "app", "target": {"type": "AverageValue", "averageValue": "1Gi"}});
        let load = json!({"metric": {"name": "load"}, "target": {"type": "Value", "value": "10"}});
        let mut queue = load.clone();
        queue["describedObject"] = json!({"kind": "Service", "name": "q"});
        let average =
            json!({"metric": {"name": "load"}, "target": {"type": "AverageValue", "averageValue": "5"}});
        for (spec, status, shown) in [
            (
                json!({"type": "Resource", "resource": cpu}),
                json!(null),
                "resource cpu on pods  (as a percentage of request):\t<unknown> / 70%",
            ),
            (
                json!({"type": "Resource", "resource": cpu}),
                json!({"resource": {"current": {"averageUtilization": 50, "averageValue": "100m"}}}),
                "resource cpu on pods  (as a percentage of request):\t50% (100m) / 70%",
            ),
            (
                json!({"type": "ContainerResource", "containerResource": memory}),
                json!(null),
                "resource memory of container \"app\" on pods:\t<unknown> / 1Gi",
            ),
            (
                json!({"type": "External", "external": load}),
                json!({"external": {"current": {"value": "3"}}}),
                "\"load\" (target value):\t3 / 10",
            ),
            (
                json!({"type": "External", "external": average}),
                json!(null),
                "\"load\" (target average value):\t<unknown> / 5",
            ),
            (json!({"type": "Pods", "pods": average}), json!(null), "\"load\" on pods:\t<unknown> / 5"),
            (
                json!({"type": "Object", "object": queue}),
                json!(null),
                "\"load\" on Service/q (target value):\t<unknown> / 10",
            ),
            (json!({"type": "Odd"}), json!(null), "<unknown metric type \"Odd\">"),
        ] {
            assert_eq!(metric(&spec, &status), shown);
        }
    }
}
