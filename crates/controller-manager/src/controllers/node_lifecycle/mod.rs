//! Nodes that fall silent are marked unknown, and nodes are tainted by their conditions.
//!
//! **Contract**: taints by condition follow a node's change at once; silence is found by upstream's period, and pods
//! are driven out (`NoExecute`) at upstream's pace.
//! **Not here**: deleting the pods (`taint_eviction`), making nodes' conditions (the kubelet).
//! **Upstream**: `pkg/controller/nodelifecycle`.

mod plan;
mod zones;

use crate::error::code;
use crate::{Error, Manager};
use api::well_known::namespace::KUBE_NODE_LEASE;
use client::events::{Type, reference};
use client::{Action, Delta, Informer, Key, Queue, Recorder, Selection, controller};
use component_base::logging;
use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, ObjectReference, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use plan::{Eviction, Grace, Health};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zones::Limiters;

/// As upstream calls it.
pub const NAME: &str = "node-lifecycle-controller";

/// The component of its events.
const COMPONENT: &str = "node-controller";
/// Nodes worked on at a time (`scheduler.UpdateWorkerSize`).
const WORKERS: usize = 8;

/// What the workers are given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// Bring a node's taints in line with its conditions.
    Taints(String),
    /// Tell that the pods of a node that stopped being ready are not ready.
    PodsNotReady(String),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taints(node) | Self::PodsNotReady(node) => f.write_str(node),
        }
    }
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let recorder = Recorder::new(manager.client.clone(), COMPONENT, None, &manager.context);
    let nodes = manager.informers.of::<Node>();
    manager.context.shutdown.spawn(follow(nodes.clone(), recorder, queue.clone()));
    manager.context.shutdown.spawn(monitor(manager.clone(), nodes.clone()));
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |work| {
        let (manager, nodes) = (manager.clone(), nodes.clone());
        async move {
            match work {
                Work::Taints(name) => {
                    let Some(node) = nodes.get("", &name) else { return Ok(Action::Done) };
                    taint(&manager, &node, Eviction::Held).await
                }
                Work::PodsNotReady(name) => mark_pods_not_ready(&manager, &name).await,
            }
        }
    })
    .await;
}

/// Turns changes of nodes into work and events.
async fn follow(nodes: Informer<Node>, recorder: Recorder, queue: Queue<Work>) {
    let mut changes = nodes.subscribe();
    while let Some(delta) = changes.recv().await {
        let Some(node) = delta.object() else { continue };
        let name = Key::of(node.as_ref()).name;
        let about = ObjectReference { resource_version: None, ..reference(node.as_ref()) };
        match &delta {
            Delta::Added(_) => {
                let message = format!("Node {name} event: Registered Node {name} in Controller");
                recorder.event(&about, Type::Normal, "RegisteredNode", message);
            }
            Delta::Deleted(_) => {
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                recorder.event(&about, Type::Normal, "RemovingNode", message);
                continue;
            }
            Delta::Updated { old, new } if plan::is_ready(old) && !plan::is_ready(new) => {
                let message = format!("Node {name} status is now: NodeNotReady");
                recorder.event(&about, Type::Normal, "NodeNotReady", message);
                queue.add(Work::PodsNotReady(name.clone()));
            }
            _ => {}
        }
        queue.add(Work::Taints(name));
    }
}

/// Looks at every node by the monitor's period: who has fallen silent, whose pods are to be driven out.
async fn monitor(manager: Manager, nodes: Informer<Node>) {
    let leases = manager.informers.select::<Lease>(Selection::all().namespace(KUBE_NODE_LEASE));
    nodes.synced().await;
    leases.synced().await;
    let seconds = |span| SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    let grace = Grace {
        monitor: seconds(manager.config.node_monitor_grace_period),
        startup: seconds(manager.config.node_startup_grace_period),
    };
    let (mut known, mut limiters) = (BTreeMap::<String, Health>::new(), Limiters::new());
    let (start, origin) = (manager.context.clock.now(), manager.context.clock.instant());
    loop {
        let mut all = nodes.list();
        let now = manager.context.clock.now();
        // A laptop that wakes up has not heard from its nodes for hours, and they are well.
        let awake = start.checked_add(manager.context.clock.instant().duration_since(origin)).unwrap_or(now);
        let mut health = BTreeMap::new();
        for node in &mut all {
            let name = Key::of(node.as_ref()).name;
            let lease = leases.get(KUBE_NODE_LEASE, &name);
            let seen = plan::observe(known.get(&name), node, lease.as_deref(), awake);
            if let Some(conditions) = plan::silent(node, &seen, grace, awake, now) {
                tracing::info!(controller = NAME, node = %name, "node has not been updated for too long");
                match update_conditions(&manager, &name, node, &conditions).await {
                    Ok(updated) => updated.into_iter().for_each(|updated| *node = Arc::new(updated)),
                    Err(error) => log(Err(error)),
                }
            }
            health.insert(name, seen);
        }
        known = health;
        let rates = zones::rates(&all);
        for node in all.iter().filter(|node| plan::awaits_eviction(node)) {
            let zone = zones::zone(node);
            let rate = rates.get(&zone).copied().unwrap_or_default();
            if zones::permit(&mut limiters, &zone, rate, now) {
                log(taint(&manager, node, Eviction::Allowed).await.map(drop));
            }
        }
        manager.context.clock.sleep(manager.config.node_monitor_period).await;
    }
}

/// The next round tries again.
fn log(result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(controller = NAME, error = %logging::Chain(&error), "node not updated, will retry");
    }
}

/// The node as it is then; none if somebody else was faster.
async fn update_conditions(
    manager: &Manager,
    name: &str,
    node: &Node,
    conditions: &[NodeCondition],
) -> Result<Option<Node>, Error> {
    let change = json!({
        "metadata": { "resourceVersion": node.metadata.resource_version },
        "status": { "conditions": conditions },
    });
    let api = Api::<Node>::all(manager.client.clone());
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(change)).await {
        // It has changed or is gone: perhaps it lives.
        Err(error) if [404, 409].contains(&code(&error)) => Ok(None),
        result => result.map(Some).map_err(Error::request("update the status of", format!("node {name}"))),
    }
}

async fn taint(manager: &Manager, node: &Node, eviction: Eviction) -> Result<Action, Error> {
    let Some(taints) = plan::taints(node, eviction, manager.context.clock.now()) else {
        return Ok(Action::Done);
    };
    let taints: Option<Vec<Taint>> = (!taints.is_empty()).then_some(taints);
    let change = json!({
        "metadata": { "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": taints },
    });
    let name = Key::of(node).name;
    let api = Api::<Node>::all(manager.client.clone());
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await {
        // It has changed or is gone: the watch tells, and we come here again.
        Err(error) if [404, 409].contains(&code(&error)) => Ok(Action::Done),
        Err(error) => Err(Error::request("taint", format!("node {name}"))(error)),
        Ok(_) => Ok(Action::Done),
    }
}

/// Services must not wait for a kubelet that cannot speak.
async fn mark_pods_not_ready(manager: &Manager, node: &str) -> Result<Action, Error> {
    manager.informers.of::<Pod>().synced().await;
    let pods = manager.pods_by_node().get(node);
    for pod in pods.iter().filter(|pod| api::pod::is_ready(pod)) {
        let Key { namespace, name } = Key::of(pod.as_ref());
        let mut conditions =
            pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        for ready in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
            ready.status = "False".to_owned();
            ready.last_transition_time = Some(Time(manager.context.clock.now()));
        }
        let change = json!({
            "metadata": { "uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version },
            "status": { "conditions": conditions },
        });
        let api = Api::<Pod>::namespaced(manager.client.clone(), &namespace);
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(change)).await {
            Err(error) if code(&error) == 404 => {}
            Err(error) => {
                return Err(Error::request("update the status of", format!("pod {namespace}/{name}"))(error));
            }
            Ok(_) => {}
        }
    }
    Ok(Action::Done)
}
