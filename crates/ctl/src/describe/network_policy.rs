//! The description of a network policy.

use serde_json::Value;

use super::workloads::{described, head};
use super::{Describe, items, text};
use crate::output::plain;
use crate::output::table::format_selector;
use crate::report::Error;

/// One direction of traffic: its policy type, the fields and words for it.
struct Direction {
    kind: &'static str,
    name: &'static str,
    rules: &'static str,
    peers: &'static str,
    peer: &'static str,
    any: &'static str,
}

const DIRECTIONS: [Direction; 2] = [
    Direction {
        kind: "Ingress",
        name: "ingress",
        rules: "ingress",
        peers: "from",
        peer: "From",
        any: "source",
    },
    Direction {
        kind: "Egress",
        name: "egress",
        rules: "egress",
        peers: "to",
        peer: "To",
        any: "destination",
    },
];

/// The policy's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let spec = &object["spec"];
    let mut out = head(object);
    out += &format!("Created on:\t{}\n", describe.go_time(&object["metadata"]["creationTimestamp"]));
    out += &described(object);
    out += "Spec:\n";
    out += &match format_selector(&spec["podSelector"]).as_str() {
        "<none>" => {
            "  PodSelector:     <none> (Allowing the specific traffic to all pods in this namespace)\n"
                .to_owned()
        }
        selector => format!("  PodSelector:     {selector}\n"),
    };
    let types: Vec<&str> = items(spec, "policyTypes").iter().filter_map(Value::as_str).collect();
    for direction in &DIRECTIONS {
        let name = direction.name;
        if types.contains(&direction.kind) {
            out += &format!("  Allowing {name} traffic:\n{}", rules(direction, spec));
        } else {
            out += &format!("  Not affecting {name} traffic\n");
        }
    }
    out += &format!(
        "  Policy Types: {}\n",
        if types.is_empty() { "<none>".to_owned() } else { types.join(", ") }
    );
    Ok(out)
}

fn rules(direction: &Direction, spec: &Value) -> String {
    let rules = items(spec, direction.rules);
    if rules.is_empty() {
        return format!("    <none> (Selected pods are isolated for {} connectivity)\n", direction.name);
    }
    let rules: Vec<String> = rules.iter().map(|rule| ports(rule) + &peers(direction, rule)).collect();
    rules.join("    ----------\n")
}

fn ports(rule: &Value) -> String {
    let ports = items(rule, "ports");
    if ports.is_empty() {
        return "    To Port: <any> (traffic allowed to all ports)\n".to_owned();
    }
    let one = |one: &Value| {
        let protocol = one["protocol"].as_str().unwrap_or("TCP");
        let port = if one["port"].is_null() { "<nil>".to_owned() } else { plain(&one["port"]) };
        match one["endPort"].as_i64() {
            None => format!("    To Port: {port}/{protocol}\n"),
            Some(end) => format!("    To Port Range: {port}-{end}/{protocol}\n"),
        }
    };
    ports.iter().map(one).collect()
}

fn peers(direction: &Direction, rule: &Value) -> String {
    let (peers, peer) = (items(rule, direction.peers), direction.peer);
    if peers.is_empty() {
        return format!("    {peer}: <any> (traffic not restricted by {})\n", direction.any);
    }
    let mut out = String::new();
    for one in peers {
        out += &format!("    {peer}:\n");
        let selectors = [("NamespaceSelector", "namespaceSelector"), ("PodSelector", "podSelector")];
        for (title, field) in selectors.into_iter().filter(|(_, field)| one[field].is_object()) {
            out += &format!("      {title}: {}\n", format_selector(&one[field]));
        }
        let block = &one["ipBlock"];
        if block.is_object() && selectors.iter().all(|(_, field)| one[field].is_null()) {
            let except: Vec<&str> = items(block, "except").iter().filter_map(Value::as_str).collect();
            out += &format!(
                "      IPBlock:\n        CIDR: {}\n        Except: {}\n",
                text(block, "cidr"),
                except.join(", ")
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_say_what_they_let_through() {
        let ingress = json!({"ingress": [
            {},
            {
                "ports": [{"port": 80}, {"protocol": "UDP", "port": 1000, "endPort": 2000}, {"port": "http"}, {}],
                "from": [
                    {"podSelector": {}, "namespaceSelector": {"matchLabels": {"a": "b"}}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}},
                ],
            },
        ]});
        insta::assert_snapshot!(rules(&DIRECTIONS[0], &ingress), @r"
            To Port: <any> (traffic allowed to all ports)
            From: <any> (traffic not restricted by source)
            ----------
            To Port: 80/TCP
            To Port Range: 1000-2000/UDP
            To Port: http/TCP
            To Port: <nil>/TCP
            From:
              NamespaceSelector: a=b
              PodSelector: <none>
            From:
              IPBlock:
                CIDR: 10.0.0.0/8
                Except: 10.1.0.0/16, 10.2.0.0/16
        ");
        assert_eq!(
            rules(&DIRECTIONS[1], &json!({})),
            "    <none> (Selected pods are isolated for egress connectivity)\n"
        );
    }
}
