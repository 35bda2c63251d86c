//! `minik service`: where a service is reached from this machine.
//!
//! **Upstream.** `minikube service` (its flags and words).

use super::{CommandContext, Output, table};
use crate::access;
use crate::cluster::ip_family::machine_address;
use crate::problem::Problem;
use crate::template;
use anyhow::{Context as _, Result};
use api::k8s_openapi::api::core::v1::{Service, ServicePort};
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use kube_proxy::Family;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

/// How an address is written.
const FORMAT: &str = "http://{{.IP}}:{{.Port}}";

/// Show where a service is reached from this machine
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The service
    name: Option<String>,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Print addresses alone, one a line
    #[arg(long)]
    url: bool,
    /// How to write an address, with {{.IP}} and {{.Port}}
    #[arg(long, value_name = "TEMPLATE", default_value = FORMAT)]
    format: String,
    /// Print https instead of http
    #[arg(long)]
    https: bool,
    /// How long to wait for a pod that answers, in seconds
    #[arg(long, default_value_t = 60)]
    wait: u64,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List all services with their addresses
    List {
        /// Of one namespace
        #[arg(short, long)]
        namespace: Option<String>,
        /// Print a result that programs can read
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let (settings, _) = access::running(cx)?;
    access::block_on(async {
        let client = access::client(cx, &settings).await?;
        match (&arguments.command, &arguments.name) {
            (Some(Command::List { namespace, output }), _) => {
                list(cx, client, namespace.as_deref(), *output).await
            }
            (None, Some(name)) => show(cx, client, arguments, name).await,
            (None, None) => Err(Problem::error("no service is named", "list them: minik service list")),
        }
    })
}

async fn show(
    cx: &CommandContext,
    client: kube::Client,
    arguments: &Arguments,
    name: &str,
) -> Result<ExitCode> {
    let namespace = arguments.namespace.as_str();
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let Some(service) = services.get_opt(name).await? else {
        return Err(Problem::error(
            format!("service '{name}' was not found in '{namespace}' namespace"),
            "list them all: minik service list",
        ));
    };
    let reached =
        tokio::time::timeout(Duration::from_secs(arguments.wait), answered(client, namespace, name)).await;
    if reached.is_err() {
        return Err(Problem::error(
            format!("service not available: no running pod for service {name} found"),
            format!("see its pods: minik -p {} kubectl -- get pods -n {namespace}", cx.profile.name),
        ));
    }
    reached??;
    let format = match arguments.https {
        true => arguments.format.replacen("http://", "https://", 1),
        false => arguments.format.clone(),
    };
    let addresses = addresses(&service, &format)?;
    if arguments.url {
        for (_, url) in &addresses {
            cx.terminal.line(url);
        }
    } else {
        table(cx, &rows(&service, &addresses));
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until an endpoint of the service is ready.
async fn answered(client: kube::Client, namespace: &str, name: &str) -> Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={name}"));
    let mut changes = watcher(slices, config).applied_objects().boxed();
    while let Some(slice) = changes.try_next().await.context("watch the service's endpoints")? {
        let ready = |ready: Option<bool>| ready.unwrap_or(true);
        if slice
            .endpoints
            .iter()
            .flatten()
            .any(|one| ready(one.conditions.as_ref().and_then(|all| all.ready)))
        {
            return Ok(());
        }
    }
    Ok(())
}

async fn list(
    cx: &CommandContext,
    client: kube::Client,
    namespace: Option<&str>,
    output: Option<Output>,
) -> Result<ExitCode> {
    let services: Api<Service> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let all = services.list(&ListParams::default()).await?.items;
    if output == Some(Output::Json) {
        let all: Vec<_> = all
            .iter()
            .map(|service| {
                let addresses = addresses(service, FORMAT)?;
                let (ports, urls): (Vec<String>, Vec<String>) = addresses.into_iter().unzip();
                Ok(json!({"Namespace": service.namespace(), "Name": service.name_any(), "PortNames": ports, "URLs": urls}))
            })
            .collect::<Result<_>>()?;
        cx.terminal.line(&json!(all).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = Vec::new();
    for service in &all {
        let more = rows(service, &addresses(service, FORMAT)?);
        lines.extend(more.into_iter().skip(usize::from(!lines.is_empty())));
    }
    table(cx, &lines);
    Ok(ExitCode::SUCCESS)
}

fn rows(service: &Service, addresses: &[(String, String)]) -> Vec<Vec<String>> {
    let mut rows = vec![["NAMESPACE", "NAME", "TARGET PORT", "URL"].map(str::to_owned).to_vec()];
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    if addresses.is_empty() {
        rows.push(vec![namespace, name, "No ports".to_owned(), String::new()]);
        return rows;
    }
    for (port, url) in addresses {
        rows.push(vec![namespace.clone(), name.clone(), port.clone(), url.clone()]);
    }
    rows
}

/// Ports with the addresses at which they answer on this machine: by the node's port, else by the cluster's address.
fn addresses(service: &Service, format: &str) -> Result<Vec<(String, String)>> {
    let Some(spec) = &service.spec else { return Ok(Vec::new()) };
    let cluster: Option<IpAddr> = spec.cluster_ip.as_ref().and_then(|address| address.parse().ok());
    let address = |port: &ServicePort| {
        let (address, number) = match port.node_port {
            Some(number) => (machine_address(Family::of(cluster?)), number),
            None => (cluster?, port.port),
        };
        let address = if address.is_ipv4() { address.to_string() } else { format!("[{address}]") };
        Some(template::fill(format, &[("IP", &address), ("Port", &number.to_string())]))
    };
    let shown = |port: &ServicePort| match &port.name {
        Some(name) => format!("{name}/{}", port.port),
        None => port.port.to_string(),
    };
    // A port for two protocols has one address.
    let mut seen = BTreeSet::new();
    let ports = spec.ports.iter().flatten().filter_map(|port| Some((shown(port), address(port)?)));
    let ports: Vec<_> = ports.map(|(port, url)| url.map(|url| (port, url))).collect::<Result<_>>()?;
    Ok(ports.into_iter().filter(|(_, url)| seen.insert(url.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_has_brackets() {
        for (ip, expected) in [
            (json!("10.96.0.9"), Some("http://10.96.0.9:80")),
            (json!("fd00::9"), Some("http://[fd00::9]:80")),
            (json!("None"), None),
        ] {
            let service = json!({"metadata": {}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
            let service = serde_json::from_value(service).expect("a service");
            let addresses = addresses(&service, FORMAT).expect("a format");
            assert_eq!(addresses.first().map(|(_, url)| url.as_str()), expected);
        }
    }
}
