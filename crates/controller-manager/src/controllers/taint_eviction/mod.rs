//! Pods leave nodes whose `NoExecute` taints they do not tolerate (any longer).
//!
//! **Contract**: nothing is remembered but the time to look again: a taint that goes, or a toleration that comes,
//! calls an eviction off by itself.
//! **Upstream**: `pkg/controller/tainteviction`.

mod plan;

use super::disruption;
use crate::{Error, Manager};
use client::events::{Type, reference};
use client::{Action, Delta, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use plan::Decision;
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "taint-eviction-controller";

/// Pods worked on at a time (`UpdateWorkerSize`).
const WORKERS: usize = 8;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (pods, nodes) = (manager.informers.of::<Pod>(), manager.informers.of::<Node>());
    pods.feed(&manager.context, &queue, |pod| (!api::pod::node_name(pod).is_empty()).then(|| Key::of(pod)));
    let (mut changes, by_node, ready) = (nodes.subscribe(), manager.pods_by_node(), queue.clone());
    manager.context.shutdown.spawn(async move {
        while let Some(delta) = changes.recv().await {
            let node = match &delta {
                Delta::Added(node) if plan::no_execute(node).next().is_some() => node,
                Delta::Updated { old, new } if !plan::no_execute(old).eq(plan::no_execute(new)) => new,
                _ => continue,
            };
            let name = Key::of(node.as_ref()).name;
            by_node.get(&name).iter().for_each(|pod| ready.add(Key::of(pod.as_ref())));
        }
    });
    nodes.synced().await;
    let recorder = Recorder::new(manager.client.clone(), NAME, None, &manager.context);
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let (manager, recorder) = (manager.clone(), recorder.clone());
        let pod = pods.get_key(&key);
        let node = pod.as_ref().and_then(|pod| nodes.get("", api::pod::node_name(pod)));
        async move {
            match (pod, node) {
                (Some(pod), Some(node)) => reconcile(&manager, &recorder, &pod, &node).await,
                // Pods of nodes that are gone are the garbage collector's.
                _ => Ok(Action::Done),
            }
        }
    })
    .await;
}

async fn reconcile(manager: &Manager, recorder: &Recorder, pod: &Pod, node: &Node) -> Result<Action, Error> {
    let now = manager.context.clock.now();
    match plan::decide(pod, node, now) {
        Decision::Stay => Ok(Action::Done),
        Decision::LeaveAt(at) => {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
            Ok(Action::RequeueAfter(wait + Duration::from_millis(1)))
        }
        Decision::Leave => evict(manager, recorder, pod).await,
    }
}

async fn evict(manager: &Manager, recorder: &Recorder, pod: &Pod) -> Result<Action, Error> {
    let Key { namespace, name } = Key::of(pod);
    let about = ObjectReference { resource_version: None, ..reference(pod) };
    let message = format!("Marking for deletion Pod {namespace}/{name}");
    recorder.event(&about, Type::Normal, "TaintManagerEviction", message);
    let reason = "DeletionByTaintManager";
    disruption::delete(manager, pod, reason, "Taint manager: deleting due to NoExecute taint").await?;
    Ok(Action::Done)
}
