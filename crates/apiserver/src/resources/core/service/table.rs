//! The table of Services.
//!
//! **Upstream**: `printService`.

use super::kind;
use crate::registry::{Cell, Column};
use crate::resources::cells;
use crate::resources::edit::{items, text};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Type", "string").field("spec.type"),
    Column::new("Cluster-IP", "string").field("spec.clusterIP"),
    Column::new("External-IP", "string").field("spec.externalIPs"),
    Column::new("Port(s)", "string").field("spec.ports"),
    cells::AGE,
    Column::wide("Selector", "string").field("spec.selector"),
];

fn external_ip(service: &Value) -> Cell {
    let spec = &service["spec"];
    let strings = |list: &[Value]| -> Vec<String> {
        list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut list = strings(items(spec, "externalIPs"));
    match kind(service) {
        "ExternalName" => return text(spec, "externalName").into(),
        "LoadBalancer" => {
            let ingress = items(&service["status"]["loadBalancer"], "ingress");
            let mut points: Vec<String> = ingress
                .iter()
                .map(|i| {
                    if text(i, "ip").is_empty() { text(i, "hostname") } else { text(i, "ip") }.to_owned()
                })
                .filter(|point| !point.is_empty())
                .collect();
            points.sort();
            points.dedup();
            points.append(&mut list);
            if points.is_empty() {
                return "<pending>".into();
            }
            return points.join(",").into();
        }
        _ => {}
    }
    cells::joined(&list, ",")
}

fn ports(service: &Value) -> Cell {
    let list: Vec<String> = items(&service["spec"], "ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (port["port"].as_i64().unwrap_or(0), text(port, "protocol"));
            match port["nodePort"].as_i64().unwrap_or(0) {
                0 => format!("{number}/{protocol}"),
                node => format!("{number}:{node}/{protocol}"),
            }
        })
        .collect();
    cells::joined(&list, ",")
}

pub(super) fn row(service: &Value, now: Timestamp) -> Vec<Cell> {
    let spec = &service["spec"];
    vec![
        cells::name(service),
        json!(kind(service)),
        cells::text_or_none(items(spec, "clusterIPs").first().unwrap_or(&spec["clusterIP"])),
        external_ip(service),
        ports(service),
        cells::age(service, now),
        cells::label_map(&spec["selector"]),
    ]
}
