//! Pods that nobody ends or keeps are deleted: finished ones over a threshold, those of nodes that are gone, and
//! deleted ones that never had a node.
//!
//! **Upstream**: `pkg/controller/podgc`.

mod plan;

use super::disruption;
use crate::error::code;
use crate::{Error, Manager};
use component_base::logging;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use plan::Quarantine;
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
        pods.synced().await;
        nodes.synced().await;
        let mut quarantine = Quarantine::new();
        loop {
            round(&manager, &pods.list(), &nodes.list(), &mut quarantine).await;
            manager.context.clock.sleep(PERIOD).await;
        }
    });
    context.shutdown.requested().await;
}

async fn round(
    manager: &Manager,
    pods: &[std::sync::Arc<Pod>],
    nodes: &[std::sync::Arc<Node>],
    quarantine: &mut Quarantine,
) {
    let now = manager.context.clock.now();
    for pod in plan::terminated(pods, manager.config.terminated_pod_threshold) {
        log(delete(manager, &pod, Why::Finished).await);
    }
    for node in plan::missing_nodes(pods, nodes, quarantine, now) {
        // The cache may lag: only the server knows that it is gone.
        match Api::<Node>::all(manager.client.clone()).get_opt(&node).await {
            Ok(Some(_)) => {
                quarantine.remove(&node);
            }
            Ok(None) => {
                for pod in plan::on_node(pods, &node) {
                    log(delete(manager, &pod, Why::Orphaned).await);
                }
            }
            Err(error) => log(Err(Error::request("get", format!("node {node}"))(error))),
        }
    }
    for pod in plan::unscheduled_terminating(pods) {
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
