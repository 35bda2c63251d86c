//! `minik status`: what of a cluster runs.
//!
//! **Contract**: exit code 0 if everything runs, 1 if not.

use super::{CommandContext, Output};
use crate::profile::Settings;
use crate::{access, daemon};
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
    #[arg(short, long, value_enum)]
    output: Option<Output>,
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

#[derive(Debug, Serialize)]
pub(super) struct NodeReport {
    name: String,
    ready: bool,
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
    let ready = nodes.as_ref().is_some_and(|nodes| !nodes.is_empty() && nodes.iter().all(|n| n.ready));
    let report = Report {
        name: profile.name.clone(),
        host: if pid.is_some() { "Running" } else { stopped },
        apiserver: if pid.is_some() { running(nodes.is_some()) } else { stopped },
        kubelet: if pid.is_some() { running(ready) } else { stopped },
        kubeconfig: if configured { "Configured" } else { "Misconfigured" },
        pid,
        nodes: nodes.unwrap_or_default(),
    };
    match arguments.output {
        Some(Output::Json) => cx.terminal.line(&serde_json::to_string(&report).context("print the status")?),
        None => {
            for (label, value) in [
                ("host", report.host),
                ("kubelet", report.kubelet),
                ("apiserver", report.apiserver),
                ("kubeconfig", report.kubeconfig),
            ] {
                if label == "host" {
                    cx.terminal.line(&report.name);
                    cx.terminal.line("type: Control Plane");
                }
                cx.terminal.line(&format!("{label}: {value}"));
            }
        }
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
