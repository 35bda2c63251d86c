//! Pods go whose devices have `NoExecute` taints that they do not tolerate (any longer).
//!
//! **Contract**: nothing is remembered but the time to look again: a taint that goes calls an eviction off by itself.
//! **Not here**: DeviceTaintRules, an API that is off by default.
//! **Upstream**: `pkg/controller/devicetainteviction`.

mod plan;

use super::disruption;
use crate::{Error, Manager};
use api::resource_claim::{named, of_pod};
use client::events::{Type, reference};
use client::{Action, Delta, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use plan::Decision;
use std::sync::Arc;
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "device-taint-eviction-controller";

/// Pods worked on at a time (`--concurrent-device-taint-eviction-syncs`).
const WORKERS: usize = 10;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (pods, claims) = (manager.informers.of::<Pod>(), manager.informers.of::<ResourceClaim>());
    let slices = manager.informers.of::<ResourceSlice>();
    let by_pool = slices.index("pool", |slice| vec![plan::pool(&slice.spec.driver, &slice.spec.pool.name)]);
    let users = claims.index("pool", |claim| {
        plan::results(claim).iter().map(|result| plan::pool(&result.driver, &result.pool)).collect()
    });
    pods.feed(&manager.context, &queue, |pod| (!of_pod(pod).is_empty()).then(|| Key::of(pod)));
    claims.feed(&manager.context, &queue, consumers);
    let (mut changes, ready) = (slices.subscribe(), queue.clone());
    manager.context.shutdown.spawn(async move {
        while let Some(delta) = changes.recv().await {
            let Some(slice) = delta.object() else { continue };
            let before = matches!(&delta, Delta::Updated { old, .. } if plan::drives_out(old));
            if before || plan::drives_out(slice) {
                let pool = plan::pool(&slice.spec.driver, &slice.spec.pool.name);
                let keys = users.get(&pool).into_iter().flat_map(|claim| consumers(&claim));
                keys.for_each(|key| ready.add(key));
            }
        }
    });
    pods.synced().await;
    claims.synced().await;
    slices.synced().await;
    let recorder = Recorder::new(manager.client.clone(), NAME, None, &manager.context);
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let (manager, recorder) = (manager.clone(), recorder.clone());
        let (pod, claims, by_pool) = (pods.get_key(&key), claims.clone(), by_pool.clone());
        async move {
            let Some(pod) = pod else { return Ok(Action::Done) };
            let names = of_pod(&pod).iter().filter_map(|entry| named(&pod, entry).name());
            let claims: Vec<Arc<ResourceClaim>> =
                names.filter_map(|name| claims.get(&key.namespace, name)).collect();
            let now = manager.context.clock.now();
            match plan::decide(&pod, &claims, |pool| by_pool.get(pool), now) {
                Decision::Stay => Ok(Action::Done),
                Decision::GoAt(at) => {
                    let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
                    Ok(Action::RequeueAfter(wait + Duration::from_millis(1)))
                }
                Decision::Go => evict(&manager, &recorder, &pod).await,
            }
        }
    })
    .await;
}

/// The pods that use a claim.
fn consumers(claim: &ResourceClaim) -> Vec<Key> {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    let reserved = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    let pods = reserved.filter(|consumer| consumer.resource == "pods");
    pods.map(|consumer| Key::new(namespace, &consumer.name)).collect()
}

async fn evict(manager: &Manager, recorder: &Recorder, pod: &Pod) -> Result<Action, Error> {
    let about = ObjectReference { resource_version: None, ..reference(pod) };
    recorder.event(&about, Type::Normal, "DeviceTaintManagerEviction", "Marking for deletion".to_owned());
    let reason = "DeletionByDeviceTaintManager";
    disruption::delete(manager, pod, reason, "Device Taint manager: deleting due to NoExecute taint").await?;
    Ok(Action::Done)
}
