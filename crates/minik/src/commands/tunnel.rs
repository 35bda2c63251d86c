//! `minik tunnel`: says where load balancers answer; it takes no tunnel.

use super::{CommandContext, Output, table};
use crate::access;
use anyhow::Result;
use api::k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::process::ExitCode;

/// Show where services of type LoadBalancer answer (no tunnel is needed)
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Print a result that programs can read
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let (settings, _) = access::running(cx)?;
    let services = access::block_on(async {
        let services: Api<Service> = Api::all(access::client(cx, &settings).await?);
        Ok(services.list(&ListParams::default()).await?.items)
    })?;
    if arguments.output == Some(Output::Json) {
        let balancers = services.iter().filter_map(|service| {
            let (addresses, ports) = answers(service)?;
            let (namespace, name) = (service.namespace(), service.name_any());
            Some(json!({"namespace": namespace, "name": name, "addresses": addresses, "ports": ports}))
        });
        cx.terminal.line(&json!(balancers.collect::<Vec<_>>()).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    cx.terminal.line("Services of type LoadBalancer answer on this machine without a tunnel.");
    let mut rows = vec![["NAMESPACE", "NAME", "ADDRESS", "PORTS"].map(str::to_owned).to_vec()];
    for service in &services {
        let Some((addresses, ports)) = answers(service) else { continue };
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        rows.push(vec![namespace, name, addresses.join(","), ports.join(",")]);
    }
    if rows.len() > 1 {
        table(cx, &rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// Addresses and ports of a load balancer; `None` if the service is none.
fn answers(service: &Service) -> Option<(Vec<String>, Vec<i32>)> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() == Some("LoadBalancer"))?;
    let given = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let addresses = given.into_iter().flatten().filter_map(|one| one.ip.clone().or(one.hostname.clone()));
    Some((addresses.collect(), spec.ports.iter().flatten().map(|port| port.port).collect()))
}
