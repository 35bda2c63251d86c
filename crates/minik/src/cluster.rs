//! A cluster as a value: API server, scheduler, controllers and nodes in this process.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = minik::Cluster::builder().start().await?;
//! let pods = cluster.client().list_pods();
//! # fn unused<T>(_: T) {}
//! # trait ListPods { fn list_pods(&self) {} }
//! # impl ListPods for kube::Client {}
//! # unused(pods);
//! cluster.stop().await;
//! # Ok(()) }
//! ```
//!
//! **Contract**: with its defaults a cluster touches no disk, no port and no engine: memory storage, one simulated
//! node, in-memory connections. Components meet over the REST API only, each under its own identity.
//! **Not here**: profiles, processes, the command line.

use crate::nodes::Nodes;
use crate::pki::{Identity, Pki};
use anyhow::{Context as _, Result, bail};
use api::k8s_openapi::api::core::v1::Node;
use apiserver::auth::UserInfo;
use apiserver::{Server, config::Config as ServerConfig};
use client::Informers;
use component_base::Context;
use component_base::logging::chain;
use kubelet::MachineInfo;
use runtime::{ImageService, RuntimeService};
use runtime_docker::{DockerConfig, DockerRuntime};
use runtime_simulated::{SimulatedConfig, SimulatedRuntime};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::{Location, OpenOptions, Storage};
use tokio::net::TcpListener;

/// The version of Kubernetes that the cluster reports.
pub const KUBERNETES_VERSION: &str = apiserver::version::GIT_VERSION;
/// kubeadm's default `--service-cluster-ip-range`.
const SERVICE_CIDR: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)), 12);
/// kube-apiserver's default `--service-node-port-range`.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// What runs containers on a cluster's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Pods that only exist on paper.
    Simulated,
    /// Containers in the Docker engine at this address (empty: the platform's default).
    Docker {
        /// `unix:///var/run/docker.sock`, or empty.
        host: String,
    },
}

/// Told the name of each step of a start as it is done.
pub type OnStep = Arc<dyn Fn(&str) + Send + Sync>;

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
    root_dir: Option<PathBuf>,
    on_step: Option<OnStep>,
}

enum Store {
    At(Location),
    Open(Arc<dyn Storage>),
}

impl Builder {
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

    /// Where nodes keep files of pods; needed by a runtime with real containers.
    #[must_use]
    pub fn root_dir(mut self, dir: PathBuf) -> Self {
        self.root_dir = Some(dir);
        self
    }

    /// Told the name of each step as it is done.
    #[must_use]
    pub fn on_step(mut self, on_step: OnStep) -> Self {
        self.on_step = Some(on_step);
        self
    }

    /// Starts it and returns when its API answers; nodes register on their own ([`Cluster::nodes_ready`]).
    ///
    /// # Errors
    /// If the store cannot be opened, or the runtime not be reached.
    pub async fn start(self) -> Result<Cluster> {
        let context = self.context.unwrap_or_else(Context::system).child();
        let step = self.on_step.unwrap_or_else(|| Arc::new(|_: &str| {}));
        let (server, docker) = tokio::try_join!(
            start_server(&context, self.store, self.pki, self.listener, &step),
            connect_docker(&self.name, &self.runtime, self.nodes),
        )?;
        if !docker.is_empty() {
            step("Container runtime");
        }
        let mut cluster = Cluster { name: self.name, context, server, docker, components: Vec::new() };
        cluster.start_components();
        let mut machines = Vec::new();
        for index in 0..self.nodes {
            let name = node_name(&cluster.name, index);
            if let Some(own) = self.own_runtimes.get(index as usize) {
                let machine = MachineInfo::simulated(&name);
                machines.push((name, machine, own.clone(), self.root_dir.clone(), None));
                continue;
            }
            match cluster.docker.get(index as usize) {
                Some(docker) => {
                    let root =
                        self.root_dir.clone().context("a runtime with real containers needs a root_dir")?;
                    std::fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
                    let machine = MachineInfo::detect(&root);
                    machines.push((name, machine, docker.clone() as Arc<dyn NodeRuntime>, Some(root), None));
                }
                None => machines.push(simulated(&cluster.context, name, index)),
            }
        }
        for index in 0..self.simulated_nodes {
            let name = format!("{}-sim-{:03}", cluster.name, index + 1);
            machines.push(simulated(&cluster.context, name, self.nodes + index));
        }
        for (name, machine, runtime, root_dir, pod_cidr) in machines {
            let control_plane = name == cluster.name;
            cluster.start_node(name, machine, runtime, root_dir, pod_cidr, control_plane);
        }
        Ok(cluster)
    }
}

type Machine = (String, MachineInfo, Arc<dyn NodeRuntime>, Option<PathBuf>, Option<String>);

/// Both halves of a runtime.
pub trait NodeRuntime: RuntimeService + ImageService {}
impl<T: RuntimeService + ImageService> NodeRuntime for T {}

/// minikube's names: the first node is called after the profile, the second `NAME-m02`.
fn node_name(cluster: &str, index: u32) -> String {
    if index == 0 { cluster.to_owned() } else { format!("{cluster}-m{:02}", index + 1) }
}

fn simulated(context: &Context, name: String, index: u32) -> Machine {
    // kubeadm's usual pod range, cut into /24 as kube-controller-manager does.
    let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    let base = Ipv4Addr::new(10, 244_u8.saturating_add(high), low, 0);
    let cidr = format!("{base}/24");
    let config =
        SimulatedConfig { now: context.clock.now(), pod_cidr: (base, 24), seed: u64::from(index) + 1 };
    let machine = MachineInfo::simulated(&name);
    (name, machine, Arc::new(SimulatedRuntime::new(config)), None, Some(cidr))
}

async fn start_server(
    context: &Context,
    store: Store,
    pki: Option<Pki>,
    listener: Option<TcpListener>,
    step: &OnStep,
) -> Result<RunningServer> {
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
    let port = match &listener {
        Some(listener) => listener.local_addr().context("ask the listener's address")?.port(),
        None => 443,
    };
    let advertise_address = kubelet::machine_address();
    let nodes = Arc::new(Nodes::default());
    let mut config = ServerConfig {
        ca_pem: pki.ca.cert.clone(),
        cert_pem: String::new(),
        key_pem: String::new(),
        token_key_pem: pki.token_key.clone(),
        token_issuer: apiserver::config::DEFAULT_ISSUER.to_owned(),
        listener,
        service_cidr: SERVICE_CIDR,
        node_ports: NODE_PORTS,
        advertise_address,
        advertise_port: port,
        nodes: nodes.clone(),
    };
    let Identity { cert, key } = serving_identity(&pki, &config, context)?;
    config.cert_pem = cert;
    config.key_pem = key;
    let api = Server::start(storage.clone(), context.clone(), config).await?;
    step("API server");
    Ok(RunningServer { api, storage, nodes, pki, port })
}

fn serving_identity(pki: &Pki, config: &ServerConfig, context: &Context) -> Result<Identity> {
    let names =
        ["localhost", "host.minik.internal", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let mut names: Vec<String> = names.map(str::to_owned).to_vec();
    names.push("kubernetes.default.svc.cluster.local".to_owned());
    let addresses = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        config.advertise_address,
        config.first_service_ip(),
    ];
    pki.serving(&names, &addresses, context.clock.now(), &context.rng)
}

async fn connect_docker(profile: &str, runtime: &Runtime, nodes: u32) -> Result<Vec<Arc<DockerRuntime>>> {
    let Runtime::Docker { host } = runtime else { return Ok(Vec::new()) };
    let connect = (0..nodes).map(|index| async move {
        let config = DockerConfig {
            host: host.clone(),
            profile: profile.to_owned(),
            node: node_name(profile, index),
            network: None,
        };
        let runtime = DockerRuntime::connect(config).await?;
        Ok::<_, runtime::Error>(Arc::new(runtime))
    });
    let runtimes = futures::future::try_join_all(connect).await?;
    if let Some(first) = runtimes.first() {
        first.prepare().await?;
    }
    Ok(runtimes)
}

struct RunningServer {
    api: Arc<Server>,
    storage: Arc<dyn Storage>,
    nodes: Arc<Nodes>,
    pki: Pki,
    port: u16,
}

/// A running cluster; it ends when it is stopped, or with its context.
pub struct Cluster {
    name: String,
    context: Context,
    server: RunningServer,
    docker: Vec<Arc<DockerRuntime>>,
    /// The contexts of everything but the API server, which ends last.
    components: Vec<Context>,
}

impl Cluster {
    /// A cluster that touches nothing outside the process, to be changed by the builder's methods.
    pub fn builder() -> Builder {
        Builder {
            name: "minik".to_owned(),
            context: None,
            nodes: 1,
            simulated_nodes: 0,
            runtime: Runtime::Simulated,
            own_runtimes: Vec::new(),
            store: Store::At(Location::Memory),
            pki: None,
            listener: None,
            root_dir: None,
            on_step: None,
        }
    }

    /// A client with all rights (`system:masters`).
    pub fn client(&self) -> kube::Client {
        self.client_as("kubernetes-admin", &["system:masters"])
    }

    /// A client with this identity; what it may do, RBAC decides.
    pub fn client_as(&self, user: &str, groups: &[&str]) -> kube::Client {
        let identity = UserInfo::authenticated(user, groups.iter().map(|g| (*g).to_owned()));
        let api = self.server.api.clone();
        let dial: client::Dial = Arc::new(move || {
            let (api, identity) = (api.clone(), identity.clone());
            Box::pin(async move { Ok(api.connect(identity)) })
        });
        client::connection::in_memory(dial, "default")
    }

    /// Keys and certificates.
    pub fn pki(&self) -> &Pki {
        &self.server.pki
    }

    /// Port of HTTPS connections, if there is a listener.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The store, for a fork or an inspection.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.server.storage
    }

    /// Clock, randomness, metrics.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Waits until so many nodes are Ready.
    ///
    /// # Errors
    /// After `limit`, with what the nodes say.
    pub async fn nodes_ready(&self, nodes: usize, limit: Duration) -> Result<()> {
        let watching = self.context.child();
        let informer = Informers::new(self.client(), &watching).of::<Node>();
        let mut changes = informer.subscribe();
        let wait = async {
            loop {
                if informer.list().iter().filter(|node| is_ready(node)).count() >= nodes {
                    return;
                }
                if changes.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let ended = tokio::time::timeout(limit, wait).await;
        watching.shutdown.trigger();
        if ended.is_err() {
            let said: Vec<String> = informer.list().iter().map(|node| not_ready(node)).collect();
            bail!("not all nodes are Ready after {limit:?}: {}", said.join("; "));
        }
        Ok(())
    }

    fn start_components(&mut self) {
        let scheduling = self.context.child();
        let client = self.client_as("system:kube-scheduler", &[]);
        let config = scheduler::Config::default();
        spawn("scheduler", &scheduling, scheduler::run(scheduling.clone(), client, config));
        self.components.push(scheduling);

        let controlling = self.context.child();
        let client = self.client_as("system:kube-controller-manager", &[]);
        let config = controller_manager::Config::new(self.server.pki.ca.cert.clone());
        spawn(
            "controller-manager",
            &controlling,
            controller_manager::run(controlling.clone(), client, config),
        );
        self.components.push(controlling);
    }

    fn start_node(
        &mut self,
        name: String,
        machine: MachineInfo,
        runtime: Arc<dyn NodeRuntime>,
        root_dir: Option<PathBuf>,
        pod_cidr: Option<String>,
        control_plane: bool,
    ) {
        let context = self.context.child();
        let client = self.client_as(&format!("system:node:{name}"), &["system:nodes"]);
        let role = "node-role.kubernetes.io/control-plane".to_owned();
        let config = kubelet::Config {
            node_name: name.clone(),
            labels: control_plane.then(|| (role, String::new())).into_iter().collect::<BTreeMap<_, _>>(),
            runtime: runtime.clone(),
            images: runtime,
            machine,
            pod_cidr,
            root_dir,
            version: KUBERNETES_VERSION.to_owned(),
        };
        let nodes = self.server.nodes.clone();
        let ready = move |server| nodes.insert(name, server);
        spawn("kubelet", &context, kubelet::run(context.clone(), client, config, ready));
        self.components.push(context);
    }

    /// Ends everything, containers excepted: the next start adopts them.
    pub async fn stop(self) {
        for component in &self.components {
            component.shutdown.trigger();
        }
        for component in &self.components {
            component.shutdown.finished().await;
        }
        self.context.shutdown.trigger();
        self.context.shutdown.finished().await;
        if let Err(error) = self.server.storage.close().await {
            tracing::warn!("close the store: {}", chain(&error));
        }
    }

    /// Ends everything, containers included; pods start again with the next start, by their restart policy.
    ///
    /// # Errors
    /// If the runtime does not answer.
    pub async fn stop_with_workload(self) -> Result<()> {
        for component in &self.components {
            component.shutdown.trigger();
        }
        for component in &self.components {
            component.shutdown.finished().await;
        }
        let docker = self.docker.clone();
        self.stop().await;
        for node in docker {
            stop_pods(&*node).await?;
        }
        Ok(())
    }
}

/// Stops all pods of a node at once: containers with a moment's grace, then sandboxes.
async fn stop_pods(node: &DockerRuntime) -> Result<()> {
    /// Kubernetes gives pods 30 s at a graceful node shutdown; a developer's `stop` waits at most so long.
    const GRACE: Duration = Duration::from_secs(10);
    let running = runtime::ContainerFilter {
        state: Some(runtime::ContainerState::Running),
        ..runtime::ContainerFilter::default()
    };
    let containers = node.list_containers(&running).await?;
    futures::future::try_join_all(containers.iter().map(|c| node.stop_container(&c.id, GRACE))).await?;
    let sandboxes = node.list_pod_sandboxes(&runtime::PodSandboxFilter::default()).await?;
    futures::future::try_join_all(sandboxes.iter().map(|s| node.stop_pod_sandbox(&s.id))).await?;
    Ok(())
}

/// Runs a component until its context ends; what ends it earlier is logged.
fn spawn<E: std::error::Error + 'static>(
    name: &'static str,
    context: &Context,
    component: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    context.shutdown.spawn(async move {
        if let Err(error) = component.await {
            tracing::error!("{name} ended: {}", chain(&error));
        }
    });
}

fn condition<'a>(node: &'a Node) -> Option<&'a api::k8s_openapi::api::core::v1::NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready")
}

fn is_ready(node: &Node) -> bool {
    condition(node).is_some_and(|c| c.status == "True")
}

fn not_ready(node: &Node) -> String {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    match condition(node) {
        Some(condition) => format!("{name}: {}", condition.message.as_deref().unwrap_or("no reason given")),
        None => format!("{name}: no status yet"),
    }
}
