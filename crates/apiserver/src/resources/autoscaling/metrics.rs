//! What an autoscaler looks at: checks and cells of metrics.
//!
//! **Upstream**: `validateMetricSpec`, `formatHPAMetrics`.

use crate::resources::check;
use crate::resources::edit::{items, text};
use crate::resources::pod_spec::parse_amount;
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// The kinds of metrics, and the field of each.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("External", "external"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const SHOWN: usize = 2;

/// All errors of a metric.
pub(super) fn check_metric(errors: &mut ErrorList, path: &Path, metric: &Value) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "must specify a metric source type"));
    }
    let Some((_, field)) = SOURCES.iter().find(|(name, _)| *name == kind) else {
        if !kind.is_empty() {
            let mut known = SOURCES.map(|(name, _)| name);
            known.sort_unstable();
            errors.push(Error::not_supported(&path.child("type"), kind, &known));
        }
        return;
    };
    for (_, other) in SOURCES.iter().filter(|(_, other)| other != field) {
        if metric[*other].is_object() {
            errors.push(Error::forbidden(&path.child(other), "must populate the given metric source only"));
        }
    }
    let (source, path) = (&metric[*field], path.child(field));
    if !source.is_object() {
        errors.push(Error::required(&path, "must populate information for the given metric source"));
        return;
    }
    match kind {
        "Object" | "Pods" | "External" => {
            let (named, at) = (&source["metric"], path.child("metric"));
            if check::required_metric_name(errors, &at.child("name"), &named["name"]) {
                check::label_selector(errors, &at.child("selector"), &named["selector"]);
            }
        }
        _ => {
            if text(source, "name").is_empty() {
                errors.push(Error::required(&path.child("name"), "must specify a resource name"));
            }
            if kind == "ContainerResource" && text(source, "container").is_empty() {
                errors.push(Error::required(&path.child("container"), "must specify a container"));
            }
        }
    }
    if kind == "Object" {
        check_reference(errors, &path.child("describedObject"), &source["describedObject"]);
    }
    check_target(errors, &path.child("target"), &source["target"], kind);
}

/// All errors of a reference to another object.
pub(super) fn check_reference(errors: &mut ErrorList, path: &Path, reference: &Value) {
    for field in ["kind", "name"] {
        match text(reference, field) {
            "" => errors.push(Error::required(&path.child(field), "")),
            value => {
                let messages = api::names::path_segment(value, false);
                check::invalid(errors, &path.child(field), &reference[field], messages);
            }
        }
    }
}

fn check_target(errors: &mut ErrorList, path: &Path, target: &Value, kind: &str) {
    let value_type = text(target, "type");
    match value_type {
        "" => errors.push(Error::required(&path.child("type"), "must specify a metric target type")),
        "Utilization" | "Value" | "AverageValue" => {}
        _ => {
            let detail = "must be either Utilization, Value, or AverageValue";
            errors.push(Error::invalid(&path.child("type"), value_type, detail));
        }
    }
    for field in ["value", "averageValue"] {
        let amount = &target[field];
        if amount.is_null() {
            continue;
        }
        if parse_amount(amount).is_none_or(|q| q.is_negative() || q.is_zero()) {
            errors.push(Error::invalid(&path.child(field), amount.clone(), "must be positive"));
        }
    }
    let (utilization, average) = (&target["averageUtilization"], &target["averageValue"]);
    if let Some(share) = utilization.as_i64().filter(|share| *share < 1) {
        errors.push(Error::invalid(&path.child("averageUtilization"), share, "must be greater than 0"));
    }
    match kind {
        "Resource" | "ContainerResource" => match (utilization.is_null(), average.is_null()) {
            (true, true) => errors.push(Error::required(
                &path.child("averageUtilization"),
                "must set either a target raw value or a target utilization",
            )),
            (false, false) => errors.push(Error::forbidden(
                &path.child("averageValue"),
                "may not set both a target raw value and a target utilization",
            )),
            _ => {}
        },
        "Pods" if average.is_null() => {
            errors.push(Error::required(
                &path.child("averageValue"),
                "must specify a positive target averageValue",
            ));
        }
        "Object" | "External" if average.is_null() && target["value"].is_null() => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.push(Error::required(&path.child("averageValue"), detail));
        }
        _ => {}
    }
}

fn amount(value: &Value) -> String {
    parse_amount(value).map_or_else(|| "<unknown>".to_owned(), |quantity| quantity.to_string())
}

fn target(metric: &Value, current: &Value) -> String {
    let Some((kind, field)) = SOURCES.iter().find(|(name, _)| *name == text(metric, "type")) else {
        return "<unknown type>".to_owned();
    };
    let (source, current) = (&metric[*field], &current[*field]["current"]);
    let wanted = &source["target"];
    match *kind {
        "Resource" | "ContainerResource" => {
            let name = text(source, "name");
            if !wanted["averageValue"].is_null() {
                return format!(
                    "{name}: {}/{}",
                    amount(&current["averageValue"]),
                    amount(&wanted["averageValue"])
                );
            }
            let now = current["averageUtilization"].as_i64();
            let now = now.map_or_else(|| "<unknown>".to_owned(), |share| format!("{share}%"));
            let aim = wanted["averageUtilization"].as_i64();
            let aim = aim.map_or_else(|| "<auto>".to_owned(), |share| format!("{share}%"));
            format!("{name}: {now}/{aim}")
        }
        "Pods" => format!("{}/{}", amount(&current["averageValue"]), amount(&wanted["averageValue"])),
        _ if !wanted["averageValue"].is_null() => {
            format!("{}/{} (avg)", amount(&current["averageValue"]), amount(&wanted["averageValue"]))
        }
        _ => format!("{}/{}", amount(&current["value"]), amount(&wanted["value"])),
    }
}

/// `cpu: 20%/80%`, of the first two metrics.
pub(super) fn targets(spec: &Value, status: &Value) -> String {
    let (metrics, current) = (items(spec, "metrics"), items(status, "currentMetrics"));
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> =
        metrics.iter().enumerate().map(|(i, m)| target(m, current.get(i).unwrap_or(&Value::Null))).collect();
    let shown = all[..all.len().min(SHOWN)].join(", ");
    if all.len() > SHOWN { format!("{shown} + {} more...", all.len() - SHOWN) } else { shown }
}
