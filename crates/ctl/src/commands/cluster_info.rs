//! `cluster-info`: the control plane's address and the services that call themselves part of the cluster.

mod dump;

use clap::ArgMatches;
use serde_json::Value;

use super::{Command, Context};
use crate::connection::JSON;
use crate::report::Error;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "cluster-info", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Display addresses of the control plane and services with label kubernetes.io/cluster-service=true")
        .subcommand(dump::command())
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    if let Some((_, matches)) = matches.subcommand() {
        return dump::run(context, matches).await;
    }
    let connection = context.connection().await?;
    let namespace = if context.globals.namespace.is_some() { context.namespace() } else { "kube-system" };
    let path = format!(
        "/api/v1/namespaces/{namespace}/services?labelSelector=kubernetes.io%2Fcluster-service%3Dtrue"
    );
    let services = connection.get(&path, JSON).await;
    let services = services?;
    let server = connection.server();
    let mut text = line(context, "Kubernetes control plane", server);
    for service in services["items"].as_array().into_iter().flatten() {
        text += &line(context, &title(service), &address(service, server));
    }
    text += "\nTo further debug and diagnose cluster problems, use 'kctl cluster-info dump'.\n";
    context.terminal.out(&text)
}

/// Green and yellow on a terminal, plain elsewhere.
fn line(context: &Context, name: &str, url: &str) -> String {
    if context.terminal.colors() {
        format!("\u{1b}[0;32m{name}\u{1b}[0m is running at \u{1b}[0;33m{url}\u{1b}[0m\n")
    } else {
        format!("{name} is running at {url}\n")
    }
}

fn title(service: &Value) -> String {
    let name = service["metadata"]["name"].as_str().unwrap_or("");
    service["metadata"]["labels"]["kubernetes.io/name"]
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or(name)
        .to_owned()
}

/// A load balancer's address where there is one, else the way through the API server's proxy.
fn address(service: &Value, server: &str) -> String {
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    if let Some(ingress) = service["status"]["loadBalancer"]["ingress"].get(0) {
        let host = ingress["ip"]
            .as_str()
            .filter(|text| !text.is_empty())
            .or(ingress["hostname"].as_str())
            .unwrap_or("");
        let links: Vec<String> = ports
            .iter()
            .map(|port| {
                let number = port["port"].as_i64().unwrap_or(0);
                let scheme = if number == 443 { "https" } else { "http" };
                format!("{scheme}://{host}:{number} ")
            })
            .collect();
        return links.concat();
    }
    let text = |field: &str| service["metadata"][field].as_str().unwrap_or("");
    let mut name = text("name").to_owned();
    if let Some(port) = ports.first() {
        let port_name = port["name"].as_str().unwrap_or("");
        if port_name == "https" || port["port"] == 443 {
            name = format!("https:{name}:{port_name}");
        } else {
            name = format!("{name}:{port_name}");
        }
        if port_name.is_empty() && !name.starts_with("https:") {
            name = name.trim_end_matches(':').to_owned();
        }
    }
    format!("{server}/api/v1/namespaces/{}/services/{name}/proxy", text("namespace"))
}
