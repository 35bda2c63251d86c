//! The descriptions of resource quotas and limit ranges, alone and as parts of their namespace's.

use api::quantity::{Format, Quantity};
use serde_json::Value;

use super::workloads::head;
use super::{items, text};
use crate::output::json::sorted;
use crate::report::Error;

/// What scopes mean.
const SCOPES: &[(&str, &str)] = &[
    (
        "Terminating",
        "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before being actively terminated by the system.",
    ),
    (
        "NotTerminating",
        "Matches all pods that do not have an active deadline. These pods usually include long running pods whose container command is not expected to terminate.",
    ),
    (
        "BestEffort",
        "Matches all pods that do not have resource requirements set. These pods have a best effort quality of service.",
    ),
    (
        "NotBestEffort",
        "Matches all pods that have at least one resource requirement set. These pods have a burstable or guaranteed quality of service.",
    ),
];

/// The columns of a limit range, with the fields that they show.
const COLUMNS: [(&str, &str); 5] = [
    ("Min", "min"),
    ("Max", "max"),
    ("Default Request", "defaultRequest"),
    ("Default Limit", "default"),
    ("Max Limit/Request Ratio", "maxLimitRequestRatio"),
];

/// A quota's text.
pub(super) async fn quota(object: &Value) -> Result<String, Error> {
    let mut out = head(object) + &scopes(object, "", " * ");
    out += "Resource\tUsed\tHard\n--------\t----\t----\n";
    for (name, hard, used) in resources(object) {
        out += &format!("{name}\t{}\t{hard}\n", in_notation_of(used, hard));
    }
    Ok(out)
}

/// A limit range's text.
pub(super) async fn limit_range(object: &Value) -> Result<String, Error> {
    Ok(head(object) + &titles("") + &rows(object, ""))
}

/// The quotas of a namespace.
pub(super) fn quotas(all: &[Value]) -> String {
    if all.is_empty() {
        return "No resource quota.\n".to_owned();
    }
    let mut all: Vec<&Value> = all.iter().collect();
    all.sort_by_key(|one| text(&one["metadata"], "name"));
    let mut out = "Resource Quotas\n".to_owned();
    for one in all {
        out += &format!("  Name:\t{}\n", text(&one["metadata"], "name"));
        out += &scopes(one, "  ", "  * ");
        out += "  Resource\tUsed\tHard\n  --------\t---\t---\n";
        for (name, hard, used) in resources(one) {
            out += &format!("  {name}\t{used}\t{hard}\n");
        }
    }
    out
}

/// The limit ranges of a namespace.
pub(super) fn limit_ranges(all: &[Value]) -> String {
    if all.is_empty() {
        return "No LimitRange resource.\n".to_owned();
    }
    let rows: String = all.iter().map(|one| rows(one, " ")).collect();
    format!("Resource Limits\n{}{rows}", titles(" "))
}

fn scopes(object: &Value, indent: &str, bullet: &str) -> String {
    let mut scopes: Vec<&str> = items(&object["spec"], "scopes").iter().filter_map(Value::as_str).collect();
    if scopes.is_empty() {
        return String::new();
    }
    scopes.sort_unstable();
    let mut out = format!("{indent}Scopes:\t{}\n", scopes.join(", "));
    for (_, meaning) in scopes.iter().filter_map(|scope| SCOPES.iter().find(|(known, _)| known == scope)) {
        out += &format!("{bullet}{meaning}\n");
    }
    out
}

/// Name, limit and use of each resource.
fn resources(object: &Value) -> Vec<(&str, &str, &str)> {
    let (hard, used) = (&object["status"]["hard"], &object["status"]["used"]);
    let hard = hard.as_object().map(sorted).unwrap_or_default();
    hard.into_iter()
        .map(|(name, hard)| {
            (name.as_str(), hard.as_str().unwrap_or("0"), used[name.as_str()].as_str().unwrap_or("0"))
        })
        .collect()
}

/// What is used, written as the limit is; a fraction is rounded up then.
fn in_notation_of(used: &str, hard: &str) -> String {
    match (used.parse::<Quantity>(), hard.parse::<Quantity>()) {
        (Ok(used), Ok(hard)) if used.format() != hard.format() => match hard.format() {
            Format::BinarySi => Quantity::bytes(used.value()).to_string(),
            _ => Quantity::new(used.value()).to_string(),
        },
        _ => used.to_owned(),
    }
}

fn titles(indent: &str) -> String {
    let titles = ["Type", "Resource"].into_iter().chain(COLUMNS.map(|(title, _)| title));
    let titles: Vec<&str> = titles.collect();
    let lines: Vec<String> = titles.iter().map(|title| "-".repeat(title.len())).collect();
    format!("{indent}{}\n{indent}{}\n", titles.join("\t"), lines.join("\t"))
}

fn rows(object: &Value, indent: &str) -> String {
    let mut out = String::new();
    for limit in items(&object["spec"], "limits") {
        let fields = COLUMNS.map(|(_, field)| &limit[field]);
        let mut names: Vec<&String> =
            fields.iter().filter_map(|field| field.as_object()).flat_map(|field| field.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let values = fields.map(|field| field[name.as_str()].as_str().unwrap_or("-"));
            out += &format!("{indent}{}\t{name}\t{}\n", text(limit, "type"), values.join("\t"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_written_as_the_limit_is() {
        for (used, hard, shown) in [
            ("0", "1Gi", "0"),
            ("134217728", "1Gi", "128Mi"),
            ("128Mi", "1G", "134217728"),
            ("1500m", "4", "1500m"),
            ("1", "x", "1"),
        ] {
            assert_eq!(in_notation_of(used, hard), shown, "{used} of {hard}");
        }
    }
}
