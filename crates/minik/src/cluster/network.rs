//! The network on this machine: the addresses of services, the rules that make them answer, and where pods find the API
//! server and DNS.
//!
//! **Contract**: rules are changed by this process, or, where it may not, by a helper that the engine runs; where neither can
//! be, ports are passed on by this process and cluster addresses lead nowhere, which is said. The table is gone after a stop;
//! what a crash leaves goes with the next start or with `minik delete`.

use super::forwarding::Forwarding;
use super::ip_family::{IpFamily, machine_address};
use super::network_helper::Helper;
use super::service_range::{Claim, Range, pods_v6};
use super::{OnStep, dns};
use crate::problem::Problem;
use crate::{preflight, profile};
use anyhow::{Context as _, Result};
use component_base::logging::chain;
use kube_proxy::{Closed, Dataplane, Family, Nftables, Reach, Stack, Userspace, dataplane, policy};
use runtime_docker::{DockerRuntime, NetworkConfig};
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
    /// The machine's addresses, which nodes have: one of each family, the first of the cluster's first family.
    pub(super) addresses: Vec<IpAddr>,
    /// Where pods get theirs from, likewise; empty on the engine's bridge. All nodes are on one bridge, and have the same.
    pub(super) pods: Vec<String>,
}

/// The network of pods with IPv6.
struct Own {
    /// This machine's address in it.
    gateway: IpAddr,
    /// Its blocks, as far as they are of the cluster's families.
    pods: Vec<String>,
    /// The machine's name of the bridge.
    bridge: Option<String>,
    /// A block of it of a family that the cluster does not have.
    others: Option<String>,
}

/// What makes services answer: the proxy's configuration but for its clients.
pub(super) struct Proxy {
    table: String,
    stacks: Vec<Stack>,
    dataplane: Arc<dyn Dataplane>,
    reach: Reach,
    nodes: Vec<String>,
    /// Whether its rules are in place.
    pub(super) in_place: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn config(self, pods: kube::Client, interner: client::Interner) -> kube_proxy::Config {
        let Self { table, stacks, dataplane, reach, nodes, in_place } = self;
        kube_proxy::Config { table, stacks, dataplane, reach, nodes, pods, interner, in_place }
    }
}

/// Finds out what there can be. Without an engine there is nothing but addresses.
pub(super) async fn prepare(
    cluster: &str,
    nodes: Vec<String>,
    (families, asked): (IpFamily, Option<Range>),
    docker: Option<&Arc<DockerRuntime>>,
    port: Option<u16>,
    helper: Option<&Path>,
    step: &OnStep,
) -> Result<Network> {
    let Some(docker) = docker else {
        return Ok(Network {
            range: Range::usual(families, asked),
            claim: None,
            for_pods: None,
            proxy: None,
            forwarding: None,
            policies: None,
            dns: None,
            addresses: vec![machine_address(families.first())],
            pods: Vec::new(),
        });
    };
    let (range, claim) = claim(cluster, families, asked)?;
    let gateways = gateways(docker).await;
    let gateway = gateways.iter().copied().find(|gateway| Family::of(*gateway) == families.first());
    let nftables = Nftables::new(&search_path());
    let rules = rules(&nftables, docker, helper.filter(|_| gateway.is_some())).await;
    let own = match families.has(Family::V6) {
        true => Some(own(docker, families, &gateways).await?),
        false => None,
    };
    let (forwarding, policies) = match &rules {
        Ok(rules) => (
            Forwarding::admit(&table(cluster), families),
            Some(policies(cluster, families, own.as_ref(), rules.clone()).await),
        ),
        Err(why) if own.is_some() => return Err(no_rules(why)),
        Err(why) => {
            tracing::warn!("cluster addresses lead nowhere, and network policies are not enforced: {why}");
            step(
                "Services (node ports and load balancers only; cluster addresses and network policies need nftables)",
            );
            (None, None)
        }
    };
    if let (Ok(rules), Some(bridge)) = (&rules, gateway)
        && let Err(error) = rules.hold(bridge).await
    {
        tracing::warn!("connections of pods may pause when others come and go: {}", chain(&error));
    }
    let for_pods = match (gateway, port) {
        (Some(gateway), Some(port)) => listener_for_pods(gateway, port).await,
        _ => None,
    };
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
        stacks: stacks(range, own.as_ref()),
        in_place: Arc::default(),
        reach: if has_rules { Reach::Loopback } else { Reach::Everywhere },
        dataplane: rules.unwrap_or_else(|_| Arc::new(Userspace)),
        nodes,
    });
    let address = |family: &Family| match (family, &own) {
        // A machine whose links have no other address of IPv6 has at least this one.
        (Family::V6, Some(own)) => kubelet::machine_address_v6().unwrap_or(own.gateway),
        _ => machine_address(*family),
    };
    let addresses = families.all().iter().map(address).collect();
    let pods = own.map(|own| own.pods).unwrap_or_default();
    Ok(Network { range, claim: Some(claim), for_pods, proxy, forwarding, policies, dns, addresses, pods })
}

/// What is asked of the engine for pods: nothing, or, in a cluster with IPv6, a network of the profile's own.
pub(super) fn pods_network(cluster: &str, families: IpFamily) -> Result<Option<NetworkConfig>> {
    if !families.has(Family::V6) {
        return Ok(None);
    }
    let subnet_v6 = pods_v6(cluster, cluster == profile::DEFAULT);
    let subnet_v6 = Some(subnet_v6.context("find free addresses of IPv6 for pods")?);
    let only_v6 = !families.has(Family::V4);
    Ok(Some(NetworkConfig { name: table(cluster), subnet: None, subnet_v6, only_v6 }))
}

/// Engines give pods addresses of IPv6 but do not all masquerade them, and none makes their services answer.
fn no_rules(why: &str) -> anyhow::Error {
    Problem::error(
        format!("a cluster with IPv6 needs nftables, which cannot be changed: {why}"),
        "start it as root, install nftables (Debian: sudo apt-get install nftables), or leave out --ip-family",
    )
}

async fn own(docker: &DockerRuntime, families: IpFamily, gateways: &[IpAddr]) -> Result<Own> {
    let Some(gateway) = gateways.iter().find(|gateway| gateway.is_ipv6()).copied() else {
        return Err(Problem::error(
            "the engine's network for pods has no addresses of IPv6",
            "see that IPv6 works here (ip -6 address), and whether another cluster's network is in the way: docker network ls",
        ));
    };
    let (subnets, bridge) = (docker.subnets().await?, docker.bridge().await?);
    let known = |subnet: &String| families.all().iter().any(|family| family.block(subnet).is_some());
    let (pods, others): (Vec<_>, Vec<_>) = subnets.into_iter().partition(known);
    Ok(Own { gateway, pods, bridge, others: others.into_iter().next() })
}

/// What the proxy is told of each family.
fn stacks(range: Range, own: Option<&Own>) -> Vec<Stack> {
    let stack = |(family, services): (Family, String)| {
        // The engine masquerades pods over IPv4, and over IPv6 some versions do.
        let own = own.filter(|_| family == Family::V6);
        Stack {
            family,
            services,
            masqueraded: own
                .and_then(|own| own.pods.iter().find_map(|pods| family.block(pods)))
                .map(str::to_owned),
            masquerade_all: !Nftables::sees_bridges(family),
            closed: own
                .and_then(|own| own.others.clone())
                .map(|pods| Closed { pods, bridged: !Nftables::sees_bridges(Family::V4) }),
        }
    };
    range.cidrs().map(stack).collect()
}

fn claim(cluster: &str, families: IpFamily, asked: Option<Range>) -> Result<(Range, Claim)> {
    loop {
        let range = Range::free(families, asked, cluster, false, &[]);
        let range = range.context("find free addresses for services")?;
        return match range.claim() {
            Ok(claim) => Ok((range, claim)),
            // Somebody was faster: that one is not free any more.
            Err(error) if error.kind() == ErrorKind::AddrInUse && asked.is_none() => continue,
            Err(error) if error.kind() == ErrorKind::AddrInUse => Err(Problem::error(
                format!("the services of another running cluster have addresses in {range}"),
                "stop that cluster, or start a new profile with others: --service-cluster-ip-range",
            )),
            Err(error) => {
                Err(anyhow::Error::new(error).context(format!("claim the addresses {range} of services")))
            }
        };
    }
}

/// This machine's addresses in the pods' network. Those of an engine elsewhere (another machine, or rootless) are not here.
async fn gateways(docker: &DockerRuntime) -> Vec<IpAddr> {
    docker.gateways().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot ask for the address of the pods' network");
        Vec::new()
    })
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
async fn policies(
    profile: &str,
    families: IpFamily,
    own: Option<&Own>,
    dataplane: Arc<dyn Dataplane>,
) -> policy::Config {
    let bridge = own.and_then(|own| own.bridge.clone());
    let mut tables = Vec::new();
    for family in families.all().iter().copied() {
        let tables_of = policy_tables(profile, family);
        let [routed, bridged] = tables_of.map(|place| policy::Place { bridge: bridge.clone(), ..place });
        tables.push(routed);
        if !Nftables::sees_bridges(family) {
            match dataplane::tracks_bridges(&*dataplane).await {
                true => tables.push(bridged),
                false => tracing::warn!(
                    family = family.api(),
                    "network policies do not apply between pods on one bridge: load the kernel module br_netfilter"
                ),
            }
        }
    }
    policy::Config { tables, dataplane, interner: client::Interner::default() }
}

/// A profile's tables of policies for packets of a family: those that are routed, and those within a bridge.
fn policy_tables(profile: &str, family: Family) -> [policy::Place; 2] {
    let name = format!("{}-policies", table(profile));
    let bridged = match family {
        Family::V4 => name.clone(),
        Family::V6 => format!("{name}-ipv6"),
    };
    [(family.nft(), name), ("bridge", bridged)].map(|(kind, name)| policy::Place {
        family,
        kind,
        name,
        bridge: None,
    })
}

/// Removes a profile's rules, where there can be any.
pub(crate) async fn remove(profile: &str, docker: &DockerRuntime, helper: Option<&Path>) {
    let nftables = Nftables::new(&search_path());
    let Ok(rules) = rules(&nftables, docker, helper).await else { return };
    Forwarding::remove(&table(profile));
    let [[routed, bridged], [routed_v6, bridged_v6]] =
        [Family::V4, Family::V6].map(|family| policy_tables(profile, family).map(|place| place.name));
    let own = || table(profile);
    let mut kinds = vec![("ip", vec![own(), routed]), ("bridge", vec![own(), bridged, bridged_v6])];
    // A kernel without IPv6 has no tables of it.
    if preflight::ipv6().is_ok() {
        kinds.push(("ip6", vec![own(), routed_v6]));
    }
    for (kind, tables) in kinds {
        if let Err(error) = dataplane::remove(&*rules, kind, &tables).await {
            tracing::warn!(family = kind, ?tables, "remove rules: {}", chain(&error));
        }
    }
}
