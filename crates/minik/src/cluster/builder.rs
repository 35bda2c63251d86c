//! How a cluster is to be, and its start.
//!
//! **Not here**: what a running cluster can be asked ([`Cluster`]).

use super::ip_family::{IpFamily, machine_address};
use super::kubelets::{node, node_name, real, simulated};
use super::network::{self, Network};
use super::service_range::Range;
use super::watch_cache::WatchCache;
use super::{Cluster, NodeRuntime, RunningServer, Runtime};
use crate::control_plane;
use crate::nodes::Nodes;
use crate::pki::{Identity, Pki};
use anyhow::{Context as _, Result};
use apiserver::Server;
use apiserver::config::{Config as ServerConfig, Options};
use component_base::logging::Tail;
use component_base::{Context, Health};
use kube_proxy::Family;
use kubelet::{Ledger, MachineInfo, ShutdownGrace};
use runtime_docker::{DockerConfig, DockerRuntime, Mirrors};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use storage::{Location, OpenOptions, Storage};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Told the name of each step of a start as it is done.
pub type OnStep = Arc<dyn Fn(&str) + Send + Sync>;

/// Puts something between a component and its connection: faults, for example.
pub type WrapClient = Arc<dyn Fn(kube::Client) -> kube::Client + Send + Sync>;

/// Where the built-in ingress controller lets requests in, once there is an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Addresses of this machine.
    pub addresses: Vec<IpAddr>,
    /// Ports for HTTP, in the order in which they are tried.
    pub http_ports: Vec<u16>,
    /// Ports for HTTPS, likewise.
    pub https_ports: Vec<u16>,
}

impl Ingress {
    /// The loopback and the node's addresses; the usual ports, or those next to them where they are taken or not allowed.
    pub(crate) fn of(families: IpFamily) -> Self {
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        addresses.extend(families.has(Family::V6).then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        for address in families.all().iter().map(|family| machine_address(*family)) {
            // A machine without an address of its own has the loopback's.
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Self { addresses, http_ports: vec![80, 8080], https_ports: vec![443, 8443] }
    }
}

/// How a cluster is to be; every setting has a default that touches nothing outside the process.
pub struct Builder {
    name: String,
    context: Option<Context>,
    nodes: u32,
    simulated_nodes: u32,
    runtime: Runtime,
    own_runtimes: Vec<Arc<dyn NodeRuntime>>,
    store: Store,
    pki: Option<Pki>,
    listener: Option<TcpListener>,
    options: Options,
    scheduler: scheduler::Configuration,
    root_dir: Option<PathBuf>,
    log_dir: Option<PathBuf>,
    volumes_dir: Option<PathBuf>,
    service_range: Option<Range>,
    ip_family: IpFamily,
    on_step: Option<OnStep>,
    controllers: Option<WrapClient>,
    ingress: Option<Ingress>,
    control_planes: usize,
    gateway_api: bool,
    network_helper: Option<PathBuf>,
    shutdown_grace: ShutdownGrace,
    control_plane: Option<Tail>,
    dns: bool,
    stopped_nodes: Vec<String>,
    registry_mirrors: Mirrors,
}

enum Store {
    At(Location),
    Open(Arc<dyn Storage>),
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            name: "minik".to_owned(),
            context: None,
            nodes: 1,
            simulated_nodes: 0,
            runtime: Runtime::Simulated,
            own_runtimes: Vec::new(),
            store: Store::At(Location::Memory),
            pki: None,
            listener: None,
            options: Options::default(),
            scheduler: scheduler::Configuration::default(),
            root_dir: None,
            log_dir: None,
            volumes_dir: None,
            service_range: None,
            ip_family: IpFamily::default(),
            on_step: None,
            controllers: None,
            ingress: None,
            control_planes: 1,
            gateway_api: false,
            network_helper: None,
            shutdown_grace: ShutdownGrace::default(),
            control_plane: None,
            dns: true,
            stopped_nodes: Vec::new(),
            registry_mirrors: Mirrors::new(),
        }
    }

    /// The cluster's name: its nodes are called after it, and its containers are marked with it.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Clock, randomness and shutdown; the machine's by default.
    #[must_use]
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// How many nodes run `runtime`; 1 by default.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.nodes = nodes;
        self
    }

    /// How many simulated nodes there are besides; none by default.
    #[must_use]
    pub fn simulated_nodes(mut self, nodes: u32) -> Self {
        self.simulated_nodes = nodes;
        self
    }

    /// What runs containers; simulated by default.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// A runtime of the caller's for the next node instead of `runtime`: one with faults on request, for example. No
    /// two nodes may share one.
    #[must_use]
    pub fn node_runtime(mut self, runtime: Arc<dyn NodeRuntime>) -> Self {
        self.own_runtimes.push(runtime);
        self
    }

    /// Where state is kept; in memory by default.
    #[must_use]
    pub fn store(mut self, location: Location) -> Self {
        self.store = Store::At(location);
        self
    }

    /// A store that is already open: a fork of another cluster's, for example.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.store = Store::Open(storage);
        self
    }

    /// Keys and certificates; made anew by default.
    #[must_use]
    pub fn pki(mut self, pki: Pki) -> Self {
        self.pki = Some(pki);
        self
    }

    /// Where HTTPS connections arrive; none by default.
    #[must_use]
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// What upstream's flags of kube-apiserver say.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// How pods are scheduled; upstream's defaults by default.
    #[must_use]
    pub fn scheduler(mut self, configuration: scheduler::Configuration) -> Self {
        self.scheduler = configuration;
        self
    }

    /// Where nodes keep files of pods; needed by a runtime with real containers.
    #[must_use]
    pub fn root_dir(mut self, dir: PathBuf) -> Self {
        self.root_dir = Some(dir);
        self
    }

    /// Where links lead to the logs of containers of real nodes; without it there are none.
    #[must_use]
    pub fn log_dir(mut self, dir: Option<PathBuf>) -> Self {
        self.log_dir = dir;
        self
    }

    /// Where claims get folders, by a default StorageClass; without it there is none.
    #[must_use]
    pub fn volumes_dir(mut self, dir: PathBuf) -> Self {
        self.volumes_dir = Some(dir);
        self
    }

    /// Addresses of services. By default kubeadm's, and for a cluster with real containers one that no other cluster on this
    /// machine has.
    #[must_use]
    pub fn service_range(mut self, range: Option<Range>) -> Self {
        self.service_range = range;
        self
    }

    /// Which families of addresses pods and services have; with real containers IPv6 needs nftables. A range of services that
    /// is given says it, too.
    #[must_use]
    pub fn ip_family(mut self, family: IpFamily) -> Self {
        self.ip_family = family;
        self
    }

    /// Told the name of each step as it is done.
    #[must_use]
    pub fn on_step(mut self, on_step: OnStep) -> Self {
        self.on_step = Some(on_step);
        self
    }

    /// What stands between the controllers and the API server; nothing by default.
    #[must_use]
    pub fn controllers_through(mut self, wrap: WrapClient) -> Self {
        self.controllers = Some(wrap);
        self
    }

    /// How many copies of scheduler and controllers there are, of which one each works; 1 by default, without election.
    #[must_use]
    pub fn control_planes(mut self, copies: usize) -> Self {
        self.control_planes = copies.max(1);
        self
    }

    /// The built-in ingress controller; none by default.
    #[must_use]
    pub fn ingress(mut self, ingress: Option<Ingress>) -> Self {
        self.ingress = ingress;
        self
    }

    /// Whether the kinds of the Gateway API are installed; if the ingress controller runs it follows them, whoever has
    /// installed them.
    #[must_use]
    pub fn gateway_api(mut self, installed: bool) -> Self {
        self.gateway_api = installed;
        self
    }

    /// The program `minik`, which the engine may run as the helper that changes the machine's rules where this process may
    /// not; none by default.
    #[must_use]
    pub fn network_helper(mut self, program: Option<PathBuf>) -> Self {
        self.network_helper = program;
        self
    }

    /// What pods get when the cluster ends with its workload; by default they stay, and their containers just stop.
    #[must_use]
    pub fn shutdown_grace(mut self, grace: ShutdownGrace) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// Whether pods have the cluster's names, where there can be any; they have by default.
    #[must_use]
    pub fn dns(mut self, dns: bool) -> Self {
        self.dns = dns;
        self
    }

    /// Nodes that are known but do not run: they have no kubelet, and what runs of their pods is stopped.
    #[must_use]
    pub fn stopped_nodes(mut self, names: Vec<String>) -> Self {
        self.stopped_nodes = names;
        self
    }

    /// Who is asked for the images of a registry before it, by registry; nobody by default.
    #[must_use]
    pub fn registry_mirrors(mut self, mirrors: Mirrors) -> Self {
        self.registry_mirrors = mirrors;
        self
    }

    /// Shows the components as pods of the first node, with these lines as their logs; by default there are no such pods.
    #[must_use]
    pub fn control_plane(mut self, log: Tail) -> Self {
        self.control_plane = Some(log);
        self
    }

    /// Starts it and returns when its API answers; nodes register on their own ([`Cluster::nodes_ready`]).
    ///
    /// # Errors
    /// If the store cannot be opened, or the runtime not be reached.
    pub async fn start(self) -> Result<Cluster> {
        let context = self.context.unwrap_or_else(Context::system).child();
        let step = self.on_step.unwrap_or_else(|| Arc::new(|_: &str| {}));
        let family = match self.service_range {
            None => self.ip_family,
            Some(range) => {
                let asked = Some(self.ip_family).filter(|asked| *asked != IpFamily::default());
                let agreed = IpFamily::agreed(asked, range.family());
                agreed.with_context(|| format!("{range} is no range of {}", self.ip_family))?
            }
        };
        let docker =
            connect_docker(&self.name, &self.runtime, self.nodes, family, &self.registry_mirrors).await?;
        let port = self.listener.as_ref().and_then(|listener| listener.local_addr().ok()).map(|at| at.port());
        let names: Vec<String> = (0..self.nodes).map(|index| node_name(&self.name, index)).collect();
        let helper = self.network_helper.as_deref();
        let network = network::prepare(
            &self.name,
            names,
            (family, self.service_range),
            docker.first(),
            port,
            helper,
            &step,
        )
        .await?;
        let Network { range, claim, for_pods, proxy, forwarding, policies, dns, addresses, pods } = network;
        let address = *addresses.first().context("a node without an address")?;
        let dns = dns.filter(|_| self.dns);
        let serving = Serving {
            listeners: self.listener.into_iter().chain(for_pods).collect(),
            // As a static pod of the first node would have it.
            hostname: node_name(&self.name, 0),
            address,
            range,
        };
        let prepare = async {
            match docker.first() {
                Some(first) => Ok(first.prepare().await?),
                None => anyhow::Ok(()),
            }
        };
        let backend = match &self.store {
            Store::At(location) => location.backend(),
            Store::Open(_) => "store",
        };
        let (server, ()) = tokio::try_join!(
            start_server(&context, self.store, self.pki, serving, self.options, &step),
            prepare,
        )?;
        if !docker.is_empty() {
            step("Container runtime");
        }
        let mut nodes = Vec::new();
        let images = self.root_dir.as_ref().map(|root| root.join("images.json"));
        let ledger = images.map(Ledger::load).unwrap_or_default();
        for index in 0..self.nodes {
            let name = node_name(&self.name, index);
            let at = index as usize;
            nodes.push(match (self.own_runtimes.get(at), docker.get(at)) {
                (Some(own), _) => {
                    let machine = MachineInfo::simulated(&name);
                    node(name, machine, own.clone(), self.root_dir.clone())
                }
                (None, Some(docker)) => {
                    let root = self.root_dir.as_deref();
                    real(
                        name,
                        docker.clone(),
                        root.context("a runtime with real containers needs a root_dir")?,
                        ledger.clone(),
                        (&addresses, &pods),
                    )?
                }
                (None, None) => simulated(&context, name, index),
            });
        }
        let first = nodes.first().map(|first| first.node_name.clone());
        for index in 0..self.simulated_nodes {
            let name = format!("{}-sim-{:03}", self.name, index + 1);
            nodes.push(simulated(&context, name, self.nodes + index));
        }
        if let Some(dns) = &dns {
            nodes.iter_mut().for_each(|node| node.cluster_dns.servers = vec![dns.server]);
        }
        nodes.iter_mut().for_each(|node| node.shutdown_grace = self.shutdown_grace);
        for node in nodes.iter_mut().filter(|node| node.root_dir.is_some()) {
            node.log_dir.clone_from(&self.log_dir);
        }
        let watch_cache = Arc::new(WatchCache(server.api.registry.clone()));
        let interner = client::Interner::beside(watch_cache);
        let node_requests = Arc::new(Semaphore::new(super::NODE_REQUESTS));
        let mut cluster = Cluster {
            context,
            server,
            docker,
            interner,
            node_requests,
            components: Vec::new(),
            copies: Vec::new(),
            supervised: Vec::new(),
            _held: (claim, forwarding),
        };
        cluster.start_control_planes(self.control_planes, self.controllers.as_ref(), &self.scheduler);
        if let Some(root) = self.volumes_dir {
            cluster.start_provisioner(root);
        }
        let proxied = proxy.as_ref().map(|proxy| proxy.in_place.clone());
        if let Some(proxy) = proxy {
            cluster.start_proxy(proxy);
        }
        if let Some(policies) = policies {
            cluster.start_policies(policies);
        }
        let named = dns.map(|dns| cluster.start_dns(dns, range.dns()));
        if self.gateway_api {
            cluster.install_gateway_api();
        }
        if let Some(ingress) = self.ingress {
            cluster.start_ingress(ingress, address)?;
        }
        if let Some(first) = first {
            cluster.mark_control_plane(first);
        }
        let mut log = self.control_plane;
        let turns = Arc::new(Semaphore::new(super::PAPER_EVENTS));
        for mut node in nodes.into_iter().filter(|node| !self.stopped_nodes.contains(&node.node_name)) {
            node.event_turns = node.root_dir.is_none().then(|| turns.clone());
            if let Some(log) = log.take() {
                let components = cluster.control_plane(backend, proxied.clone(), named.clone());
                node = control_plane::show(node, components, log);
            }
            cluster.start_node(node);
        }
        let stopped = cluster.docker.iter().filter(|node| self.stopped_nodes.contains(&node.config().node));
        futures::future::try_join_all(stopped.map(|node| super::stop_pods(node))).await?;
        Ok(cluster)
    }
}

/// Where the API server is, and what it hands out.
struct Serving {
    listeners: Vec<TcpListener>,
    hostname: String,
    /// The first node's.
    address: IpAddr,
    range: Range,
}

async fn start_server(
    context: &Context,
    store: Store,
    pki: Option<Pki>,
    serving: Serving,
    options: Options,
    step: &OnStep,
) -> Result<RunningServer> {
    let Serving { listeners, hostname, address, range } = serving;
    let storage = match store {
        Store::Open(storage) => storage,
        Store::At(location) => {
            let clock = context.clock.clone();
            let now = Arc::new(move || u64::try_from(clock.now().as_millisecond()).unwrap_or(0));
            storage::open(location, OpenOptions::new(now)).await?
        }
    };
    step("Storage");
    let now = context.clock.now();
    let pki = match pki {
        Some(pki) => pki,
        None => Pki::generate(now, &context.rng)?,
    };
    let addresses: Vec<SocketAddr> = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()
        .context("ask the listener's address")?;
    let port = addresses.first().map_or(443, SocketAddr::port);
    // What pods reach, if there is such an address; a loopback may not be an endpoint.
    let for_pods = addresses.iter().map(SocketAddr::ip).find(|ip| !ip.is_loopback() && !ip.is_unspecified());
    let advertise_address = for_pods.unwrap_or(address);
    let nodes = Arc::new(Nodes::default());
    let health = Health::default();
    let mut config = ServerConfig {
        ca_pem: pki.ca.cert.clone(),
        cert_pem: String::new(),
        key_pem: String::new(),
        token_key_pem: pki.token_key.clone(),
        token_issuer: apiserver::config::DEFAULT_ISSUER.to_owned(),
        listeners,
        front_proxy_ca_pem: pki.front_proxy_ca.cert.clone(),
        front_proxy_cert_pem: pki.front_proxy.cert.clone(),
        front_proxy_key_pem: pki.front_proxy.key.clone(),
        options,
        service_cidr: range.cidr(),
        secondary_service_cidr: range.secondary_cidr(),
        hostname,
        advertise_address,
        advertise_port: port,
        nodes: nodes.clone(),
        components: health.clone(),
    };
    let Identity { cert, key } = serving_identity(&pki, &config, context)?;
    config.cert_pem = cert;
    config.key_pem = key;
    let api = Server::start(storage.clone(), context.clone(), config).await?;
    step("API server");
    Ok(RunningServer { api, storage, nodes, pki, health, port })
}

fn serving_identity(pki: &Pki, config: &ServerConfig, context: &Context) -> Result<Identity> {
    let names =
        ["localhost", "host.minik.internal", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let mut names: Vec<String> = names.map(str::to_owned).to_vec();
    names.push("kubernetes.default.svc.cluster.local".to_owned());
    let addresses = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
        config.advertise_address,
        config.first_service_ip(),
    ];
    pki.serving(&names, &addresses, context.clock.now(), &context.rng)
}

async fn connect_docker(
    profile: &str,
    runtime: &Runtime,
    nodes: u32,
    family: IpFamily,
    mirrors: &Mirrors,
) -> Result<Vec<Arc<DockerRuntime>>> {
    let Runtime::Docker { host } = runtime else { return Ok(Vec::new()) };
    let network = &network::pods_network(profile, family)?;
    let connect = (0..nodes).map(|index| async move {
        let config = DockerConfig {
            host: host.clone(),
            profile: profile.to_owned(),
            node: node_name(profile, index),
            network: network.clone(),
            mirrors: mirrors.clone(),
        };
        let runtime = DockerRuntime::connect(config).await?;
        Ok::<_, runtime::Error>(Arc::new(runtime))
    });
    Ok(futures::future::try_join_all(connect).await?)
}
