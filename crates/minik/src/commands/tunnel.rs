//! `minik tunnel`: says where load balancers answer; it takes no tunnel.

use super::{CommandContext, table};
use crate::access;
use anyhow::Result;
use api::k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use std::process::ExitCode;

/// Show where services of type LoadBalancer answer (no tunnel is needed)
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {}

pub(super) fn run(cx: &CommandContext, _: &Arguments) -> Result<ExitCode> {
    let (settings, _) = access::running(cx)?;
    let services = access::block_on(async {
        let services: Api<Service> = Api::all(access::client(cx, &settings).await?);
        Ok(services.list(&ListParams::default()).await?.items)
    })?;
    cx.terminal.line("Services of type LoadBalancer answer on this machine without a tunnel.");
    let mut rows = vec![["NAMESPACE", "NAME", "ADDRESS", "PORTS"].map(str::to_owned).to_vec()];
    for service in &services {
        let Some(spec) = service.spec.as_ref().filter(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
        else {
            continue;
        };
        let given =
            service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
        let given = given.into_iter().flatten().filter_map(|one| one.ip.clone().or(one.hostname.clone()));
        let ports: Vec<String> = spec.ports.iter().flatten().map(|port| port.port.to_string()).collect();
        rows.push(vec![
            service.namespace().unwrap_or_default(),
            service.name_any(),
            given.collect::<Vec<_>>().join(","),
            ports.join(","),
        ]);
    }
    if rows.len() > 1 {
        table(cx, &rows);
    }
    Ok(ExitCode::SUCCESS)
}
