//! Pods go where their volumes can be used; claims that wait for their pod get a volume there.
//!
//! **Contract**: decides only. What is to be written before the pod is bound is in [`Plugin::prepare`]'s answer.
//! **Upstream**: `pkg/scheduler/framework/plugins/volumebinding`.

use crate::framework::{
    ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Preparation, Rejection, Snapshot, View, is_bound,
};
use api::k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm};
use api::k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};
use api::pod::parse_quantity;
use api::selector::LabelSelector;
use api::volume::{NO_PROVISIONER, capacity, class_of, is_for, misfit, reaches, requested};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) const NAME: &str = "VolumeBinding";

pub(crate) struct VolumeBinding;

/// The claims of one pod.
#[derive(Clone, Default)]
struct Claims {
    bound: Vec<Arc<PersistentVolumeClaim>>,
    /// They wait for their first pod: this one.
    waiting: Vec<Arc<PersistentVolumeClaim>>,
}

/// What is to be done on one node, or why that is impossible.
type Found = Result<Vec<Preparation>, Vec<Cow<'static, str>>>;

fn claims(pod: &PodInfo, cluster: &Snapshot) -> Result<Claims, String> {
    let mut claims = Claims::default();
    let mut immediate = false;
    for used in &pod.claims {
        let name = &used.name;
        let claim = match cluster.volumes.claim(pod, used) {
            Some(claim) => claim,
            None if used.ephemeral => {
                let wait = "waiting for ephemeral volume controller to create the persistentvolumeclaim";
                return Err(format!("{wait} \"{name}\""));
            }
            None => return Err(format!("persistentvolumeclaim \"{name}\" not found")),
        };
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            ));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        let owned = || claim.metadata.owner_references.iter().flatten().any(|owner| owner.uid == pod.uid());
        if used.ephemeral && !owned() {
            return Err(format!(
                "PVC {}/{name} was not created for pod {}/{} (pod is not owner)",
                pod.namespace(),
                pod.namespace(),
                pod.name()
            ));
        }
        if is_bound(claim) {
            claims.bound.push(claim.clone());
        } else if volume.is_empty() && waits(claim, cluster) {
            claims.waiting.push(claim.clone());
        } else {
            immediate = true;
        }
    }
    if immediate {
        return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
    }
    Ok(claims)
}

fn class<'a>(claim: &PersistentVolumeClaim, cluster: &'a Snapshot) -> Option<&'a Arc<StorageClass>> {
    cluster.volumes.class(class_of(claim)?)
}

fn waits(claim: &PersistentVolumeClaim, cluster: &Snapshot) -> bool {
    class(claim, cluster)
        .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// What a node needs for the pod's claims.
fn find(claims: &Claims, cluster: &Snapshot, node: &Node) -> Found {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let mut reasons = Vec::new();
    let (mut reachable, mut present) = (true, true);
    for claim in &claims.bound {
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        match cluster.volumes.volume(volume) {
            None => present = false,
            Some(volume) => reachable &= reaches(volume, node),
        }
    }
    if !reachable {
        reasons.push(Cow::Borrowed("node(s) didn't match PersistentVolume's node affinity"));
    }
    let mut preparations = Vec::new();
    let mut taken = BTreeSet::new();
    let mut bindable = true;
    let mut roomy = true;
    // The smallest first, so that it does not take what only a larger one could use.
    let mut waiting: Vec<_> = claims.waiting.iter().collect();
    waiting.sort_by_key(|claim| requested(claim));
    for claim in waiting {
        let selected = cluster.volumes.selected_node(claim);
        if selected.is_some_and(|selected| selected != name) {
            bindable = false;
            break;
        }
        if selected.is_none()
            && let Some(preparation) = existing(claim, cluster, node, &mut taken)
        {
            preparations.push(preparation);
            continue;
        }
        match provision(claim, cluster, node) {
            Ok(()) => {
                preparations.push(Preparation::Provision { claim: claim.clone(), node: name.to_owned() });
            }
            Err(Unmade::NowhereHere) => bindable = false,
            Err(Unmade::NoRoom) => roomy = false,
        }
    }
    for (met, reason) in [
        (bindable, "node(s) didn't find available persistent volumes to bind"),
        (roomy, "node(s) did not have enough free storage"),
        (present, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
    ] {
        if !met {
            reasons.push(Cow::Borrowed(reason));
        }
    }
    if reasons.is_empty() { Ok(preparations) } else { Err(reasons) }
}

/// The volume meant for a claim, or else the smallest free one that the node can use.
fn existing(
    claim: &Arc<PersistentVolumeClaim>,
    cluster: &Snapshot,
    node: &Node,
    taken: &mut BTreeSet<String>,
) -> Option<Preparation> {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector.map(|selector| LabelSelector::from_object(Some(selector)));
    let named = |volume: &PersistentVolume| volume.metadata.name.clone().unwrap_or_default();
    let fits = |volume: &&Arc<PersistentVolume>| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        volume.metadata.deletion_timestamp.is_none()
            && !taken.contains(&named(volume))
            && misfit(claim, volume).is_none()
            && reaches(volume, node)
            && (is_for(volume, claim)
                || (phase == Some("Available")
                    && selector.as_ref().is_none_or(|s| s.selects(volume.metadata.labels.as_ref()))))
    };
    let best = cluster
        .volumes
        .free_for(claim)
        .filter(fits)
        .min_by_key(|volume| (!is_for(volume, claim), capacity(volume), named(volume)))?;
    taken.insert(named(best));
    Some(Preparation::Bind { volume: best.clone(), claim: claim.clone() })
}

/// Why no volume can be made for a claim on a node.
enum Unmade {
    NowhereHere,
    NoRoom,
}

fn provision(claim: &PersistentVolumeClaim, cluster: &Snapshot, node: &Node) -> Result<(), Unmade> {
    let class = class(claim, cluster).ok_or(Unmade::NowhereHere)?;
    if class.provisioner == NO_PROVISIONER || !allowed(class, node) {
        return Err(Unmade::NowhereHere);
    }
    if !cluster.volumes.tracks_capacity(&class.provisioner) {
        return Ok(());
    }
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let roomy = cluster.volumes.capacities(name).any(|capacity| has_room(capacity, requested(claim), node));
    if roomy { Ok(()) } else { Err(Unmade::NoRoom) }
}

/// Whether a class makes volumes for this node (`allowedTopologies`).
fn allowed(class: &StorageClass, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let holds = |term: &TopologySelectorTerm| {
        let mut expressions = term.match_label_expressions.iter().flatten();
        expressions.all(|e| label(&e.key).is_some_and(|value| e.values.contains(value)))
    };
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    terms.is_empty() || terms.iter().any(holds)
}

fn has_room(capacity: &CSIStorageCapacity, size: i64, node: &Node) -> bool {
    let most = capacity.maximum_volume_size.as_ref().or(capacity.capacity.as_ref());
    most.is_some_and(|most| parse_quantity(most).value() >= size)
        && LabelSelector::from_object(capacity.node_topology.as_ref()).selects(node.metadata.labels.as_ref())
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, cluster: &Snapshot) -> Result<PreFilter, Rejection> {
        if pod.claims.is_empty() {
            return Ok(PreFilter::Skip);
        }
        let claims = claims(pod, cluster).map_err(|reason| Rejection::unresolvable(NAME, reason))?;
        Ok(PreFilter::Run(Box::new(claims)))
    }

    fn sees_pods(&self) -> bool {
        false
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(node) = &node.node else { return Ok(()) };
        let found = find(view.state::<Claims>(), view.cluster, node);
        found
            .map(drop)
            .map_err(|reasons| Rejection { reasons: reasons.into(), ..Rejection::unresolvable(NAME, "") })
    }

    fn prepare(&self, pod: &PodInfo, cluster: &Snapshot, node: &NodeInfo) -> Vec<Preparation> {
        if pod.claims.is_empty() {
            return Vec::new();
        }
        let found = claims(pod, cluster).ok().zip(node.node.as_ref());
        found.and_then(|(claims, node)| find(&claims, cluster, node).ok()).unwrap_or_default()
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        event.concerns_volumes(pod)
    }
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
