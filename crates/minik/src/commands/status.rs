//! `minik status`: what of a cluster runs.
//!
//! **Contract**: exit code 0 if everything runs, 1 if not.

use super::{CommandContext, Output};
use crate::cluster::node_name;
use crate::profile::Settings;
use crate::{access, daemon, template};
use anyhow::{Context as _, Result};
use api::k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use kube::config::Kubeconfig;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// A server that does not answer in this time is not running well.
const LIMIT: Duration = Duration::from_secs(5);

/// Show whether a cluster runs
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Print a result that programs can read
    #[arg(short, long, value_enum, conflicts_with = "format")]
    output: Option<Output>,
    /// A line with fields in it: {{.Name}}, {{.Host}}, {{.Kubelet}}, {{.APIServer}}, {{.Kubeconfig}}
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    name: String,
    host: &'static str,
    apiserver: &'static str,
    kubelet: &'static str,
    kubeconfig: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    nodes: Vec<NodeReport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct NodeReport {
    name: String,
    ready: bool,
    /// Somebody has stopped it by itself.
    stopped: bool,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let profile = &cx.profile;
    let pid = profile.running()?;
    let settings = profile.settings()?;
    let configured = is_configured(cx, settings.as_ref());
    let paused = pid.is_some_and(daemon::is_suspended);
    let nodes = match (pid, &settings) {
        (Some(_), Some(settings)) if !paused => ask(cx, settings).ok(),
        _ => None,
    };
    let stopped = if settings.is_some() { "Stopped" } else { "Nonexistent" };
    let running = |is: bool| match is {
        _ if paused => "Paused",
        true => "Running",
        false => "Stopped",
    };
    let ready = nodes.as_ref().is_some_and(|nodes| !nodes.is_empty() && nodes.iter().all(NodeReport::runs));
    let first = nodes.iter().flatten().find(|node| node.name == profile.name);
    let first_is_ready = first.map_or(ready, |node| node.ready);
    let report = Report {
        name: profile.name.clone(),
        host: if pid.is_some() { "Running" } else { stopped },
        apiserver: if pid.is_some() { running(nodes.is_some()) } else { stopped },
        kubelet: if pid.is_some() { running(first_is_ready) } else { stopped },
        kubeconfig: if configured { "Configured" } else { "Misconfigured" },
        pid,
        nodes: nodes.unwrap_or_default(),
    };
    if let Some(format) = &arguments.format {
        let fields = [
            ("Name", report.name.as_str()),
            ("Host", report.host),
            ("Kubelet", report.kubelet),
            ("APIServer", report.apiserver),
            ("Kubeconfig", report.kubeconfig),
        ];
        cx.terminal.line(&template::fill(format, &fields)?);
        return Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    match arguments.output {
        Some(Output::Json) => cx.terminal.line(&serde_json::to_string(&report).context("print the status")?),
        None => {
            cx.terminal.line(&report.name);
            cx.terminal.line("type: Control Plane");
            for (label, value) in [
                ("host", report.host),
                ("kubelet", report.kubelet),
                ("apiserver", report.apiserver),
                ("kubeconfig", report.kubeconfig),
            ] {
                cx.terminal.line(&format!("{label}: {value}"));
            }
            for line in workers(&report, settings.as_ref()) {
                cx.terminal.line(&line);
            }
        }
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl NodeReport {
    /// Whether it is as it should be; the API learns late that a node was stopped.
    fn runs(&self) -> bool {
        self.ready && !self.stopped
    }
}

/// What is said of the nodes that only run pods; those on paper may be many, and are the same.
fn workers(report: &Report, settings: Option<&Settings>) -> Vec<String> {
    let nodes = settings.filter(|_| report.pid.is_some()).map_or(0, |settings| settings.nodes);
    let mut lines = Vec::new();
    for name in (1..nodes).map(|index| node_name(&report.name, index)) {
        let node = report.nodes.iter().find(|node| node.name == name);
        let (host, kubelet) = match node {
            _ if report.apiserver == "Paused" => ("Running", "Paused"),
            Some(NodeReport { stopped: true, .. }) => ("Stopped", "Stopped"),
            Some(NodeReport { ready: true, .. }) => ("Running", "Running"),
            _ => ("Running", "Stopped"),
        };
        let text = [name.as_str(), "type: Worker"].map(str::to_owned).into_iter();
        lines.push(String::new());
        lines.extend(text.chain([format!("host: {host}"), format!("kubelet: {kubelet}")]));
    }
    lines
}

/// Whether the kubeconfig has a context of the profile's name that leads to it.
fn is_configured(cx: &CommandContext, settings: Option<&Settings>) -> bool {
    let Ok(file) = Kubeconfig::read_from(&cx.kubeconfig) else { return false };
    let cluster = file.clusters.iter().find(|c| c.name == cx.profile.name);
    let server = cluster.and_then(|c| c.cluster.as_ref()?.server.clone());
    match (server, settings) {
        (Some(server), Some(settings)) => server.ends_with(&format!(":{}", settings.api_port)),
        _ => false,
    }
}

/// The nodes, as the API server tells them.
pub(super) fn ask(cx: &CommandContext, settings: &Settings) -> Result<Vec<NodeReport>> {
    access::block_on(async {
        let nodes = Api::<Node>::all(access::client(cx, settings).await?);
        let list = tokio::time::timeout(LIMIT, nodes.list(&ListParams::default())).await??;
        let report = |node: Node| NodeReport {
            stopped: node.metadata.name.as_ref().is_some_and(|name| settings.stopped_nodes.contains(name)),
            ready: node
                .status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten())
                .any(|c| c.type_ == "Ready" && c.status == "True"),
            name: node.metadata.name.unwrap_or_default(),
        };
        Ok(list.items.into_iter().map(report).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_run_or_are_stopped() {
        let node = |name: &str, ready, stopped| NodeReport { name: name.to_owned(), ready, stopped };
        let nodes = vec![
            node("p", true, false),
            node("p-m02", true, false),
            node("p-m03", true, true),
            node("p-m04", false, false),
        ];
        let report = |apiserver, pid| Report {
            name: "p".to_owned(),
            host: "Running",
            apiserver,
            kubelet: "Running",
            kubeconfig: "Configured",
            pid,
            nodes: nodes.clone(),
        };
        let settings = Settings { nodes: 4, simulated_nodes: 3, ..Settings::default() };
        let states = |report: &Report| -> Vec<String> {
            let lines = workers(report, Some(&settings));
            lines.chunks(5).map(|one| format!("{} {} {}", one[1], one[3], one[4])).collect()
        };
        assert_eq!(
            states(&report("Running", Some(1))),
            [
                "p-m02 host: Running kubelet: Running",
                "p-m03 host: Stopped kubelet: Stopped",
                "p-m04 host: Running kubelet: Stopped"
            ]
        );
        assert_eq!(states(&report("Paused", Some(1)))[0], "p-m02 host: Running kubelet: Paused");
        assert!(workers(&report("Stopped", None), Some(&settings)).is_empty());
    }
}
