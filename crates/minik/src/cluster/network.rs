//! The network on this machine: the addresses of services, the rules that make them answer, and where pods find the API
//! server and DNS.
//!
//! **Contract**: where rules cannot be changed the cluster runs without, and says so. The table is gone after a stop; what
//! a crash leaves goes with the next start or with `minik delete`.

use super::forwarding::Forwarding;
use super::service_range::{Claim, Range};
use super::{OnStep, dns};
use crate::problem::Problem;
use anyhow::{Context as _, Result};
use component_base::logging::chain;
use kube_proxy::{Nftables, policy};
use runtime_docker::DockerRuntime;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What a cluster has of the network.
pub(super) struct Network {
    /// Addresses of services.
    pub(super) range: Range,
    /// They are this cluster's alone, where rules of the kernel depend on them.
    pub(super) claim: Option<Claim>,
    /// Where pods reach the API server.
    pub(super) for_pods: Option<TcpListener>,
    /// What makes services answer.
    pub(super) proxy: Option<kube_proxy::Config>,
    /// Other machines reach services, where Docker would not let them.
    pub(super) forwarding: Option<Forwarding>,
    /// What enforces network policies.
    pub(super) policies: Option<policy::Config>,
    /// Where DNS listens.
    pub(super) dns: Option<dns::Listening>,
}

/// Finds out what there can be. Without an engine there is nothing but addresses.
pub(super) async fn prepare(
    cluster: &str,
    nodes: Vec<String>,
    asked: Option<Range>,
    docker: Option<&Arc<DockerRuntime>>,
    port: Option<u16>,
    step: &OnStep,
) -> Result<Network> {
    let Some(docker) = docker else {
        let range = asked.unwrap_or_default();
        return Ok(Network {
            range,
            claim: None,
            for_pods: None,
            proxy: None,
            forwarding: None,
            policies: None,
            dns: None,
        });
    };
    let (range, claim) = claim(cluster, asked)?;
    let gateway = gateway(docker).await;
    let for_pods = match (gateway, port) {
        (Some(gateway), Some(port)) => listener_for_pods(gateway, port).await,
        _ => None,
    };
    let proxy = proxy(cluster, nodes, range, step).await;
    let (forwarding, policies) = match proxy {
        Some(_) => (Forwarding::admit(&table(cluster)), Some(policies(cluster).await)),
        None => (None, None),
    };
    let dns = match gateway {
        Some(gateway) => listener_of_dns(gateway, proxy.as_ref().map(|_| range.dns()), step).await,
        None => None,
    };
    Ok(Network { range, claim: Some(claim), for_pods, proxy, forwarding, policies, dns })
}

fn claim(cluster: &str, asked: Option<Range>) -> Result<(Range, Claim)> {
    let Some(range) = asked else {
        return Range::free(cluster, false, &[]).context("find free addresses for services");
    };
    let claim = range.claim().map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Problem::error(
            format!("the services of another running cluster have addresses in {range}"),
            "stop that cluster, or start a new profile with others: --service-cluster-ip-range",
        ),
        _ => anyhow::Error::new(error).context(format!("claim the addresses {range} of services")),
    })?;
    Ok((range, claim))
}

/// This machine's address in the pods' network. That of an engine elsewhere (another machine, or rootless) is not here.
async fn gateway(docker: &DockerRuntime) -> Option<IpAddr> {
    match docker.gateway().await {
        Ok(gateway) => gateway,
        Err(error) => {
            tracing::warn!(%error, "cannot ask for the address of the pods' network");
            None
        }
    }
}

/// Pods cannot reach the loopback: the server listens on this machine's address in their network as well, which only
/// containers and this machine reach.
async fn listener_for_pods(gateway: IpAddr, port: u16) -> Option<TcpListener> {
    match TcpListener::bind((gateway, port)).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(%error, %gateway, port, "pods cannot reach the API server at this address");
            None
        }
    }
}

async fn listener_of_dns(gateway: IpAddr, service: Option<IpAddr>, step: &OnStep) -> Option<dns::Listening> {
    match dns::listen(gateway, service).await {
        Ok(listening) => Some(listening),
        Err(error) => {
            tracing::warn!(%error, %gateway, "pods do not have the cluster's DNS: cannot listen at this address");
            step(&format!("DNS (without: cannot listen at {gateway}: {error})"));
            None
        }
    }
}

/// The name of a profile's table.
fn table(profile: &str) -> String {
    let name: String = profile.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("minik-{name}")
}

/// The proxy's configuration; none where rules cannot be changed.
async fn proxy(profile: &str, nodes: Vec<String>, range: Range, step: &OnStep) -> Option<kube_proxy::Config> {
    if let Err(error) = Nftables::check().await {
        tracing::warn!("services do not answer: {}", chain(&error));
        step("Services (without: nftables cannot be used)");
        return None;
    }
    Some(kube_proxy::Config {
        table: table(profile),
        services: range.to_string(),
        dataplane: Arc::new(Nftables),
        masquerade_all: !Nftables::sees_bridges(),
        nodes: nodes.into_iter().collect(),
        interner: client::Interner::default(),
    })
}

/// What enforces network policies; where packets within the pods' bridge pass no rules, a table of the bridge's own.
async fn policies(profile: &str) -> policy::Config {
    let mut families = vec!["ip"];
    if !Nftables::sees_bridges() {
        match Nftables::tracks_bridges().await {
            true => families.push("bridge"),
            false => tracing::warn!(
                "network policies do not apply between pods on one bridge: load the kernel module br_netfilter"
            ),
        }
    }
    policy::Config {
        table: policy_table(profile),
        families,
        dataplane: Arc::new(Nftables),
        interner: client::Interner::default(),
    }
}

/// The name of a profile's tables of policies.
fn policy_table(profile: &str) -> String {
    format!("{}-policies", table(profile))
}

/// Removes a profile's rules, where there can be any.
pub(crate) async fn remove(profile: &str) {
    if Nftables::check().await.is_err() {
        return;
    }
    Forwarding::remove(&table(profile));
    let (services, policies) = (table(profile), policy_table(profile));
    for (family, table) in [("ip", &services), ("ip", &policies), ("bridge", &policies)] {
        if let Err(error) = Nftables::remove(family, table).await {
            tracing::warn!(family, table, "remove rules: {}", chain(&error));
        }
    }
}
