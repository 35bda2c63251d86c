//! Claims, volumes and VolumeAttributesClasses stay until nothing uses them any more.
//!
//! **Contract**: what is not about to go gets its finalizer; what is about to go loses it once unused. Before a claim is
//! let go, the server itself is asked for pods: an informer may be behind.
//! **Not here**: the finalizer of new objects, which admission adds.
//! **Upstream**: `pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}`.

mod plan;

use crate::error::code;
use crate::workload::is_conflict;
use crate::{Error, Manager};
use api::well_known::finalizer::{PV_PROTECTION, PVC_PROTECTION, VAC_PROTECTION};
use client::{Action, Informer, Key, Queue, Watched, controller};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::api::{Api, ListParams, PostParams};
use plan::Change;
use serde::Serialize;

/// Of claims, as upstream calls it.
pub const CLAIMS: &str = "persistentvolumeclaim-protection-controller";
/// Of volumes.
pub const VOLUMES: &str = "persistentvolume-protection-controller";
/// Of VolumeAttributesClasses.
pub const CLASSES: &str = "volumeattributesclass-protection-controller";

/// Objects of a kind worked on at a time.
const WORKERS: usize = 1;

/// Protects claims until the manager's context ends.
pub async fn run_claims(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let claims = manager.informers.of::<PersistentVolumeClaim>();
    let pods = manager.informers.of::<Pod>();
    let by_claim = pods.index("protected claim", plan::claims_of);
    claims.feed(&manager.context, &queue, |claim| [Key::of(claim)]);
    pods.feed(&manager.context, &queue, |pod| {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let names = plan::claims_of(pod).into_iter();
        // Values of the index are namespace/name.
        names
            .filter_map(move |value| Some(Key::new(namespace.clone(), value.split_once('/')?.1)))
            .collect::<Vec<_>>()
    });
    claims.synced().await;
    pods.synced().await;
    let (context, client) = (manager.context, manager.client);
    controller::run(CLAIMS, &context, WORKERS, queue, move |key: Key| {
        let (client, claims, by_claim) = (client.clone(), claims.clone(), by_claim.clone());
        async move {
            let Some(claim) = claims.get_key(&key) else { return Ok(Action::Done) };
            let change = plan::change(&claim.metadata, PVC_PROTECTION, || {
                by_claim.get(&key.to_string()).iter().any(|pod| plan::uses(pod, &claim))
            });
            if change == Change::LetGo && is_used_after_all(&client, &claim).await? {
                return Ok(Action::Done);
            }
            write(Api::namespaced(client, &key.namespace), &claims, &*claim, PVC_PROTECTION, change).await
        }
    })
    .await;
}

/// Whether a pod uses the claim that the informer does not know yet.
async fn is_used_after_all(client: &kube::Client, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
    let namespace = Key::of(claim).namespace;
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await;
    let pods = pods.map_err(Error::request("list", format!("pods of {namespace}")))?;
    Ok(pods.items.iter().any(|pod| plan::uses(pod, claim)))
}

/// Protects volumes until the manager's context ends.
pub async fn run_volumes(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let volumes = manager.informers.of::<PersistentVolume>();
    volumes.feed(&manager.context, &queue, |volume| [Key::of(volume)]);
    volumes.synced().await;
    let (context, client) = (manager.context, manager.client);
    controller::run(VOLUMES, &context, WORKERS, queue, move |key: Key| {
        let (client, volumes) = (client.clone(), volumes.clone());
        async move {
            let Some(volume) = volumes.get_key(&key) else { return Ok(Action::Done) };
            let change = plan::change(&volume.metadata, PV_PROTECTION, || plan::is_bound(&volume));
            write(Api::all(client), &volumes, &*volume, PV_PROTECTION, change).await
        }
    })
    .await;
}

/// Protects VolumeAttributesClasses until the manager's context ends.
pub async fn run_classes(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let classes = manager.informers.of::<VolumeAttributesClass>();
    let claims = manager.informers.of::<PersistentVolumeClaim>();
    let volumes = manager.informers.of::<PersistentVolume>();
    classes.feed(&manager.context, &queue, |class| [Key::of(class)]);
    claims.feed(&manager.context, &queue, |claim| {
        plan::classes_of_claim(claim).map(Key::cluster).collect::<Vec<_>>()
    });
    volumes.feed(&manager.context, &queue, |volume| plan::class_of_volume(volume).map(Key::cluster));
    classes.synced().await;
    claims.synced().await;
    volumes.synced().await;
    let (context, client) = (manager.context, manager.client);
    controller::run(CLASSES, &context, WORKERS, queue, move |key: Key| {
        let (client, classes, claims, volumes) =
            (client.clone(), classes.clone(), claims.clone(), volumes.clone());
        async move {
            let Some(class) = classes.get_key(&key) else { return Ok(Action::Done) };
            let change = plan::change(&class.metadata, VAC_PROTECTION, || {
                let name = Some(key.name.as_str());
                claims.list().iter().any(|claim| plan::classes_of_claim(claim).any(|used| Some(used) == name))
                    || volumes.list().iter().any(|volume| plan::class_of_volume(volume) == name)
            });
            write(Api::all(client), &classes, &*class, VAC_PROTECTION, change).await
        }
    })
    .await;
}

/// Adds the finalizer, or takes it away.
async fn write<K>(
    api: Api<K>,
    informer: &Informer<K>,
    object: &K,
    finalizer: &str,
    change: Change,
) -> Result<Action, Error>
where
    K: Watched + Serialize,
{
    let mut object = object.clone();
    let finalizers = object.meta_mut().finalizers.get_or_insert_default();
    match change {
        Change::Nothing => return Ok(Action::Done),
        Change::Protect => finalizers.push(finalizer.to_owned()),
        Change::LetGo => finalizers.retain(|present| present != finalizer),
    }
    let key = Key::of(&object);
    match api.replace(&key.name, &PostParams::default(), &object).await {
        Ok(written) => {
            // What lost its last finalizer is gone, and no later version will come.
            if change == Change::Protect {
                informer.caught_up(written.meta().resource_version.as_deref().unwrap_or_default()).await;
            }
            Ok(Action::Done)
        }
        Err(error) if is_conflict(&error) || code(&error) == 404 => Ok(Action::Done),
        Err(error) => Err(Error::request("update", format!("{} {key}", K::kind(&())))(error)),
    }
}
