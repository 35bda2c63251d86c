//! The description of a node: its lease, conditions, capacity, and what its pods take of it.

use api::quantity::Quantity;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{Describe, annotations, column, events, items, labels, text};
use crate::connection::{JSON, with_query};
use crate::duration;
use crate::output::json::sorted;
use crate::report::Error;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

/// The node's text.
pub(super) async fn describe(describe: &Describe<'_>, node: &Value) -> Result<String, Error> {
    let (metadata, spec) = (&node["metadata"], &node["spec"]);
    let mut out = format!("Name:\t{}\nRoles:\t{}\n", text(metadata, "name"), roles(metadata));
    out += &labels("Labels", &metadata["labels"]);
    out += &annotations(&metadata["annotations"]);
    out += &format!("CreationTimestamp:\t{}\n", describe.time(&metadata["creationTimestamp"]));
    out += &taints(spec);
    out += &format!("Unschedulable:\t{}\n", spec["unschedulable"].as_bool().unwrap_or(false));
    out += &lease(describe, text(metadata, "name")).await;
    out += &status(describe, node);
    if !text(spec, "podCIDR").is_empty() {
        out += &format!("PodCIDR:\t{}\n", text(spec, "podCIDR"));
    }
    let ranges: Vec<&str> = items(spec, "podCIDRs").iter().filter_map(Value::as_str).collect();
    if !ranges.is_empty() {
        out += &format!("PodCIDRs:\t{}\n", ranges.join(","));
    }
    if !text(spec, "providerID").is_empty() {
        out += &format!("ProviderID:\t{}\n", text(spec, "providerID"));
    }
    match pods(describe, text(metadata, "name")).await {
        Ok(pods) => out += &pod_table(describe, node, &pods),
        Err(error) if error.reason() == Some("Forbidden") => out += "Pods:\tnot authorized\n",
        Err(error) => return Err(error),
    }
    // The kubelet's events name the node itself as their uid.
    out += &events::section(describe, node, &[text(metadata, "uid"), text(metadata, "name")]).await;
    Ok(out)
}

fn roles(metadata: &Value) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        if let Some(role) = key.strip_prefix(ROLE_PREFIX) {
            roles.extend(Some(role).filter(|role| !role.is_empty()));
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str().filter(|role| !role.is_empty()));
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn taints(spec: &Value) -> String {
    let mut all: Vec<&Value> = items(spec, "taints").iter().collect();
    all.sort_by_key(|taint| format!("{},{}", text(taint, "effect"), text(taint, "key")));
    let lines: Vec<String> = all
        .into_iter()
        .map(|taint| {
            let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
            match (value.is_empty(), effect.is_empty()) {
                (true, true) => key.to_owned(),
                (true, false) => format!("{key}:{effect}"),
                (false, true) => format!("{key}={value}:"),
                (false, false) => format!("{key}={value}:{effect}"),
            }
        })
        .collect();
    column("Taints", &lines)
}

async fn lease(describe: &Describe<'_>, name: &str) -> String {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
    let lease = match describe.context.connection().await {
        Ok(connection) => connection.get(&path, JSON).await,
        Err(error) => Err(error),
    };
    let spec = match lease {
        Ok(mut lease) => lease["spec"].take(),
        Err(error) if error.is_not_found() => Value::Null,
        Err(error) => return format!("Lease:\tFailed to get lease: {error}\n"),
    };
    let time = |field: &str| {
        if spec[field].is_string() { describe.time(&spec[field]) } else { "<unset>".to_owned() }
    };
    format!(
        "Lease:\n  HolderIdentity:\t{}\n  AcquireTime:\t{}\n  RenewTime:\t{}\n",
        spec["holderIdentity"].as_str().unwrap_or("<unset>"),
        time("acquireTime"),
        time("renewTime")
    )
}

fn status(describe: &Describe<'_>, node: &Value) -> String {
    let status = &node["status"];
    let mut out = String::new();
    let conditions = items(status, "conditions");
    if !conditions.is_empty() {
        out += "Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage\n";
        out += "  ----\t------\t-----------------\t------------------\t------\t-------\n";
        for one in conditions {
            out += &format!(
                "  {} \t{} \t{} \t{} \t{} \t{}\n",
                text(one, "type"),
                text(one, "status"),
                describe.time(&one["lastHeartbeatTime"]),
                describe.time(&one["lastTransitionTime"]),
                text(one, "reason"),
                text(one, "message")
            );
        }
    }
    out += "Addresses:\n";
    for one in items(status, "addresses") {
        out += &format!("  {}:\t{}\n", text(one, "type"), text(one, "address"));
    }
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        let amounts = status[field].as_object().map(sorted).unwrap_or_default();
        if amounts.is_empty() {
            continue;
        }
        out += &format!("{title}:\n");
        for (name, amount) in amounts {
            out += &format!("  {name}:\t{}\n", amount.as_str().unwrap_or(""));
        }
    }
    out += "System Info:\n";
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        out += &format!("  {title}:\t{}\n", text(&status["nodeInfo"], field));
    }
    out
}

async fn pods(describe: &Describe<'_>, node: &str) -> Result<Vec<Value>, Error> {
    let connection = describe.context.connection().await?;
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let fields = format!("spec.nodeName={node},status.phase!=Failed,status.phase!=Succeeded");
        let path = with_query(
            "/api/v1/pods",
            &[("continue", token.clone()), ("fieldSelector", fields), ("limit", "500".to_owned())],
        );
        let list = connection.get(&path, JSON).await?;
        found.extend(items(&list, "items").iter().cloned());
        token = text(&list["metadata"], "continue").to_owned();
        if token.is_empty() {
            return Ok(found);
        }
    }
}

type Amounts = BTreeMap<String, Quantity>;

fn pod_table(describe: &Describe<'_>, node: &Value, pods: &[Value]) -> String {
    let status = &node["status"];
    let allocatable = if status["allocatable"].as_object().is_some_and(|map| !map.is_empty()) {
        &status["allocatable"]
    } else {
        &status["capacity"]
    };
    let whole = |name: &str| {
        allocatable[name]
            .as_str()
            .and_then(|amount| amount.parse::<Quantity>().ok())
            .unwrap_or(Quantity::ZERO)
    };
    let share = |amounts: &Amounts, name: &str| {
        let amount = amounts.get(name).copied().unwrap_or(Quantity::ZERO);
        format!("{amount} ({}%)", percent(amount, whole(name)))
    };
    let mut out = format!("Non-terminated Pods:\t({} in total)\n", pods.len());
    out += "  Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge\n";
    out += "  ---------\t----\t\t------------\t----------\t---------------\t-------------\t---\n";
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for pod in pods {
        let (wants, most) = (pod_amounts(pod, "requests"), pod_amounts(pod, "limits"));
        let age =
            duration::since(pod["metadata"]["creationTimestamp"].as_str(), describe.context.terminal.now());
        out += &format!(
            "  {}\t{}\t\t{}\t{}\t{}\t{}\t{age}\n",
            text(&pod["metadata"], "namespace"),
            text(&pod["metadata"], "name"),
            share(&wants, "cpu"),
            share(&most, "cpu"),
            share(&wants, "memory"),
            share(&most, "memory")
        );
        add(&mut requests, wants);
        add(&mut limits, most);
    }
    out += "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)\n";
    out += "  Resource\tRequests\tLimits\n  --------\t--------\t------\n";
    for name in ["cpu", "memory", "ephemeral-storage"] {
        out += &format!("  {name}\t{}\t{}\n", share(&requests, name), share(&limits, name));
    }
    let others: Vec<&String> =
        allocatable.as_object().map(sorted).unwrap_or_default().into_iter().map(|(name, _)| name).collect();
    for name in others.iter().filter(|name| name.starts_with("hugepages-")) {
        out += &format!("  {name}\t{}\t{}\n", share(&requests, name), share(&limits, name));
    }
    for name in others.iter().filter(|name| name.contains('/')) {
        let amount =
            |amounts: &Amounts| amounts.get(name.as_str()).copied().unwrap_or(Quantity::ZERO).to_string();
        out += &format!("  {name}\t{}\t{}\n", amount(&requests), amount(&limits));
    }
    out
}

/// How much this is of the whole, in per cent, cut off.
fn percent(amount: Quantity, whole: Quantity) -> i64 {
    if whole.is_zero() { 0 } else { (amount.as_f64() / whole.as_f64() * 100.0) as i64 }
}

fn add(into: &mut Amounts, from: Amounts) {
    for (name, amount) in from {
        *into.entry(name).or_insert(Quantity::ZERO) += amount;
    }
}

fn amounts(value: &Value) -> Amounts {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(name, amount)| Some((name.clone(), amount.as_str()?.parse().ok()?))).collect()
}

/// What a pod takes: its containers together, or its largest init container on top of the sidecars started before it.
fn pod_amounts(pod: &Value, list: &str) -> Amounts {
    let spec = &pod["spec"];
    let mut total = Amounts::new();
    for container in items(spec, "containers") {
        add(&mut total, amounts(&container["resources"][list]));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in items(spec, "initContainers") {
        let own = amounts(&container["resources"][list]);
        let mut peak = sidecars.clone();
        add(&mut peak, own.clone());
        if text(container, "restartPolicy") == "Always" {
            add(&mut total, own.clone());
            add(&mut sidecars, own);
        }
        raise(&mut starting, peak);
    }
    raise(&mut total, starting);
    if list == "requests" || !total.is_empty() {
        add(&mut total, amounts(&spec["overhead"]));
    }
    total
}

fn raise(into: &mut Amounts, from: Amounts) {
    for (name, amount) in from {
        let known = into.entry(name).or_insert(amount);
        *known = (*known).max(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_cut_off_and_of_nothing_it_is_none() {
        let amount = |text: &str| text.parse::<Quantity>().expect("an amount");
        assert_eq!(percent(amount("250m"), amount("2")), 12);
        assert_eq!(percent(amount("1"), Quantity::ZERO), 0);
        let mut total = Amounts::from([("memory".to_owned(), amount("64Mi"))]);
        add(&mut total, Amounts::from([("memory".to_owned(), amount("70Mi"))]));
        assert_eq!(total["memory"].to_string(), "134Mi");
    }
}
