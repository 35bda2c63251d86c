//! The network on this machine: the addresses of services, the rules that make them answer, and where pods find the API
//! server and DNS.
//!
//! **Contract**: rules are changed by this process, or, where it may not, by a helper that the engine runs; where neither can
//! be, ports are passed on by this process and cluster addresses lead nowhere, which is said. The table is gone after a stop;
//! what a crash leaves goes with the next start or with `minik delete`.

use super::forwarding::Forwarding;
use super::network_helper::Helper;
use super::service_range::{Claim, Range};
use super::{OnStep, dns};
use crate::problem::Problem;
use anyhow::{Context as _, Result};
use component_base::logging::chain;
use kube_proxy::{Dataplane, Nftables, Reach, Userspace, dataplane, policy};
use runtime_docker::DockerRuntime;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    pub(super) proxy: Option<Proxy>,
    /// Other machines reach services, where Docker would not let them.
    pub(super) forwarding: Option<Forwarding>,
    /// What enforces network policies.
    pub(super) policies: Option<policy::Config>,
    /// Where DNS listens.
    pub(super) dns: Option<dns::Listening>,
}

/// What makes services answer: the proxy's configuration but for its clients.
pub(super) struct Proxy {
    table: String,
    services: String,
    dataplane: Arc<dyn Dataplane>,
    reach: Reach,
    nodes: Vec<String>,
    /// Whether its rules are in place.
    pub(super) in_place: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn config(self, pods: kube::Client, interner: client::Interner) -> kube_proxy::Config {
        let Self { table, services, dataplane, reach, nodes, in_place } = self;
        let masquerade_all = !Nftables::sees_bridges();
        kube_proxy::Config {
            table,
            services,
            dataplane,
            masquerade_all,
            reach,
            nodes,
            pods,
            interner,
            in_place,
        }
    }
}

/// Finds out what there can be. Without an engine there is nothing but addresses.
pub(super) async fn prepare(
    cluster: &str,
    nodes: Vec<String>,
    asked: Option<Range>,
    docker: Option<&Arc<DockerRuntime>>,
    port: Option<u16>,
    helper: Option<&Path>,
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
    let nftables = Nftables::new(&search_path());
    let rules = rules(&nftables, docker, helper.filter(|_| gateway.is_some())).await;
    let (forwarding, policies) = match &rules {
        Ok(rules) => (Forwarding::admit(&table(cluster)), Some(policies(cluster, rules.clone()).await)),
        Err(why) => {
            tracing::warn!("cluster addresses lead nowhere, and network policies are not enforced: {why}");
            step(
                "Services (node ports and load balancers only; cluster addresses and network policies need nftables)",
            );
            (None, None)
        }
    };
    if let (Ok(rules), Some(IpAddr::V4(bridge))) = (&rules, gateway)
        && let Err(error) = rules.hold(bridge).await
    {
        tracing::warn!("connections of pods may pause when others come and go: {}", chain(&error));
    }
    let has_rules = rules.is_ok();
    if has_rules && forwarding.is_none() && nftables.check().await.is_err() {
        step("Services (by a helper container; other machines do not reach them)");
    }
    let dns = match gateway {
        Some(gateway) => listener_of_dns(gateway, has_rules.then(|| range.dns()), step).await,
        None => None,
    };
    let proxy = Some(Proxy {
        table: table(cluster),
        services: range.to_string(),
        in_place: Arc::default(),
        reach: if has_rules { Reach::Loopback } else { Reach::Everywhere },
        dataplane: rules.unwrap_or_else(|_| Arc::new(Userspace)),
        nodes,
    });
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

fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// Who changes rules: this process, else a helper that the engine runs; else why nobody does.
async fn rules(
    nftables: &Nftables,
    docker: &DockerRuntime,
    helper: Option<&Path>,
) -> Result<Arc<dyn Dataplane>, String> {
    let Err(error) = nftables.check().await else { return Ok(Arc::new(nftables.clone())) };
    let why = chain(&error);
    let Some(program) = helper else { return Err(why) };
    let helper = Helper::new(docker.clone(), program.to_owned());
    // The program may be missing there, too.
    match helper.apply("list tables\n").await {
        Ok(()) => Ok(Arc::new(helper)),
        Err(error) => Err(format!("{why}; in a container: {}", chain(&error))),
    }
}

/// Is the helper: changes rules for who is at the other end of standard input and output, until they end.
pub(crate) async fn help() -> std::io::Result<()> {
    let own = |stream: BorrowedFd<'_>| {
        let owned = stream.try_clone_to_owned()?;
        std::io::Result::Ok(tokio::fs::File::from_std(owned.into()))
    };
    let (questions, answers) = (own(std::io::stdin().as_fd())?, own(std::io::stdout().as_fd())?);
    dataplane::serve(&Nftables::new(&search_path()), questions, answers).await
}

/// What enforces network policies; where packets within the pods' bridge pass no rules, a table of the bridge's own.
async fn policies(profile: &str, dataplane: Arc<dyn Dataplane>) -> policy::Config {
    let mut families = vec!["ip"];
    if !Nftables::sees_bridges() {
        match dataplane::tracks_bridges(&*dataplane).await {
            true => families.push("bridge"),
            false => tracing::warn!(
                "network policies do not apply between pods on one bridge: load the kernel module br_netfilter"
            ),
        }
    }
    policy::Config {
        table: policy_table(profile),
        families,
        dataplane,
        interner: client::Interner::default(),
    }
}

/// The name of a profile's tables of policies.
fn policy_table(profile: &str) -> String {
    format!("{}-policies", table(profile))
}

/// Removes a profile's rules, where there can be any.
pub(crate) async fn remove(profile: &str, docker: &DockerRuntime, helper: Option<&Path>) {
    let nftables = Nftables::new(&search_path());
    let Ok(rules) = rules(&nftables, docker, helper).await else { return };
    Forwarding::remove(&table(profile));
    let (services, policies) = (table(profile), policy_table(profile));
    for (family, table) in [("ip", &services), ("ip", &policies), ("bridge", &policies)] {
        if let Err(error) = dataplane::remove(&*rules, family, table).await {
            tracing::warn!(family, table, "remove rules: {}", chain(&error));
        }
    }
}
