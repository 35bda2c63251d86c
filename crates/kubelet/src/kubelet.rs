//! The node agent's loop: pods and runtime events in, workers out.
//!
//! **Contract**: subscribes to the runtime before it lists it, so nothing falls between; when the subscription breaks
//! (the engine restarted) it subscribes again and wakes every worker.
//! **Not here**: what happens to one pod (`pod_worker`), the node's own object (`node_status`).
//! **Upstream**: `syncLoop` of `pkg/kubelet/kubelet.go`, evented PLEG.

use crate::container_config::NodeContext;
use crate::images::Images;
use crate::machine::MachineInfo;
use crate::pod_worker::{Handle, Node, Told, spawn};
use crate::server::Logs;
use crate::{Error, Server, gc, node_status};
use api::k8s_openapi::api::core::v1::Pod;
use client::{Delta, Informers, Recorder, Selection};
use component_base::Context;
use futures::StreamExt;
use runtime::{EventStream, ImageService, RuntimeEvent, RuntimeService};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait between attempts to reach a runtime that is down.
const RUNTIME_RETRY_MAX: Duration = Duration::from_secs(5);
const RUNTIME_RETRY_MIN: Duration = Duration::from_millis(100);

/// What the launcher decides about a kubelet.
pub struct Config {
    /// Name of the node.
    pub node_name: String,
    /// Labels of the node, besides those that every node has.
    pub labels: BTreeMap<String, String>,
    /// What runs containers.
    pub runtime: Arc<dyn RuntimeService>,
    /// What has images.
    pub images: Arc<dyn ImageService>,
    /// What the node says of its machine.
    pub machine: MachineInfo,
    /// Addresses for pods, published as `spec.podCIDR`; none if the runtime sees to it.
    pub pod_cidr: Option<String>,
    /// Where pods keep files on this node; none on a simulated node.
    pub root_dir: Option<PathBuf>,
    /// `v1.36.0`: published as the kubelet's version.
    pub version: String,
}

/// Registers the node and runs its pods until the context ends. `ready` gets the kubelet's server as soon as it can
/// answer.
pub async fn run(
    context: Context,
    client: kube::Client,
    config: Config,
    ready: impl FnOnce(Arc<Server>) + Send,
) -> Result<(), Error> {
    let version = config.runtime.version().await.map_err(Error::runtime("ask the runtime's version"))?;
    let recorder = Recorder::new(client.clone(), "kubelet", Some(&config.node_name), &context);
    let informers = Informers::new(client.clone(), &context);
    let pods =
        informers.select::<Pod>(Selection::all().fields(&format!("spec.nodeName={}", config.node_name)));

    let node = Arc::new(Node {
        context: context.clone(),
        client: client.clone(),
        runtime: config.runtime.clone(),
        images: Images::new(config.images.clone(), context.clock.clone()),
        recorder: recorder.clone(),
        facts: NodeContext {
            node_name: config.node_name.clone(),
            host_ip: config.machine.address.to_string(),
            pod_ips: Vec::new(),
            memory_capacity: config.machine.memory,
        },
        scheme: version.runtime_name.clone(),
        pods_dir: config.root_dir.as_ref().map(|root| root.join("pods")),
    });
    ready(Arc::new(Server::new(Logs::new(config.runtime.clone(), pods.clone()))));

    let status = node_status::Reporter::new(context.clone(), client, config, version, recorder);
    context.shutdown.spawn(status.run());
    let mut kubelet = Kubelet { node, workers: HashMap::new(), known: HashSet::new() };
    kubelet.run(pods).await;
    Ok(())
}

struct Kubelet {
    node: Arc<Node>,
    /// By pod UID.
    workers: HashMap<String, Handle>,
    /// UIDs of pods of which the runtime had something at the start.
    known: HashSet<String>,
}

impl Kubelet {
    async fn run(&mut self, pods: client::Informer<Pod>) {
        let mut events = self.subscribe().await;
        self.known = self.list().await;
        let mut deltas = pods.subscribe();
        loop {
            tokio::select! {
                () = self.node.context.shutdown.requested() => return,
                delta = deltas.recv() => match delta {
                    Some(Delta::Synced) => self.collect_orphans(),
                    Some(delta) => self.pod_changed(delta),
                    None => return,
                },
                event = events.next() => match event {
                    Some(Ok(event)) => self.runtime_changed(&event),
                    broken => {
                        if let Some(Err(error)) = broken {
                            tracing::warn!("the runtime's events broke off: {error}");
                        }
                        events = self.subscribe().await;
                        self.known.extend(self.list().await);
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
        self.persist("subscribe to the runtime's events", || self.node.runtime.events()).await
    }

    /// UIDs of all pods of which the runtime has anything.
    async fn list(&self) -> HashSet<String> {
        self.persist("list the runtime's pods", || gc::pods_in(&*self.node.runtime)).await
    }

    async fn persist<T, F>(&self, operation: &str, call: impl Fn() -> F) -> T
    where
        F: Future<Output = runtime::Result<T>>,
    {
        let mut pause = RUNTIME_RETRY_MIN;
        loop {
            match call().await {
                Ok(value) => return value,
                Err(error) => tracing::warn!("{operation}: {error}"),
            }
            self.node.context.clock.sleep(pause).await;
            pause = (pause * 2).min(RUNTIME_RETRY_MAX);
        }
    }

    fn pod_changed(&mut self, delta: Delta<Pod>) {
        let Some(pod) = delta.object().cloned() else { return };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if matches!(delta, Delta::Deleted(_)) {
            if let Some(worker) = self.workers.remove(&uid) {
                worker.told.send_replace(Told::Gone(pod));
            }
            return;
        }
        match self.workers.get(&uid) {
            Some(worker) => {
                worker.told.send_replace(Told::Present(pod));
            }
            None => {
                let fresh = !self.known.contains(&uid);
                self.workers.insert(uid, spawn(self.node.clone(), Told::Present(pod), fresh));
            }
        }
    }

    fn runtime_changed(&self, event: &RuntimeEvent) {
        if let Some(worker) = self.workers.get(&event.pod_uid) {
            worker.wake.notify_one();
        }
    }

    /// Ends what the runtime has of pods that the API does not have.
    fn collect_orphans(&mut self) {
        for uid in &self.known {
            if !self.workers.contains_key(uid) {
                let orphan = Arc::new(gc::orphan(uid));
                // The worker ends by itself; nobody needs to tell it anything.
                spawn(self.node.clone(), Told::Gone(orphan), false);
            }
        }
    }
}
