//! The description of a pod.

use serde_json::Value;

use super::{Describe, annotations, column, containers, events, items, labels, text, volumes};
use crate::duration;
use crate::report::Error;

/// The pod's text.
pub(super) async fn describe(describe: &Describe<'_>, pod: &Value) -> Result<String, Error> {
    let metadata = &pod["metadata"];
    let mut out = head(describe, pod);
    out += &containers::section(describe, pod);
    out += &conditions(pod);
    out += &volumes::section(pod);
    if !text(&pod["status"], "qosClass").is_empty() {
        out += &format!("QoS Class:\t{}\n", text(&pod["status"], "qosClass"));
    } else {
        out += &format!("QoS Class:\t{}\n", quality(pod));
    }
    out += &labels("Node-Selectors", &pod["spec"]["nodeSelector"]);
    out += &tolerations(pod);
    out += &spread(pod);
    // A static pod's events are of what the kubelet knows it by.
    let mirrored = metadata["annotations"]["kubernetes.io/config.mirror"].as_str();
    out += &events::section(describe, pod, &[mirrored.unwrap_or_else(|| text(metadata, "uid"))]).await;
    Ok(out)
}

fn head(describe: &Describe<'_>, pod: &Value) -> String {
    let (metadata, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    let mut out = format!("Name:\t{}\nNamespace:\t{}\n", text(metadata, "name"), text(metadata, "namespace"));
    if let Some(priority) = spec["priority"].as_i64() {
        out += &format!("Priority:\t{priority}\n");
    }
    let mut optional = |label: &str, value: &str| {
        if !value.is_empty() {
            out += &format!("{label}:\t{value}\n");
        }
    };
    optional("Priority Class Name", text(spec, "priorityClassName"));
    optional("Runtime Class Name", text(spec, "runtimeClassName"));
    optional("Service Account", text(spec, "serviceAccountName"));
    if text(spec, "nodeName").is_empty() {
        out += "Node:\t<none>\n";
    } else {
        out += &format!("Node:\t{}/{}\n", text(spec, "nodeName"), text(status, "hostIP"));
    }
    if status["startTime"].is_string() {
        out += &format!("Start Time:\t{}\n", describe.time(&status["startTime"]));
    }
    out += &labels("Labels", &metadata["labels"]);
    out += &annotations(&metadata["annotations"]);
    if metadata["deletionTimestamp"].is_string() && text(status, "reason") != "NodeLost" {
        let age = duration::since(metadata["deletionTimestamp"].as_str(), describe.context.terminal.now());
        out += &format!("Status:\tTerminating (lasts {age})\n");
        out += &format!(
            "Termination Grace Period:\t{}s\n",
            metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0)
        );
    } else {
        out += &format!("Status:\t{}\n", text(status, "phase"));
    }
    let mut optional = |label: &str, value: &str| {
        if !value.is_empty() {
            out += &format!("{label}:\t{value}\n");
        }
    };
    optional("Reason", text(status, "reason"));
    optional("Message", text(status, "message"));
    let seccomp = &spec["securityContext"]["seccompProfile"];
    optional("SeccompProfile", text(seccomp, "type"));
    optional("LocalhostProfile", text(seccomp, "localhostProfile"));
    out += &format!("IP:\t{}\n", text(status, "podIP"));
    if items(status, "podIPs").is_empty() {
        out += "IPs:\t<none>\n";
    } else {
        out += "IPs:\n";
        for one in items(status, "podIPs") {
            out += &format!("  IP:\t{}\n", text(one, "ip"));
        }
    }
    if let Some(owner) = items(metadata, "ownerReferences").iter().find(|owner| owner["controller"] == true) {
        out += &format!("Controlled By:\t{}/{}\n", text(owner, "kind"), text(owner, "name"));
    }
    if !text(status, "nominatedNodeName").is_empty() {
        out += &format!("NominatedNodeName:\t{}\n", text(status, "nominatedNodeName"));
    }
    out
}

fn conditions(pod: &Value) -> String {
    let mut out = String::new();
    let all = items(&pod["status"], "conditions");
    let gates = items(&pod["spec"], "readinessGates");
    if !gates.is_empty() {
        out += "Readiness Gates:\n  Type\tStatus\n";
        for gate in gates {
            let kind = text(gate, "conditionType");
            let status =
                all.iter().find(|one| text(one, "type") == kind).map_or("<none>", |one| text(one, "status"));
            out += &format!("  {kind} \t{status} \n");
        }
    }
    if !all.is_empty() {
        out += "Conditions:\n  Type\tStatus\n";
        for one in all {
            out += &format!("  {} \t{} \n", text(one, "type"), text(one, "status"));
        }
    }
    out
}

pub(super) fn tolerations(pod: &Value) -> String {
    let mut all: Vec<&Value> = items(&pod["spec"], "tolerations").iter().collect();
    all.sort_by_key(|one| text(one, "key"));
    let lines: Vec<String> = all
        .into_iter()
        .map(|one| {
            let (key, value, effect) = (text(one, "key"), text(one, "value"), text(one, "effect"));
            let mut line = key.to_owned();
            if !value.is_empty() {
                line += &format!("={value}");
            }
            if !effect.is_empty() {
                line += &format!(":{effect}");
            }
            if text(one, "operator") == "Exists" && value.is_empty() {
                line += if line.is_empty() { "op=Exists" } else { " op=Exists" };
            }
            if let Some(seconds) = one["tolerationSeconds"].as_i64() {
                line += &format!(" for {seconds}s");
            }
            line
        })
        .collect();
    column("Tolerations", &lines)
}

pub(super) fn spread(pod: &Value) -> String {
    let all = items(&pod["spec"], "topologySpreadConstraints");
    if all.is_empty() {
        return String::new();
    }
    let mut lines: Vec<String> = all
        .iter()
        .map(|one| {
            let mut line = format!(
                "{}:{} when max skew {} is exceeded",
                text(one, "topologyKey"),
                text(one, "whenUnsatisfiable"),
                one["maxSkew"].as_i64().unwrap_or(0)
            );
            let selector = crate::output::table::format_labels(&one["labelSelector"]["matchLabels"]);
            if selector != "<none>" {
                line += &format!(" for selector {selector}");
            }
            line
        })
        .collect();
    lines.sort();
    column("Topology Spread Constraints", &lines)
}

/// The quality-of-service class that follows from the containers' resources.
fn quality(pod: &Value) -> &'static str {
    let all: Vec<&Value> =
        items(&pod["spec"], "containers").iter().chain(items(&pod["spec"], "initContainers")).collect();
    let has = |one: &Value, list: &str, name: &str| one["resources"][list].get(name).is_some();
    let any = all.iter().any(|one| {
        ["requests", "limits"].iter().any(|list| has(one, list, "cpu") || has(one, list, "memory"))
    });
    let equal = |one: &Value, name: &str| {
        let (limits, requests) = (&one["resources"]["limits"], &one["resources"]["requests"]);
        limits.get(name).is_some() && requests.get(name).is_none_or(|request| *request == limits[name])
    };
    if !any {
        "BestEffort"
    } else if all.iter().all(|one| equal(one, "cpu") && equal(one, "memory")) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
