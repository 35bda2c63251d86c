//! The descriptions of endpoints and of endpoint slices.

use serde_json::Value;

use super::workloads::{described, head, recorded};
use super::{Describe, items, text};
use crate::report::Error;

/// The text of endpoints.
pub(super) async fn endpoints(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let mut out = head(object) + &described(object) + "Subsets:\n";
    for subset in items(object, "subsets") {
        for (title, field) in [("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")] {
            let all: Vec<&str> = items(subset, field).iter().map(|one| text(one, "ip")).collect();
            out += &format!("  {title}:\t{}\n", or(&all.join(","), "<none>"));
        }
        let ports = items(subset, "ports");
        if !ports.is_empty() {
            out += "  Ports:\n    Name\tPort\tProtocol\n    ----\t----\t--------\n";
        }
        for port in ports {
            let name = or(text(port, "name"), "<unset>");
            out += &format!("    {name}\t{}\t{}\n", port["port"], text(port, "protocol"));
        }
        out += "\n";
    }
    Ok(out + &recorded(describe, object).await)
}

/// A slice's text.
pub(super) async fn slice(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let mut out = head(object) + &described(object);
    out += &format!("AddressType:\t{}\n", text(object, "addressType"));
    let ports = items(object, "ports");
    out += match ports {
        [] => "Ports: <unset>\n",
        _ => "Ports:\n  Name\tPort\tProtocol\n  ----\t----\t--------\n",
    };
    for port in ports {
        let number = port["port"].as_i64().map_or("<unset>".to_owned(), |number| number.to_string());
        out += &format!("  {}\t{number}\t{}\n", or(text(port, "name"), "<unset>"), text(port, "protocol"));
    }
    let endpoints = items(object, "endpoints");
    out += if endpoints.is_empty() { "Endpoints: <none>\n" } else { "Endpoints:\n" };
    for one in endpoints {
        let addresses: Vec<&str> = items(one, "addresses").iter().filter_map(Value::as_str).collect();
        out += &format!("  - Addresses:\t{}\n    Conditions:\n", or(&addresses.join(", "), "<none>"));
        let ready = one["conditions"]["ready"].as_bool().map(|ready| ready.to_string());
        out += &format!("      Ready:\t{}\n", ready.as_deref().unwrap_or("<unset>"));
        out += &format!("    Hostname:\t{}\n", one["hostname"].as_str().unwrap_or("<unset>"));
        let target = &one["targetRef"];
        if target.is_object() {
            out += &format!("    TargetRef:\t{}/{}\n", text(target, "kind"), text(target, "name"));
        }
        out += &format!("    NodeName:\t{}\n", one["nodeName"].as_str().unwrap_or("<unset>"));
        out += &format!("    Zone:\t{}\n", one["zone"].as_str().unwrap_or("<unset>"));
    }
    Ok(out + &recorded(describe, object).await)
}

fn or<'a>(text: &'a str, empty: &'a str) -> &'a str {
    if text.is_empty() { empty } else { text }
}
