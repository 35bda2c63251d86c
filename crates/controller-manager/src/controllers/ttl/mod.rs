//! How long kubelets may keep Secrets and ConfigMaps before they ask again: longer in larger clusters.
//!
//! **Upstream**: `pkg/controller/ttl`.

use crate::error::code;
use crate::{Error, Manager};
use api::well_known::annotation::NODE_TTL;
use client::{Action, Delta, Key, Queue, controller};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// As upstream calls it.
pub const NAME: &str = "ttl-controller";

const WORKERS: usize = 1;
/// Nodes from which and up to which a number of seconds holds, with an overlap so that it does not flap
/// (`ttlBoundaries`).
const BOUNDARIES: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let nodes = manager.informers.of::<Node>();
    let (mut changes, ready, known) = (nodes.subscribe(), queue.clone(), nodes.clone());
    manager.context.shutdown.spawn(async move {
        let mut step = 0;
        while let Some(delta) = changes.recv().await {
            let next = boundary(step, known.count());
            if next != step {
                step = next;
                known.list().iter().for_each(|node| ready.add(Key::of(node.as_ref())));
            }
            match &delta {
                Delta::Added(node) => ready.add(Key::of(node.as_ref())),
                Delta::Updated { new, .. } if present(new) != Some(BOUNDARIES[step].2) => {
                    ready.add(Key::of(new.as_ref()));
                }
                _ => {}
            }
        }
    });
    nodes.synced().await;
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let (manager, node, count) = (manager.clone(), nodes.get_key(&key), nodes.count());
        async move {
            let Some(node) = node else { return Ok(Action::Done) };
            let wanted = BOUNDARIES[boundary(0, count)].2;
            let step =
                BOUNDARIES.iter().position(|(_, _, seconds)| Some(*seconds) == present(&node)).unwrap_or(0);
            let wanted = if present(&node).is_some() { BOUNDARIES[boundary(step, count)].2 } else { wanted };
            if present(&node) != Some(wanted) {
                set(&manager, &key.name, wanted).await?;
            }
            Ok::<_, Error>(Action::Done)
        }
    })
    .await;
}

fn present(node: &Node) -> Option<u32> {
    node.metadata.annotations.as_ref()?.get(NODE_TTL)?.parse().ok()
}

/// The step that holds for so many nodes, coming from another.
fn boundary(mut step: usize, nodes: usize) -> usize {
    while nodes > BOUNDARIES[step].1 {
        step += 1;
    }
    while nodes < BOUNDARIES[step].0 {
        step -= 1;
    }
    step
}

async fn set(manager: &Manager, node: &str, seconds: u32) -> Result<(), Error> {
    let change = json!({"metadata": {"annotations": {NODE_TTL: seconds.to_string()}}});
    match Api::<Node>::all(manager.client.clone())
        .patch(node, &PatchParams::default(), &Patch::Merge(change))
        .await
    {
        Err(error) if code(&error) != 404 => Err(Error::request("patch node", node)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_grows_with_the_cluster_and_does_not_flap() {
        for (step, nodes, expected) in
            [(0, 1, 0), (0, 100, 0), (0, 101, 15), (1, 95, 15), (1, 89, 0), (0, 5000, 300)]
        {
            assert_eq!(BOUNDARIES[boundary(step, nodes)].2, expected, "{step} {nodes}");
        }
    }
}
