//! Pods that nobody ends or keeps are deleted: finished ones over a threshold, those of nodes that are gone, and
//! deleted ones that never had a node.
//!
//! **Contract**: a round costs what there is to delete, not what there is: pods are looked up by node and by end.
//! **Upstream**: `pkg/controller/podgc`.

mod plan;

use super::disruption;
use crate::error::code;
use crate::{Error, Manager};
use client::{Index, Informer};
use component_base::logging;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use plan::{End, Quarantine};
use serde_json::json;
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "pod-garbage-collector-controller";

/// Between two rounds (`gcCheckPeriod`).
const PERIOD: Duration = Duration::from_secs(20);

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let context = manager.context.clone();
    context.shutdown.spawn(async move {
        let (pods, nodes) = (manager.informers.of::<Pod>(), manager.informers.of::<Node>());
        let known = Known {
            by_node: manager.pods_by_node(),
            by_end: pods.index("end", |pod| plan::ends_of(pod).map(|end| end.as_str().to_owned()).collect()),
            nodes: nodes.clone(),
        };
        pods.synced().await;
        nodes.synced().await;
        let mut quarantine = Quarantine::new();
        loop {
            round(&manager, &known, &mut quarantine).await;
            manager.context.clock.sleep(PERIOD).await;
        }
    });
    context.shutdown.requested().await;
}

/// What there is.
struct Known {
    by_node: Index<Pod>,
    by_end: Index<Pod>,
    nodes: Informer<Node>,
}

async fn round(manager: &Manager, known: &Known, quarantine: &mut Quarantine) {
    let (finished, threshold) = (End::Finished.as_str(), manager.config.terminated_pod_threshold);
    let excess = plan::excess(known.by_end.count(finished), threshold);
    if excess > 0 {
        for pod in plan::first_to_go(known.by_end.get(finished), excess) {
            log(delete(manager, &pod, Why::Finished).await);
        }
    }
    let missing = known.by_node.values().into_iter().filter(|node| !known.nodes.contains("", node));
    for node in plan::out_of_quarantine(missing, quarantine, manager.context.clock.now()) {
        // The cache may lag: only the server knows that it is gone.
        match Api::<Node>::all(manager.client.clone()).get_opt(&node).await {
            Ok(Some(_)) => {
                quarantine.remove(&node);
            }
            Ok(None) => {
                for pod in known.by_node.get(&node) {
                    log(delete(manager, &pod, Why::Orphaned).await);
                }
            }
            Err(error) => log(Err(Error::request("get", format!("node {node}"))(error))),
        }
    }
    for pod in known.by_end.get(End::Unscheduled.as_str()) {
        log(delete(manager, &pod, Why::Unscheduled).await);
    }
}

/// The next round tries again.
fn log(result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(controller = NAME, error = %logging::Chain(&error), "pod not collected, will retry");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Finished,
    Orphaned,
    Unscheduled,
}

/// Marks a pod failed if it has not ended, and deletes it at once.
async fn delete(manager: &Manager, pod: &Pod, why: Why) -> Result<(), Error> {
    let (name, namespace) = (pod.metadata.name.as_deref(), pod.metadata.namespace.as_deref());
    let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
    let api = Api::<Pod>::namespaced(manager.client.clone(), namespace);
    tracing::info!(controller = NAME, %namespace, %name, "deleting pod");
    if !api::pod::is_terminal(pod) {
        let mut status = json!({ "phase": "Failed" });
        if why == Why::Orphaned {
            status["conditions"] = json!(disruption::conditions(
                pod,
                "DeletionByPodGC",
                "PodGC: node no longer exists",
                manager.context.clock.now()
            ));
        }
        let change = json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
        match api.patch_status(name, &PatchParams::default(), &Patch::Merge(change)).await {
            Err(error) if code(&error) == 404 => return Ok(()),
            Err(error) => {
                return Err(Error::request("update the status of", format!("pod {namespace}/{name}"))(error));
            }
            Ok(_) => {}
        }
    }
    match api.delete(name, &DeleteParams::default().grace_period(0)).await {
        Err(error) if code(&error) != 404 => {
            Err(Error::request("delete", format!("pod {namespace}/{name}"))(error))
        }
        _ => Ok(()),
    }
}
