//! The node agent's loop: pods and runtime events in, workers out.
//!
//! **Contract**: subscribes to the runtime before it lists it, so nothing falls between; when the subscription breaks
//! (the engine restarted) it subscribes again and wakes every worker.
//! **Not here**: what happens to one pod (`pod_worker`), the node's own object (`node_status`).
//! **Upstream**: `syncLoop` of `pkg/kubelet/kubelet.go`, evented PLEG.

use crate::container_config::NodeContext;
use crate::eviction::{self, Eviction, PressureGauge};
use crate::image_gc;
use crate::images::Images;
use crate::ledger::Ledger;
use crate::machine::MachineInfo;
use crate::network_files::ClusterDns;
use crate::node_shutdown::{NodeShutdown, ShutdownGrace};
use crate::own_node::OwnNode;
use crate::pod_worker::{Handle, Node, Told, spawn};
use crate::probes::Results;
use crate::references::References;
use crate::server::Host;
use crate::tally::Tally;
use crate::{Error, Server, gc, node_status, static_pods, volumes};
use api::k8s_openapi::api::core::v1::{Pod, Service};
use client::{Delta, Informers, Interner, Recorder, Selection};
use component_base::{Context, Metrics};
use futures::StreamExt;
use runtime::{EventStream, ImageService, RuntimeEvent, RuntimeService};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// Longest wait between attempts to reach a runtime that is down.
const RUNTIME_RETRY_MAX: Duration = Duration::from_secs(5);
const RUNTIME_RETRY_MIN: Duration = Duration::from_millis(100);

/// After a mirror pod that could not be made.
const MIRROR_RETRY: Duration = Duration::from_secs(10);

/// What the launcher decides about a kubelet.
pub struct Config {
    /// Name of the node.
    pub node_name: String,
    /// Labels of the node, besides those that every node has.
    pub labels: BTreeMap<String, String>,
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
    /// Turns that kubelets of one process take at sending events; none: it sends them at once.
    pub event_turns: Option<Arc<Semaphore>>,
    /// What runs containers.
    pub runtime: Arc<dyn RuntimeService>,
    /// What has images.
    pub images: Arc<dyn ImageService>,
    /// What the node says of its machine.
    pub machine: MachineInfo,
    /// Addresses for pods, one block a family, published as `spec.podCIDRs`; none if the runtime sees to it.
    pub pod_cidrs: Vec<String>,
    /// Where pods keep files on this node; none on a simulated node.
    pub root_dir: Option<PathBuf>,
    /// The images that the nodes with this engine have pulled.
    pub ledger: Ledger,
    /// Where collectors of logs look for those of containers; none if the kubelet may not write there.
    pub log_dir: Option<PathBuf>,
    /// The cluster's DNS service.
    pub cluster_dns: ClusterDns,
    /// What pods get when the node ends.
    pub shutdown_grace: ShutdownGrace,
    /// `v1.36.0`: published as the kubelet's version.
    pub version: String,
    /// Pods that the node runs besides those of the API and of its files, made by [`crate::static_pod`].
    pub static_pods: Vec<Pod>,
}

/// Registers the node and runs its pods until the context ends. `ready` gets the kubelet's server as soon as it can
/// answer.
pub async fn run(
    context: Context,
    client: kube::Client,
    config: Config,
    ready: impl FnOnce(Arc<Server>) + Send,
) -> Result<(), Error> {
    let version = persist(&context, "ask the runtime's version", || config.runtime.version()).await;
    let (name, turns) = (config.node_name.as_str(), config.event_turns.clone());
    let recorder = Recorder::in_turn(client.clone(), "kubelet", Some(name), &context, turns);
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let pods =
        informers.select::<Pod>(Selection::all().fields(&format!("spec.nodeName={}", config.node_name)));

    // Nodes of one machine may share the folder; each has its own in it.
    let root_dir = config.root_dir.as_ref().map(|root| root.join(&config.node_name));
    let pressure = PressureGauge::default();
    let object = match &root_dir {
        Some(_) => OwnNode::watched(&informers, &config.node_name),
        None => OwnNode::remembered(),
    };
    let (evict, evictions) = mpsc::channel(1);
    let probe_metrics = Metrics::default();
    let node = Arc::new(Node {
        probe_results: Results::new(&probe_metrics),
        context: context.clone(),
        client: client.clone(),
        runtime: config.runtime.clone(),
        images: Arc::new(Images::new(config.images.clone(), context.clock.clone(), config.ledger.clone())),
        recorder,
        facts: NodeContext {
            node_name: config.node_name.clone(),
            host_ips: config.machine.addresses.iter().map(ToString::to_string).collect(),
            pod_ips: Vec::new(),
            cpu_millis: config.machine.cpus * 1000,
            memory_capacity: config.machine.memory,
            disk_capacity: config.machine.disk,
            huge_pages: config.machine.huge_pages.clone(),
        },
        scheme: version.runtime_name.clone(),
        pods_dir: root_dir.as_ref().map(|root| root.join(crate::PODS)),
        log_dir: config.log_dir.clone(),
        seccomp_dir: root_dir.as_ref().map(|root| root.join("seccomp")),
        may_mount: root_dir.is_some() && volumes::mount::may_mount(),
        references: References::new(client.clone(), context.clone()),
        services: config.root_dir.as_ref().map(|_| informers.of::<Service>()),
        cluster_dns: config.cluster_dns.clone(),
        pods: pods.clone(),
        started: context.clock.now(),
        pressure: pressure.clone(),
        volumes: volumes::Registry::default(),
        evictions: Tally::default(),
        preemptions: Tally::default(),
        shutting_down: watch::Sender::new(false),
        admitted: Mutex::default(),
        object,
        evict,
    });
    ready(Arc::new(Server::new(Host {
        context: context.clone(),
        node_name: config.node_name.clone(),
        runtime: config.runtime.clone(),
        pods: pods.clone(),
        machine: config.machine.clone(),
        cluster_dns: config.cluster_dns.clone(),
        pod_cidr: config.pod_cidrs.first().cloned(),
        is_real: config.root_dir.is_some(),
        probes: probe_metrics,
        volumes: node.volumes.clone(),
        evictions: node.evictions.clone(),
        preemptions: node.preemptions.clone(),
        shutdown_grace: config.shutdown_grace,
        shutdown: NodeShutdown::new(node.clone(), config.shutdown_grace),
    })));

    let (found, statics) = mpsc::channel(1);
    if let Some(root) = root_dir {
        let (folder, name) = (root.join("manifests"), config.node_name.clone());
        context.shutdown.spawn(static_pods::watch(folder, name, context.clock.clone(), found));
        let engine = config.runtime.status().await.map(|status| status.root_dir).unwrap_or_default();
        let engine = PathBuf::from(engine);
        let (clock, images) = (context.clock.clone(), node.images.clone());
        context.shutdown.spawn(image_gc::run(clock, config.runtime.clone(), images, engine.clone()));
        let watch = eviction::run(node.clone(), pressure.clone(), root, engine);
        context.shutdown.spawn(watch);
    } else {
        // Nobody will tell of files.
        drop(found);
    }
    let given = config.static_pods.iter().cloned().map(Arc::new).collect();
    let status = node_status::Reporter::new(node.clone(), client, config, version);
    context.shutdown.spawn(status.run());
    let mut kubelet = Kubelet {
        node,
        workers: HashMap::new(),
        known: HashMap::new(),
        synced: false,
        statics: None,
        given,
        mirrors: Arc::default(),
    };
    kubelet.run(pods, evictions, statics).await;
    Ok(())
}

/// Calls the runtime until it answers.
async fn persist<T, F>(context: &Context, operation: &str, call: impl Fn() -> F) -> T
where
    F: Future<Output = runtime::Result<T>>,
{
    let mut pause = RUNTIME_RETRY_MIN;
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => tracing::warn!("{operation}: {error}"),
        }
        context.clock.sleep(pause).await;
        pause = (pause * 2).min(RUNTIME_RETRY_MAX);
    }
}

struct Kubelet {
    node: Arc<Node>,
    /// By pod UID; also those that still clean up after a pod that is gone.
    workers: HashMap<String, Handle>,
    /// Pods of which the runtime has something, by UID, until each has its worker.
    known: HashMap<String, Arc<Pod>>,
    /// The API has told of every pod of this node: what else the runtime has is an orphan.
    synced: bool,
    /// Pods from files; none: they were not read yet.
    statics: Option<Vec<Arc<Pod>>>,
    /// Pods from the launcher.
    given: Vec<Arc<Pod>>,
    /// Told when mirrors may not be what they should.
    mirrors: Arc<Notify>,
}

impl Kubelet {
    async fn run(
        &mut self,
        pods: client::Informer<Pod>,
        mut evictions: mpsc::Receiver<Eviction>,
        mut statics: mpsc::Receiver<Vec<Arc<Pod>>>,
    ) {
        let mut events = self.subscribe().await;
        self.list().await;
        let mut deltas = pods.subscribe();
        let mut files_are_read = true;
        loop {
            tokio::select! {
                () = self.node.context.shutdown.requested() => return,
                delta = deltas.recv() => match delta {
                    Some(Delta::Synced) => {
                        self.synced = true;
                        self.start_given();
                        self.collect_orphans();
                        self.mirrors.notify_one();
                    }
                    Some(delta) => self.pod_changed(delta),
                    None => return,
                },
                found = statics.recv(), if files_are_read => match found {
                    Some(found) => self.files_changed(found),
                    // A node on paper has no files.
                    None => {
                        files_are_read = false;
                        self.statics.get_or_insert_default();
                        self.collect_orphans();
                    }
                },
                () = self.mirrors.notified(), if self.synced => {
                    let mut statics = self.given.clone();
                    statics.extend(self.statics.iter().flatten().cloned());
                    let (node, again) = (self.node.clone(), self.mirrors.clone());
                    self.node.context.shutdown.spawn(async move {
                        if !static_pods::mirror(&node, &statics).await {
                            node.context.clock.sleep(MIRROR_RETRY).await;
                            again.notify_one();
                        }
                    });
                }
                Some(eviction) = evictions.recv() => {
                    if let Some(worker) = self.workers.get(&eviction.uid) {
                        worker.evict(eviction);
                    }
                }
                event = events.next() => match event {
                    Some(Ok(event)) => self.runtime_changed(&event),
                    broken => {
                        if let Some(Err(error)) = broken {
                            tracing::warn!("the runtime's events broke off: {error}");
                        }
                        events = self.subscribe().await;
                        self.list().await;
                        self.collect_orphans();
                        for worker in self.workers.values() {
                            worker.wake.notify_one();
                        }
                    }
                },
            }
        }
    }

    /// Subscribes to the runtime's events, waiting until it is there.
    async fn subscribe(&self) -> EventStream {
        let Node { context, runtime, .. } = &*self.node;
        persist(context, "subscribe to the runtime's events", || runtime.events()).await
    }

    /// Learns of which pods the runtime has anything.
    async fn list(&mut self) {
        let Node { context, runtime, .. } = &*self.node;
        self.known = persist(context, "list the runtime's pods", || gc::pods_in(&**runtime)).await;
    }

    fn pod_changed(&mut self, delta: Delta<Pod>) {
        let Some(pod) = delta.object().cloned() else { return };
        if let Some(of) = static_pods::mirrored(&pod) {
            if let Some(worker) = self.workers.get(of) {
                worker.wake.notify_one();
            }
            if matches!(delta, Delta::Deleted(_)) || pod.metadata.deletion_timestamp.is_some() || self.synced
            {
                self.mirrors.notify_one();
            }
            return;
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if matches!(delta, Delta::Deleted(_)) {
            self.workers.retain(|_, worker| !worker.has_ended());
            if let Some(worker) = self.workers.get(&uid) {
                worker.tell(Told::Gone(pod));
            }
            return;
        }
        match self.workers.get(&uid).filter(|worker| !worker.has_ended()) {
            Some(worker) => {
                worker.tell(Told::Present(pod));
            }
            None => {
                let fresh = !self.known.contains_key(&uid);
                self.workers.insert(uid, spawn(self.node.clone(), Told::Present(pod), fresh));
            }
        }
    }

    /// Runs what is in the files now, and ends what is in them no more.
    fn files_changed(&mut self, found: Vec<Arc<Pod>>) {
        let has =
            |list: &[Arc<Pod>], pod: &Pod| list.iter().any(|other| other.metadata.uid == pod.metadata.uid);
        for gone in self.statics.iter().flatten().filter(|pod| !has(&found, pod)) {
            if let Some(worker) = self.workers.get(gone.metadata.uid.as_deref().unwrap_or_default()) {
                worker.tell(Told::Orphan(gone.clone()));
            }
        }
        for pod in &found {
            self.start_static(pod);
        }
        self.statics = Some(found);
        self.collect_orphans();
        self.mirrors.notify_one();
    }

    /// Runs the launcher's pods, once it is known what the API shows of them.
    fn start_given(&mut self) {
        for pod in self.given.clone() {
            self.start_static(&pod);
        }
    }

    fn start_static(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self.workers.get(&uid).is_none_or(Handle::has_ended) {
            let fresh = !self.known.contains_key(&uid);
            let name = |name: &Option<String>| name.clone().unwrap_or_default();
            let mirror = self.node.pods.get(&name(&pod.metadata.namespace), &name(&pod.metadata.name));
            let pod = Arc::new(static_pods::remembering(pod, mirror.as_deref()));
            self.workers.insert(uid, spawn(self.node.clone(), Told::Present(pod), fresh));
        }
    }

    fn runtime_changed(&self, event: &RuntimeEvent) {
        if let Some(worker) = self.workers.get(&event.pod_uid) {
            worker.wake.notify_one();
        }
    }

    /// Ends what the runtime has of pods that the API does not have.
    fn collect_orphans(&mut self) {
        if !self.synced || self.statics.is_none() {
            return;
        }
        let mut known = std::mem::take(&mut self.known);
        for uid in self.node.pods_dir.iter().flat_map(|dir| gc::pods_on_disk(dir)) {
            known.entry(uid.clone()).or_insert_with(|| Arc::new(gc::describe_by_uid(&uid)));
        }
        for (uid, orphan) in known {
            self.workers.entry(uid).or_insert_with(|| spawn(self.node.clone(), Told::Orphan(orphan), false));
        }
    }
}
