//! `minik node`: the nodes of a running cluster.
//!
//! **Contract**: to add, delete, stop or start one, the server's process is replaced by one with other settings; containers
//! go on and are adopted, the API is away for a moment. A node that is stopped has no kubelet and no container that runs; that
//! it is gone is noticed as with any node, by the lack of its heartbeats.
//! **Upstream.** `minikube node` (its commands; a node may be named `m02` for short).

use super::{CommandContext, Output, start, table};
use crate::cluster::node_name;
use crate::problem::Problem;
use crate::profile::{RuntimeKind, Settings};
use crate::{access, daemon, preflight};
use anyhow::{Context as _, Result};
use api::k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use runtime_docker::{DockerConfig, DockerRuntime};
use rustix::process::Signal;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// Components end within this time, or something is wrong.
const LIMIT: Duration = Duration::from_secs(30);

/// Add, delete, stop, start or list nodes
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List the nodes with their addresses
    List {
        /// Print a result that programs can read
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
    /// Add a node; pods go on
    Add,
    /// Delete the node that was added last, with its pods
    Delete {
        /// Its name
        name: String,
    },
    /// Start a node that was stopped
    Start {
        /// Its name
        name: String,
    },
    /// Stop a node with its containers; the others go on
    Stop {
        /// Its name
        name: String,
    },
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let (settings, pid) = access::running(cx)?;
    match &arguments.command {
        Command::List { output } => list(cx, &settings, *output),
        Command::Add => {
            let name = node_name(&cx.profile.name, settings.nodes);
            replace(cx, &Settings { nodes: settings.nodes + 1, ..settings }, pid)?;
            cx.terminal.line(&format!("Node {name:?} is added to profile {:?}.", cx.profile.name));
            Ok(ExitCode::SUCCESS)
        }
        Command::Delete { name } => delete(cx, settings, pid, name),
        Command::Start { name } => switch(cx, settings, pid, name, Turn::On),
        Command::Stop { name } => switch(cx, settings, pid, name, Turn::Off),
    }
}

/// The names of the nodes with these settings.
fn names(cx: &CommandContext, settings: &Settings) -> Vec<String> {
    let real = (0..settings.nodes).map(|index| node_name(&cx.profile.name, index));
    let paper =
        (0..settings.simulated_nodes).map(|index| format!("{}-sim-{:03}", cx.profile.name, index + 1));
    real.chain(paper).collect()
}

/// The full name of a node, which may be given without the profile's; an error if there is none.
pub(super) fn find(cx: &CommandContext, settings: &Settings, name: &str) -> Result<String> {
    let in_full = format!("{}-{name}", cx.profile.name);
    names(cx, settings).into_iter().find(|known| known == name || *known == in_full).ok_or_else(|| {
        Problem::error(
            format!("node {name:?} does not exist"),
            format!("list them: minik -p {} node list", cx.profile.name),
        )
    })
}

/// Which way a node is switched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    On,
    Off,
}

fn switch(cx: &CommandContext, settings: Settings, pid: u32, name: &str, turn: Turn) -> Result<ExitCode> {
    let name = find(cx, &settings, name)?;
    if turn == Turn::Off && names(cx, &settings).first() == Some(&name) {
        return Err(Problem::error(
            format!("node {name:?} has the control plane: it stops with its cluster"),
            format!("stop all of it: minik stop -p {}", cx.profile.name),
        ));
    }
    let is_stopped = settings.stopped_nodes.contains(&name);
    let (done, changes) = match turn {
        Turn::On => ("started", is_stopped),
        Turn::Off => ("stopped", !is_stopped),
    };
    if changes {
        let mut changed = settings;
        match turn {
            Turn::On => changed.stopped_nodes.retain(|stopped| *stopped != name),
            Turn::Off => changed.stopped_nodes.push(name.clone()),
        }
        replace(cx, &changed, pid)?;
    }
    let already = if changes { "" } else { "already " };
    cx.terminal.line(&format!("Node {name:?} is {already}{done}."));
    Ok(ExitCode::SUCCESS)
}

fn list(cx: &CommandContext, settings: &Settings, output: Option<Output>) -> Result<ExitCode> {
    let nodes = access::block_on(async {
        let nodes: Api<Node> = Api::all(access::client(cx, settings).await?);
        Ok(nodes.list(&ListParams::default()).await?.items)
    })?;
    let address = |node: &Node| {
        let addresses = node.status.as_ref().and_then(|status| status.addresses.clone()).unwrap_or_default();
        addresses.into_iter().find(|one| one.type_ == "InternalIP").map(|one| one.address).unwrap_or_default()
    };
    match output {
        Some(Output::Json) => {
            let all: Vec<_> =
                nodes.iter().map(|node| json!({"name": node.name_any(), "address": address(node)})).collect();
            cx.terminal.line(&json!(all).to_string());
        }
        None => {
            let rows: Vec<_> = nodes.iter().map(|node| vec![node.name_any(), address(node)]).collect();
            table(cx, &rows);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn delete(cx: &CommandContext, settings: Settings, pid: u32, name: &str) -> Result<ExitCode> {
    let name = &find(cx, &settings, name)?;
    let last =
        settings.nodes.checked_sub(1).filter(|last| *last > 0).map(|last| node_name(&cx.profile.name, last));
    if last.as_ref() != Some(name) {
        return Err(Problem::error(
            format!("node {name:?} cannot be deleted: only the one that was added last can"),
            match last {
                Some(last) => format!("that is {last:?}"),
                None => "the first node is the control plane".to_owned(),
            },
        ));
    }
    let mut fewer = Settings { nodes: settings.nodes - 1, ..settings };
    fewer.stopped_nodes.retain(|stopped| stopped != name);
    replace(cx, &fewer, pid)?;
    access::block_on(async {
        if fewer.runtime == RuntimeKind::Docker {
            let host = preflight::docker_host();
            let config = DockerConfig { host, node: name.to_owned(), ..DockerConfig::new(&cx.profile.name) };
            let docker = DockerRuntime::connect(config).await?;
            docker.remove_containers().await.context("remove the node's containers")?;
        }
        let nodes: Api<Node> = Api::all(access::client(cx, &fewer).await?);
        match nodes.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop).context("delete the node's object"),
        }
    })?;
    cx.terminal.line(&format!("Node {name:?} is deleted."));
    Ok(ExitCode::SUCCESS)
}

/// Ends the server without its workload, and starts it with other settings.
pub(super) fn replace(cx: &CommandContext, settings: &Settings, pid: u32) -> Result<()> {
    if !daemon::end(pid, Signal::HUP, LIMIT)? {
        return Err(Problem::error(
            format!("the server (process {pid}) has not ended after {LIMIT:?}"),
            format!("see what it is doing: minik logs -p {}", cx.profile.name),
        ));
    }
    cx.profile.save(settings)?;
    start::bring_up(cx, settings, &start::default_wait(), start::LOG, &mut |_| {})
}
