//! `why`: the scheduler's last decision on a pod: what each node said to it, and what it was worth.
//!
//! **Contract.** What is shown is what the scheduler has kept of its decision, not computed anew. kubectl has no such
//! command; the server serves the decision below `/debug/scheduler/decisions`.

use clap::ArgMatches;
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, encode};
use crate::duration;
use crate::output::json;
use crate::output::tabwriter::TabWriter;
use crate::report::{Error, message};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "why", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Explain the scheduler's last decision on a pod")
        .arg(cli::arguments("pod NAME"))
        .arg(cli::text("output", "Output format. One of: (json)").short('o').default_value(""))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let named = match arguments.as_slice() {
        [kind, name] => Some((kind.as_str(), name.as_str())),
        [both] => both.split_once('/'),
        _ => None,
    };
    let Some((_, name)) = named.filter(|(kind, _)| matches!(*kind, "pod" | "pods" | "po")) else {
        return Err(message("USAGE: why pod NAME [flags]\nSee 'kctl why -h' for help and examples"));
    };
    let format = value(matches, "output");
    if !matches!(format, "" | "json") {
        return Err(message(format!(
            "unable to match a printer suitable for the output format {format:?}, allowed formats are: json"
        )));
    }
    let (connection, namespace) = (context.connection().await?, context.namespace());
    // A pod that does not exist is told from one that nobody has decided on.
    let pod = format!("/api/v1/namespaces/{}/pods/{}", encode(namespace), encode(name));
    let pod = connection.get(&pod, JSON).await?;
    let page = format!("/debug/scheduler/decisions/{}/{}", encode(namespace), encode(name));
    let page = connection.get(&page, JSON).await;
    let page = match page {
        Err(error) if error.is_not_found() => return Err(message(nothing(&pod, namespace, name))),
        page => page?,
    };
    if format == "json" {
        return context.terminal.out(&json::print(&page));
    }
    let age = duration::since(page["time"].as_str(), context.terminal.now());
    context.terminal.out(&render(&page, &format!("{namespace}/{name}"), &age))
}

/// What is said where the scheduler has kept nothing.
fn nothing(pod: &Value, namespace: &str, name: &str) -> String {
    let scheduler = pod["spec"]["schedulerName"].as_str().unwrap_or("default-scheduler");
    let lead = format!("the scheduler has no decision on pod {namespace}/{name}");
    let conditions = pod["status"]["conditions"].as_array();
    let gated = conditions.into_iter().flatten().find(|c| c["reason"] == "SchedulingGated");
    match (gated, pod["spec"]["nodeName"].as_str()) {
        (Some(gated), _) => format!("{lead}: {}", gated["message"].as_str().unwrap_or("it is gated")),
        (None, Some(node)) => format!("{lead}: it is on node {node}, and the decision is no longer kept"),
        (None, None) => format!("{lead}: it has not been its turn, or no scheduler is called {scheduler:?}"),
    }
}

/// The decision as text: the outcome, then a line a node, the best first.
fn render(page: &Value, pod: &str, age: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = match page["node"].as_str() {
        Some(node) => format!("Pod {pod} was given node {node} {age} ago.\n"),
        None => format!("Pod {pod} found no node {age} ago:\n{}\n", text(&page["message"])),
    };
    let nodes = page["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut taking: Vec<&Value> = nodes.iter().filter(|node| node["reasons"].is_null()).collect();
    taking.sort_by_key(|node| {
        let chosen = node["name"] == page["node"];
        (std::cmp::Reverse(node["total"].as_i64()), !chosen, text(&node["name"]))
    });
    if let Some(scores) = taking.first().and_then(|node| node["scores"].as_array()) {
        let plugins = scores.iter().map(|score| format!("{}×{}\t", text(&score["plugin"]), score["weight"]));
        let mut table = format!("\nNODE\tTOTAL\t{}\n", plugins.collect::<String>());
        for node in &taking {
            let scores = node["scores"].as_array().into_iter().flatten();
            let scores: String = scores.map(|score| format!("{}\t", score["score"])).collect();
            table += &format!("{}\t{}\t{scores}\n", text(&node["name"]), node["total"]);
        }
        out += &align(&table);
    } else if let Some(only) = taking.first() {
        out += &format!("\n{} is the only node that was considered and can take it.\n", text(&only["name"]));
    }
    let rejected: Vec<&Value> = nodes.iter().filter(|node| !node["reasons"].is_null()).collect();
    if !rejected.is_empty() {
        let mut table = "\nNODE\tREJECTED BY\tREASON\n".to_owned();
        for node in rejected {
            table += &format!("{}\t{}\t{}\n", text(&node["name"]), text(&node["plugin"]), reasons(node));
        }
        out += &align(&table);
    }
    if let Some(others) = page.get("others").filter(|others| !others.is_null()) {
        out += &format!("\nEvery other node: {}: {}\n", text(&others["plugin"]), reasons(others));
    }
    let left = page["nodesInCluster"].as_u64().unwrap_or(0).saturating_sub(nodes.len() as u64);
    if left > 0 && page["others"].is_null() {
        out += &format!("\n{left} more nodes were not looked at: enough had been found.\n");
    }
    out
}

fn reasons(of: &Value) -> String {
    let reasons = of["reasons"].as_array().into_iter().flatten();
    reasons.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn align(table: &str) -> String {
    let lines = TabWriter::table().align(table);
    lines.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_decision_shows_scores_and_reasons_of_each_node() {
        let score = |plugin: &str, weight: i64, score: i64| json!({"plugin": plugin, "weight": weight, "score": score});
        let page = json!({"node": "b", "message": "", "nodesInCluster": 5, "others": null, "nodes": [
            {"name": "c", "plugin": "NodeResourcesFit", "reasons": ["Insufficient cpu", "Insufficient memory"]},
            {"name": "a", "total": 390, "scores": [score("TaintToleration", 3, 100), score("NodeResourcesFit", 1, 90)]},
            {"name": "b", "total": 395, "scores": [score("TaintToleration", 3, 100), score("NodeResourcesFit", 1, 95)]},
        ]});
        let expected = "\
Pod ns/p was given node b 5s ago.

NODE   TOTAL   TaintToleration×3   NodeResourcesFit×1
b      395     100                 95
a      390     100                 90

NODE   REJECTED BY        REASON
c      NodeResourcesFit   Insufficient cpu, Insufficient memory

2 more nodes were not looked at: enough had been found.
";
        assert_eq!(render(&page, "ns/p", "5s"), expected);
    }

    #[test]
    fn a_pod_without_a_node_shows_the_message_and_who_said_so() {
        let page = json!({"node": null, "message": "0/2 nodes are available: no claim.", "nodesInCluster": 2,
            "nodes": [], "others": {"plugin": "VolumeBinding", "reasons": ["no claim"]}});
        let expected = "\
Pod ns/p found no node 1m ago:
0/2 nodes are available: no claim.

Every other node: VolumeBinding: no claim
";
        assert_eq!(render(&page, "ns/p", "1m"), expected);
        let gated =
            json!({"status": {"conditions": [{"reason": "SchedulingGated", "message": "waiting for x"}]}});
        assert!(nothing(&gated, "ns", "p").ends_with("ns/p: waiting for x"));
    }
}
