//! Pods go where the devices are that their resource claims ask for, and claims get them there.
//!
//! **Contract**: decides only. What is to be written before the pod is bound is in [`Plugin::prepare`]'s answer. A pod
//! without claims costs nothing.
//! **Not here**: who makes claims for pods, and who takes devices back (a controller); who waits for the conditions that
//! devices must meet before a pod is bound (`binding`); what a pod claims by asking for extended resources
//! (`framework::extended`).
//! **Upstream**: `pkg/scheduler/framework/plugins/dynamicresources`. What is wrong with a claim or a class is told by
//! node here; upstream ends the attempt.

mod allocator;
mod capacity;
mod constraint;
mod result;
mod wanted;

use crate::framework::readiness::{has_conditions, is_hopeless};
use crate::framework::{
    ClusterEvent, Devices, NodeInfo, Plugin, PodInfo, PreFilter, Preparation, Rejection, Snapshot, View,
    extended,
};
use api::k8s_openapi::api::core::v1::Node;
use api::k8s_openapi::api::resource::v1::ResourceClaim;
use api::resource_claim::{Named, allocation, can_be_reserved, is_for_pod, is_reserved_for, named, of_pod};
use api::scheduling::node_selector_matches;
use jiff::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;
use wanted::Wanted;

pub(super) const NAME: &str = "DynamicResources";

pub(crate) struct DynamicResources;

/// What a cycle knows of a pod's claims.
struct State {
    /// Those that have their devices.
    allocated: Vec<Arc<ResourceClaim>>,
    wanted: Wanted,
    /// Whether the pod asks for resources for which nodes may have devices.
    is_extended: bool,
}

impl State {
    /// What is to be allocated on a node.
    fn wanted_on<'a>(
        &'a self,
        pod: &PodInfo,
        node: &NodeInfo,
        devices: &Devices,
    ) -> Result<Cow<'a, Wanted>, String> {
        let extended = self.is_extended.then(|| extended::claim(pod, node, devices)).flatten();
        let Some(claim) = extended else { return Ok(Cow::Borrowed(&self.wanted)) };
        let mut wanted = self.wanted.clone();
        wanted.claims.push(wanted::of_claim(&Arc::new(claim), devices)?);
        Ok(Cow::Owned(wanted))
    }
}

/// Whether a pod has claims, or will have.
pub(crate) fn has_claims(pod: &PodInfo, cluster: &Snapshot) -> bool {
    !of_pod(&pod.pod()).is_empty() || extended::is_asked(pod, &cluster.devices)
}

/// A claim that an earlier try has made for the pod's extended resources: it may be for another node.
fn left_over<'a>(pod: &PodInfo, cluster: &'a Snapshot) -> Option<&'a Arc<ResourceClaim>> {
    cluster.devices.extended_claim(pod.namespace(), pod.uid())
}

/// The claims of a pod.
///
/// # Errors
/// If one is not there yet, in upstream's words.
fn claims(pod: &PodInfo, cluster: &Snapshot) -> Result<Vec<Arc<ResourceClaim>>, String> {
    let mut claims = Vec::new();
    let whole = pod.pod();
    for entry in of_pod(&whole) {
        let which = named(&whole, entry);
        let Some(name) = which.name() else {
            if which == Named::NotMade {
                return Err(format!("pod \"{}\": ResourceClaim not created yet", pod.key()));
            }
            continue;
        };
        let claim = cluster
            .devices
            .claim(pod.namespace(), name)
            .ok_or_else(|| format!("could not find ResourceClaim \"{}/{name}\"", pod.namespace()))?;
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("resourceclaim \"{name}\" is being deleted"));
        }
        if matches!(which, Named::Made(_)) {
            is_for_pod(&whole, claim)?;
        }
        claims.push(claim.clone());
    }
    Ok(claims)
}

fn state(pod: &PodInfo, cluster: &Snapshot) -> Result<State, String> {
    let is_extended = extended::is_asked(pod, &cluster.devices);
    let mut state = State { allocated: Vec::new(), wanted: Wanted { claims: Vec::new() }, is_extended };
    for claim in claims(pod, cluster)? {
        if allocation(&claim).is_some() {
            if !can_be_reserved(&claim) && !is_reserved_for(&claim, pod.uid()) {
                return Err("resourceclaim in use".to_owned());
            }
            state.allocated.push(claim);
        } else if cluster.devices.is_in_flight(&claim) {
            return Err(format!(
                "resource claim {} is in the process of being allocated",
                wanted::named(&claim)
            ));
        } else {
            state.wanted.claims.push(wanted::of_claim(&claim, &cluster.devices)?);
        }
    }
    Ok(state)
}

/// Whether a claim's devices can be used on a node.
fn is_available(claim: &ResourceClaim, node: &Node, now: Timestamp) -> bool {
    if is_hopeless(claim, now) {
        return false;
    }
    let selector = allocation(claim).and_then(|allocation| allocation.node_selector.as_ref());
    selector.is_none_or(|selector| node_selector_matches(selector, node))
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_ready(&self, pod: &PodInfo, cluster: &Snapshot) -> Result<(), Rejection> {
        claims(pod, cluster).map(drop).map_err(|why| Rejection::unresolvable(NAME, why))
    }

    fn pre_filter(&self, pod: &PodInfo, cluster: &Snapshot) -> Result<PreFilter, Rejection> {
        if !has_claims(pod, cluster) {
            return Ok(PreFilter::Skip);
        }
        let state = state(pod, cluster).map_err(|why| Rejection::unresolvable(NAME, why))?;
        if state.allocated.is_empty() && state.wanted.claims.is_empty() && !state.is_extended {
            return Ok(PreFilter::Skip);
        }
        Ok(PreFilter::Run(Box::new(state)))
    }

    fn sees_pods(&self) -> bool {
        false
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let (state, devices, info) = (view.state::<State>(), &view.cluster.devices, node);
        let Some(node) = &node.node else { return Ok(()) };
        if state.is_extended && left_over(view.pod, view.cluster).is_some() {
            return Err(Rejection::unresolvable(NAME, "cannot schedule extended resource claim"));
        }
        if !state.allocated.iter().all(|claim| is_available(claim, node, view.cluster.now)) {
            return Err(Rejection::unresolvable(NAME, "resourceclaim not available on the node"));
        }
        let wanted = state.wanted_on(view.pod, info, devices);
        match wanted.and_then(|wanted| allocator::allocate(&wanted, node, devices)) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Rejection::unresolvable(NAME, "cannot allocate all claims")),
            Err(why) => Err(Rejection::unresolvable(NAME, why)),
        }
    }

    fn prepare(&self, pod: &PodInfo, cluster: &Snapshot, info: &NodeInfo) -> Vec<Preparation> {
        if !has_claims(pod, cluster) {
            return Vec::new();
        }
        let Some((state, node)) = state(pod, cluster).ok().zip(info.node.as_ref()) else { return Vec::new() };
        let Ok(wanted) = state.wanted_on(pod, info, &cluster.devices) else { return Vec::new() };
        let reserved = |claim: &Arc<ResourceClaim>| is_reserved_for(claim, pod.uid());
        let mut all: Vec<_> = state
            .allocated
            .iter()
            .filter(|claim| !reserved(claim) || has_conditions(claim))
            .map(|claim| Preparation::Reserve { claim: claim.clone(), allocation: None })
            .collect();
        let allocations = allocator::allocate(&wanted, node, &cluster.devices);
        let allocations = allocations.ok().flatten().unwrap_or_default();
        for (wanted, allocation) in wanted.claims.iter().zip(allocations) {
            let allocation = Some(Arc::new(allocation));
            all.push(Preparation::Reserve { claim: wanted.claim.clone(), allocation });
        }
        all
    }

    fn give_back(&self, pod: &PodInfo, cluster: &Snapshot) -> Option<Arc<ResourceClaim>> {
        if !has_claims(pod, cluster) {
            return None;
        }
        if let Some(claim) = left_over(pod, cluster) {
            return Some(claim.clone());
        }
        let idle = |claim: &ResourceClaim| {
            let reserved = claim.status.as_ref().and_then(|status| status.reserved_for.as_deref());
            reserved.unwrap_or_default().iter().all(|consumer| consumer.uid == pod.uid())
        };
        let is_lost = |node: &Node, claim: &ResourceClaim| !is_available(claim, node, cluster.now);
        let is_far = |claim: &ResourceClaim| {
            cluster.nodes().filter_map(|info| info.node.as_ref()).any(|node| is_lost(node, claim))
        };
        let claims = state(pod, cluster).ok()?.allocated;
        claims.into_iter().find(|claim| idle(claim) && is_far(claim))
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::DevicesChanged | ClusterEvent::PodUpdated(_) => true,
            ClusterEvent::ResourceClaimChanged { old, new } => {
                let was = old.as_ref().is_some_and(|old| allocation(old).is_some());
                if was && allocation(new).is_none() {
                    return true;
                }
                let name = new.metadata.name.as_deref();
                let whole = pod.pod();
                let uses = of_pod(&whole)
                    .iter()
                    .any(|entry| named(&whole, entry).name().is_some_and(|used| Some(used) == name));
                new.metadata.namespace.as_deref() == Some(pod.namespace())
                    && uses
                    && old.as_ref().is_none_or(|old| old.status != new.status)
            }
            event => event.node_labels().is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
