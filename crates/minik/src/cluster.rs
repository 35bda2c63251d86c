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
//! node, requests in memory. Components meet over the REST API only, each under its own identity.
//! **Not here**: profiles, processes, the command line.

mod add_on;
mod builder;
mod control_plane;
mod dns;
mod forwarding;
pub(crate) mod ip_family;
mod kubelets;
mod network;
mod network_helper;
mod role;
mod service_range;
mod watch_cache;

use crate::control_plane::{Check, Component, Supervised};
use crate::nodes::Nodes;
use crate::pki::Pki;
use crate::readiness::{self, Part};
use anyhow::Result;
use apiserver::Server;
use apiserver::auth::UserInfo;
pub use builder::{Builder, Ingress, OnStep, WrapClient};
use component_base::logging::chain;
use component_base::{Context, Health};
use futures::FutureExt as _;
pub use ip_family::IpFamily;
pub(crate) use kubelets::node_name;
pub(crate) use network::{help as network_helper, remove as remove_service_rules};
use runtime::{ImageService, RuntimeService};
use runtime_docker::DockerRuntime;
pub use service_range::Range as ServiceRange;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage::Storage;
use tokio::sync::Semaphore;

/// The version of Kubernetes that the cluster reports.
pub const KUBERNETES_VERSION: &str = apiserver::version::GIT_VERSION;
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

/// Both halves of a runtime.
pub trait NodeRuntime: RuntimeService + ImageService {}
impl<T: RuntimeService + ImageService> NodeRuntime for T {}

/// Requests that the nodes of a cluster may have under way at a time.
const NODE_REQUESTS: usize = 256;
/// Events that nodes on paper may send at a time: ten thousand pods have forty thousand of them, half of all that is written.
const PAPER_EVENTS: usize = 2;

/// The API server and what belongs to it.
struct RunningServer {
    api: Arc<Server>,
    storage: Arc<dyn Storage>,
    nodes: Arc<Nodes>,
    pki: Pki,
    /// Whether the scheduler and the controllers run.
    health: Health,
    port: u16,
}

/// A running cluster; it ends when it is stopped, or with its context.
pub struct Cluster {
    context: Context,
    server: RunningServer,
    docker: Vec<Arc<DockerRuntime>>,
    /// Objects that several components watch are in memory once.
    interner: client::Interner,
    /// Turns of all nodes' requests together: a thousand kubelets must not fill the server's queues.
    node_requests: Arc<Semaphore>,
    /// The contexts of everything but the API server, which ends last.
    components: Vec<Context>,
    /// Those of each copy of scheduler and controllers.
    copies: Vec<Vec<Context>>,
    /// The scheduler and the controllers.
    supervised: Vec<Supervised>,
    /// Its services' addresses are nobody else's, and other machines reach them.
    _held: (Option<service_range::Claim>, Option<forwarding::Forwarding>),
}

impl Cluster {
    /// A cluster that touches nothing outside the process, to be changed by the builder's methods.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A client with all rights (`system:masters`).
    pub fn client(&self) -> kube::Client {
        self.client_as("kubernetes-admin", &["system:masters"])
    }

    /// A client with this identity; what it may do, RBAC decides.
    pub fn client_as(&self, user: &str, groups: &[&str]) -> kube::Client {
        client::connection::in_memory(self.server_for(user, groups), "default")
    }

    /// A component's client: it waits for its turn, and for a server that is busy.
    fn client_of(&self, user: &str) -> kube::Client {
        let limit = Arc::new(Semaphore::new(client::connection::COMPONENT_REQUESTS));
        client::connection::for_component(self.server_for(user, &[]), "default", limit)
    }

    fn server_for(&self, user: &str, groups: &[&str]) -> client::InMemory {
        let identity = UserInfo::authenticated(user, groups.iter().map(|g| (*g).to_owned()));
        let api = self.server.api.clone();
        client::InMemory {
            call: api.call_as(identity.clone()),
            dial: Arc::new(move || {
                let (api, identity) = (api.clone(), identity.clone());
                Box::pin(async move { Ok(api.connect(identity)) })
            }),
        }
    }

    /// Lets go of what its components keep decoded of the API's objects and packs what the API server keeps; for now and then.
    pub(crate) fn cool(&self) -> impl Fn() + Send + use<> {
        let (interner, registry) = (self.interner.clone(), self.server.api.registry.clone());
        move || {
            interner.cool();
            registry.pack();
        }
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
        let wait = readiness::Wait { parts: Part::Nodes.into(), limit };
        self.ready(&wait, nodes, |_| {}).await
    }

    /// Waits until these parts of it are ready; `on_ready` hears of each.
    ///
    /// # Errors
    /// After the limit, with what is lacking.
    pub(crate) async fn ready(
        &self,
        wait: &readiness::Wait,
        nodes: usize,
        on_ready: impl FnMut(Part),
    ) -> Result<()> {
        readiness::wait(&self.context, self.client(), wait, nodes, on_ready).await
    }

    /// What the control plane consists of, for the pods that show it. `dns` and `proxy` say how those are, where they run.
    fn control_plane(
        &self,
        store: &'static str,
        proxy: Option<Arc<AtomicBool>>,
        dns: Option<Arc<AtomicBool>>,
    ) -> Vec<Component> {
        let admin = self.client();
        let ready: Check = Arc::new(move || {
            let admin = admin.clone();
            async move {
                let request = http::Request::get("/readyz").body(Vec::new());
                let request = request.map_err(|error| error.to_string())?;
                admin.request_text(request).await.map(drop).map_err(|error| chain(&error))
            }
            .boxed()
        });
        let storage = self.server.storage.clone();
        let stores: Check = Arc::new(move || {
            let storage = storage.clone();
            async move { storage.current_revision().await.map(drop).map_err(|error| chain(&error)) }.boxed()
        });
        let mut components = vec![
            Component {
                name: "kube-apiserver",
                container: "kube-apiserver",
                crates: &["apiserver"],
                check: ready,
                task: None,
            },
            Component {
                name: "etcd",
                container: store,
                crates: &["storage", "etcd"],
                check: stores,
                task: None,
            },
        ];
        let tasks: [(&str, &[&str]); 2] =
            [("kube-scheduler", &["scheduler"]), ("kube-controller-manager", &["controller_manager"])];
        for (task, (name, crates)) in self.supervised.iter().zip(tasks) {
            let of = task.clone();
            let check: Check = Arc::new(move || std::future::ready(of.check()).boxed());
            components.push(Component { name, container: name, crates, check, task: Some(task.clone()) });
        }
        let flagged = |name, crates, flag: Option<Arc<AtomicBool>>, wrong: &'static str| {
            let flag = flag?;
            let check: Check = Arc::new(move || {
                let good = flag.load(Ordering::Relaxed);
                std::future::ready(good.then_some(()).ok_or_else(|| wrong.to_owned())).boxed()
            });
            Some(Component { name, container: name, crates, check, task: None })
        };
        components.extend(flagged("kube-proxy", &["kube_proxy"], proxy, "service rules are not in place"));
        components.extend(flagged("coredns", &["dns"], dns, "the server does not run"));
        components
    }

    /// Makes volumes for claims, in folders below this one.
    fn start_provisioner(&mut self, root: std::path::PathBuf) {
        /// After objects that could not be written.
        const RETRY: Duration = Duration::from_secs(1);
        let context = self.context.child();
        let admin = self.client();
        let client = self.client_as(storage_provisioner::USER, &storage_provisioner::USER_GROUPS);
        let config = storage_provisioner::Config { root, interner: self.interner.clone() };
        let running = context.clone();
        context.shutdown.spawn(async move {
            while let Err(error) = storage_provisioner::install(&admin).await {
                tracing::warn!("the storage provisioner waits: {}", chain(&error));
                running.clock.sleep(RETRY).await;
            }
            storage_provisioner::run(running, client, config).await;
        });
        self.components.push(context);
    }

    /// Labels the node on which the control plane is.
    fn mark_control_plane(&mut self, node: String) {
        let context = self.context.child();
        let mark = role::mark(context.clone(), self.client(), self.interner.clone(), node);
        context.shutdown.spawn(mark);
        self.components.push(context);
    }

    /// A component whose health can be asked for: it runs while somebody holds what is returned.
    fn watched(&self, name: &'static str) -> Arc<()> {
        let alive = Arc::new(());
        let held = Arc::downgrade(&alive);
        self.server.health.register(name, move || match held.strong_count() {
            0 => Err(format!("the {name} has ended")),
            _ => Ok(()),
        });
        alive
    }

    fn start_node(&mut self, config: kubelet::Config) {
        let context = self.context.child();
        let config = kubelet::Config { interner: self.interner.clone(), ..config };
        let name = config.node_name.clone();
        let server = self.server_for(&format!("system:node:{name}"), &["system:nodes"]);
        let client = client::connection::for_component(server, "default", self.node_requests.clone());
        let ready = self.server.nodes.starts(name);
        let running = context.clone();
        context
            .shutdown
            .spawn(async move { report("kubelet", kubelet::run(running, client, config, ready).await) });
        self.components.push(context);
    }

    /// Makes services answer.
    fn start_proxy(&mut self, proxy: network::Proxy) {
        /// Who lists pods for it: `system:kube-proxy` may not, as each of upstream's knows its only node.
        const ACCOUNT: &str = "kube-proxy";
        let context = self.context.child();
        let client = self.client_of("system:kube-proxy");
        let pods = self.client_as(&add_on::user(ACCOUNT), add_on::GROUPS);
        let config = proxy.config(pods, self.interner.clone());
        let (admin, within) = (self.client(), context.clone());
        context.shutdown.spawn(async move {
            let rules =
                serde_json::json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]);
            add_on::make(&within, &admin, &add_on::rights(ACCOUNT, "minik:kube-proxy", rules)).await;
        });
        context.shutdown.spawn_graceful(kube_proxy::run(context.clone(), client, config));
        self.components.push(context);
    }

    /// Makes names known to pods. Whether it runs.
    fn start_dns(&mut self, listening: dns::Listening, service: IpAddr) -> Arc<AtomicBool> {
        let context = self.context.child();
        let client = self.client_as(&add_on::user(dns::ACCOUNT), add_on::GROUPS);
        let serves = Arc::<AtomicBool>::default();
        let (admin, interner, told) = (self.client(), self.interner.clone(), serves.clone());
        let task = dns::run(context.clone(), admin, client, interner, listening, service, told);
        context.shutdown.spawn(task);
        self.components.push(context);
        serves
    }

    /// Makes the kinds of the Gateway API.
    fn install_gateway_api(&mut self) {
        let context = self.context.child();
        let (admin, within) = (self.client(), context.clone());
        context.shutdown.spawn(async move {
            add_on::make(&within, &admin, &ingress::gateway::definitions()).await;
        });
        self.components.push(context);
    }

    /// Lets requests in from outside, at an address that Ingresses tell.
    fn start_ingress(&mut self, ingress: Ingress, published: IpAddr) -> Result<()> {
        let context = self.context.child();
        let client = self.client_as("minik:ingress", &[]);
        let names = ["ingress.minik.internal".to_owned()];
        let identity = self.server.pki.serving(&names, &[], context.clock.now(), &context.rng)?;
        let config = ingress::Config {
            addresses: ingress.addresses,
            http_ports: ingress.http_ports,
            https_ports: ingress.https_ports,
            published,
            certificate: (identity.cert, identity.key),
            interner: self.interner.clone(),
        };
        context.shutdown.spawn_graceful(ingress::run(context.clone(), client, config));
        self.components.push(context);
        Ok(())
    }

    /// Enforces network policies.
    fn start_policies(&mut self, config: kube_proxy::policy::Config) {
        const ACCOUNT: &str = "kube-network-policies";
        let context = self.context.child();
        let client = self.client_as(&add_on::user(ACCOUNT), add_on::GROUPS);
        let config = kube_proxy::policy::Config { interner: self.interner.clone(), ..config };
        let (admin, within) = (self.client(), context.clone());
        context.shutdown.spawn_graceful(async move {
            let rules = serde_json::json!([
                {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"]},
            ]);
            let rights = add_on::rights(ACCOUNT, ACCOUNT, rules);
            tokio::select! {
                () = within.shutdown.requested() => return,
                () = add_on::make(&within, &admin, &rights) => {}
            }
            kube_proxy::policy::run(within, client, config).await;
        });
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

    /// Ends everything, containers included. Pods start again with the next start, by their restart policy; with a
    /// [`Builder::shutdown_grace`] they end first, as Failed.
    ///
    /// # Errors
    /// If the runtime does not answer.
    pub async fn stop_with_workload(self) -> Result<()> {
        let docker = self.docker.clone();
        let kubelets = self.server.nodes.all();
        futures::future::join_all(kubelets.iter().map(|kubelet| kubelet.shut_down_node())).await;
        drop(kubelets);
        // Kubelets first, or they would start again what stops.
        self.stop().await;
        for node in docker {
            stop_pods(&node).await?;
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

/// Logs what ended a component before its context did.
fn report<E: std::error::Error + 'static>(name: &str, ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::error!("{name} ended: {}", chain(&error));
    }
}
