//! What the scheduler watches, and what each change means to its cache and its queue.
//!
//! **Contract**: changes of one kind are applied in order; nothing is decided before every kind has told everything
//! that existed.
//! **Upstream**: `pkg/scheduler/eventhandlers.go`.

use crate::framework::{ClusterEvent, PodInfo};
use crate::scheduler::{Act, Scheduler};
use api::k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use api::k8s_openapi::api::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use api::k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use api::k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use api::pod::node_name;
use api::selector::LabelSelector;
use client::{Delta, Informers, Key, Watched};
use component_base::Context;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Follows everything; says how many kinds that is.
pub(crate) fn start(informers: &Informers, context: &Context, acts: &mpsc::UnboundedSender<Act>) -> usize {
    let mut count = 0;
    macro_rules! watch {
        ($kind:ty, $apply:expr) => {
            follow::<$kind>(informers, context, acts.clone(), $apply);
            count += 1;
        };
    }
    watch!(Node, node);
    watch!(Pod, pod);
    watch!(Namespace, |scheduler, delta| {
        let Some((namespace, there)) = state(&delta) else { return };
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let all = &mut scheduler.cache.snapshot.namespaces;
        if there {
            let labels = namespace.metadata.labels.clone().unwrap_or_default();
            if all.insert(name, labels.clone()).is_some_and(|old| old != labels) {
                scheduler.happened(&ClusterEvent::NamespaceChanged);
            }
        } else {
            all.remove(&name);
        }
    });
    watch!(Service, |scheduler, delta| {
        let Some((service, there)) = state(&delta) else { return };
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|_| there);
        scheduler.cache.snapshot.set_service(&Key::of(service.as_ref()), selector);
    });
    watch!(ReplicationController, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let labels = object.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|_| there);
        let selector = labels.map(crate::framework::equal_to);
        scheduler.cache.snapshot.set_workload("ReplicationController", Key::of(object.as_ref()), selector);
    });
    watch!(ReplicaSet, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let selector = object.spec.as_ref().map(|spec| &spec.selector).filter(|_| there);
        let selector = selector.map(|selector| LabelSelector::from_object(Some(selector)));
        scheduler.cache.snapshot.set_workload("ReplicaSet", Key::of(object.as_ref()), selector);
    });
    watch!(StatefulSet, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let selector = object.spec.as_ref().map(|spec| &spec.selector).filter(|_| there);
        let selector = selector.map(|selector| LabelSelector::from_object(Some(selector)));
        scheduler.cache.snapshot.set_workload("StatefulSet", Key::of(object.as_ref()), selector);
    });
    watch!(PodDisruptionBudget, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let key = Key::of(object.as_ref());
        let all = &mut scheduler.cache.snapshot.budgets;
        if there { drop(all.insert(key, object.clone())) } else { drop(all.remove(&key)) }
    });
    watch!(PersistentVolumeClaim, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let key = Key::of(object.as_ref());
        let all = &mut scheduler.cache.snapshot.volumes.claims;
        if there {
            all.insert(key, object.clone());
            scheduler.happened(&ClusterEvent::ClaimChanged(object.clone()));
        } else {
            all.remove(&key);
        }
    });
    watch!(PersistentVolume, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let name = object.metadata.name.clone().unwrap_or_default();
        let all = &mut scheduler.cache.snapshot.volumes.volumes;
        if there {
            drop(all.insert(name, object.clone()))
        } else {
            drop(all.remove(&name))
        }
        storage_changed(scheduler, there);
    });
    watch!(StorageClass, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let name = object.metadata.name.clone().unwrap_or_default();
        let all = &mut scheduler.cache.snapshot.volumes.classes;
        if there {
            drop(all.insert(name, object.clone()))
        } else {
            drop(all.remove(&name))
        }
        storage_changed(scheduler, there);
    });
    watch!(CSINode, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let name = object.metadata.name.clone().unwrap_or_default();
        let all = &mut scheduler.cache.snapshot.volumes.csi_nodes;
        if there {
            drop(all.insert(name, object.clone()))
        } else {
            drop(all.remove(&name))
        }
        storage_changed(scheduler, true);
    });
    watch!(CSIDriver, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let name = object.metadata.name.clone().unwrap_or_default();
        let all = &mut scheduler.cache.snapshot.volumes.drivers;
        if there {
            drop(all.insert(name, object.clone()))
        } else {
            drop(all.remove(&name))
        }
        storage_changed(scheduler, true);
    });
    watch!(CSIStorageCapacity, |scheduler, delta| {
        let Some((object, there)) = state(&delta) else { return };
        let key = Key::of(object.as_ref());
        let all = &mut scheduler.cache.snapshot.volumes.capacities;
        if there {
            drop(all.insert(key, object.clone()))
        } else {
            drop(all.remove(&key))
        }
        storage_changed(scheduler, there);
    });
    watch!(ResourceClaim, |scheduler, delta| {
        let Some((claim, there)) = state(&delta) else { return };
        let devices = &mut scheduler.cache.snapshot.devices;
        if there {
            let old = devices.set_claim(claim.clone());
            scheduler.happened(&ClusterEvent::ResourceClaimChanged { old, new: claim.clone() });
        } else {
            devices.remove_claim(claim);
            if api::resource_claim::allocation(claim).is_some() {
                scheduler.happened(&ClusterEvent::DevicesChanged);
            }
        }
    });
    watch!(DeviceClass, |scheduler, delta| {
        let Some((class, there)) = state(&delta) else { return };
        let name = class.metadata.name.clone().unwrap_or_default();
        let all = &mut scheduler.cache.snapshot.devices.classes;
        if there {
            drop(all.insert(name, class.clone()))
        } else {
            drop(all.remove(&name))
        }
        // It may stand for a resource that nodes lack.
        scheduler.forget();
        scheduler.happened(&ClusterEvent::DevicesChanged);
    });
    watch!(ResourceSlice, |scheduler, delta| {
        let Some((slice, there)) = state(&delta) else { return };
        let name = slice.metadata.name.clone().unwrap_or_default();
        scheduler.cache.snapshot.devices.set_slice(&name, there.then(|| slice.clone()));
        scheduler.happened(&ClusterEvent::DevicesChanged);
    });
    count
}

fn follow<K: Watched>(
    informers: &Informers,
    context: &Context,
    acts: mpsc::UnboundedSender<Act>,
    apply: fn(&mut Scheduler, Delta<K>),
) {
    let mut changes = informers.of::<K>().subscribe();
    context.shutdown.spawn(async move {
        while let Some(delta) = changes.recv().await {
            let act: Act = match delta {
                Delta::Synced => Box::new(|scheduler| scheduler.synced += 1),
                delta => Box::new(move |scheduler| apply(scheduler, delta)),
            };
            // Without a receiver the scheduler has ended.
            if acts.send(act).is_err() {
                return;
            }
        }
    });
}

/// The object in its latest state, and whether it is still there.
fn state<K>(delta: &Delta<K>) -> Option<(&Arc<K>, bool)> {
    delta.object().map(|object| (object, !matches!(delta, Delta::Deleted(_))))
}

fn storage_changed(scheduler: &mut Scheduler, may_help: bool) {
    if may_help {
        scheduler.happened(&ClusterEvent::StorageChanged);
    }
}

fn node(scheduler: &mut Scheduler, delta: Delta<Node>) {
    let event = match delta {
        Delta::Synced => None,
        Delta::Deleted(node) => {
            scheduler.cache.remove_node(node.metadata.name.as_deref().unwrap_or_default())
        }
        Delta::Added(node) | Delta::Updated { new: node, .. } => Some(scheduler.cache.set_node(node)),
    };
    if let Some(event) = event {
        scheduler.happened(&event);
    }
}

fn pod(scheduler: &mut Scheduler, delta: Delta<Pod>) {
    match delta {
        Delta::Synced => {}
        Delta::Deleted(pod) => {
            scheduler.queue.remove(&Key::of(pod.as_ref()));
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            scheduler.cache.snapshot.remove_nomination(uid);
            let event = scheduler.cache.remove_pod(uid);
            event.into_iter().for_each(|event| scheduler.happened(&event));
        }
        Delta::Added(pod) => pod_is(scheduler, pod, true),
        Delta::Updated { old, new } => {
            let nominated = |pod: &Pod| pod.status.as_ref().and_then(|s| s.nominated_node_name.clone());
            let moved = nominated(&old) != nominated(&new);
            pod_is(scheduler, new, moved);
        }
    }
}

/// `nominated`: the API's word on where room is kept for it is new.
fn pod_is(scheduler: &mut Scheduler, pod: Arc<Pod>, nominated: bool) {
    let is_placed = !node_name(&pod).is_empty();
    let pod = Arc::new(match is_placed && !scheduler.extenders.are_shown_victims() {
        true => PodInfo::placed(&pod),
        false => PodInfo::new(pod),
    });
    if is_placed {
        scheduler.queue.remove(&pod.key());
        scheduler.cache.snapshot.remove_nomination(pod.uid());
        let event = scheduler.cache.set_pod(pod);
        event.into_iter().for_each(|event| scheduler.happened(&event));
        return;
    }
    let Some(profile) = scheduler.profile_of(&pod) else { return };
    if pod.is_terminal() || pod.is_terminating() {
        scheduler.queue.remove(&pod.key());
        scheduler.cache.snapshot.remove_nomination(pod.uid());
        return;
    }
    // Assumed: its binding is under way.
    if scheduler.cache.is_placed(pod.uid()) {
        return;
    }
    // The API server has written that it is gated.
    let gates = scheduler.profiles[profile].plugins.iter().filter(|enabled| enabled.enqueues);
    if gates.map(|enabled| &enabled.plugin).any(|plugin| plugin.pre_enqueue(&pod).is_err()) {
        return;
    }
    if nominated {
        let node = pod.nominated_node().to_owned();
        scheduler.cache.snapshot.nominate(pod.clone(), &node);
    }
    scheduler.enqueue(pod, profile);
}
