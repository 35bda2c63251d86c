//! An allocation as it is written into a claim's status.
//!
//! **Contract**: configuration of classes comes before the claim's own; what holds for all requests names none.
//! **Upstream**: the end of `Allocate` and `createNodeSelector` of `structured`.

use super::wanted::{ClaimWanted, RequestWanted};
use crate::framework::{Capacities, Offer};
use api::k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use api::k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult,
};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A device that is given to a request.
pub(super) struct Pick<'a> {
    pub(super) request: usize,
    pub(super) offer: Offer<'a>,
    pub(super) admin_access: bool,
    /// What it gives of its capacities, if several may have it.
    pub(super) consumed: Option<Capacities>,
    /// Whether counters were taken for it.
    pub(super) counted: bool,
}

/// The allocation of a claim. A share of a device has an empty `shareID`: whoever writes it makes one.
pub(super) fn allocation(
    claim: &ClaimWanted,
    picks: &[Pick<'_>],
    chosen: &[usize],
    node: &Node,
) -> AllocationResult {
    let results = picks.iter().map(|pick| device(&claim.requests[pick.request], chosen[pick.request], pick));
    let config = configuration(claim, chosen);
    AllocationResult {
        allocation_timestamp: None,
        devices: Some(DeviceAllocationResult {
            config: (!config.is_empty()).then_some(config),
            results: Some(results.collect()),
        }),
        node_selector: node_selector(picks, node),
    }
}

fn device(request: &RequestWanted, chosen: usize, pick: &Pick<'_>) -> DeviceRequestAllocationResult {
    let id = pick.offer.id();
    let tolerations = &request.alternatives[chosen].tolerations;
    let consumed = pick.consumed.iter().flatten();
    let consumed: std::collections::BTreeMap<_, _> =
        consumed.map(|(name, amount)| (name.clone(), Quantity(amount.to_string()))).collect();
    DeviceRequestAllocationResult {
        admin_access: pick.admin_access.then_some(true),
        binding_conditions: pick.offer.device().binding_conditions.clone(),
        binding_failure_conditions: pick.offer.device().binding_failure_conditions.clone(),
        consumed_capacity: (!consumed.is_empty()).then_some(consumed),
        device: id.device.to_string(),
        driver: id.driver.to_string(),
        pool: id.pool.to_string(),
        request: request.full_name(chosen),
        share_id: pick.consumed.as_ref().map(|_| String::new()),
        tolerations: (!tolerations.is_empty()).then(|| tolerations.clone()),
    }
}

fn configuration(claim: &ClaimWanted, chosen: &[usize]) -> Vec<DeviceAllocationConfiguration> {
    // By class, with the requests for which it was chosen.
    let mut classes: Vec<(&str, Vec<String>, usize)> = Vec::new();
    for (i, request) in claim.requests.iter().enumerate() {
        let name = request.alternatives[chosen[i]].class.metadata.name.as_deref().unwrap_or_default();
        let full = request.full_name(chosen[i]);
        match classes.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, requests, _)) => requests.push(full),
            None => classes.push((name, vec![full], i)),
        }
    }
    let mut all = Vec::new();
    for (_, requests, first) in classes {
        let class = &claim.requests[first].alternatives[chosen[first]].class;
        for config in class.spec.config.iter().flatten() {
            all.push(("FromClass", requests.clone(), config.opaque.clone()));
        }
    }
    let devices = claim.claim.spec.devices.as_ref();
    for config in devices.and_then(|devices| devices.config.as_deref()).unwrap_or_default() {
        let names = config.requests.clone().unwrap_or_default();
        let mut requests = claim.requests.iter().zip(chosen);
        if names.is_empty() || requests.any(|(request, chosen)| request.is_meant(*chosen, &names)) {
            all.push(("FromClaim", names, config.opaque.clone()));
        }
    }
    let everybody = claim.requests.len();
    let written = |(source, requests, opaque): (&str, Vec<String>, _)| DeviceAllocationConfiguration {
        opaque,
        requests: (!requests.is_empty() && requests.len() != everybody).then_some(requests),
        source: source.to_owned(),
    };
    all.into_iter().map(written).collect()
}

/// The nodes that can use all the devices; none: every node can.
fn node_selector(picks: &[Pick<'_>], node: &Node) -> Option<NodeSelector> {
    let mut term = NodeSelectorTerm::default();
    for pick in picks {
        let (name, selector) = pick.offer.place();
        let is_local = name.is_some_and(|name| !name.is_empty());
        if is_local || pick.offer.device().binds_to_node == Some(true) {
            let requirement = NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.metadata.name.clone().unwrap_or_default()]),
            };
            let match_fields = Some(vec![requirement]);
            let term = NodeSelectorTerm { match_expressions: None, match_fields };
            return Some(NodeSelector { node_selector_terms: vec![term] });
        }
        for known in selector.iter().flat_map(|selector| selector.node_selector_terms.first()) {
            merge(&mut term.match_fields, known.match_fields.as_deref());
            merge(&mut term.match_expressions, known.match_expressions.as_deref());
        }
    }
    let is_empty = term.match_fields.is_none() && term.match_expressions.is_none();
    (!is_empty).then(|| NodeSelector { node_selector_terms: vec![term] })
}

fn merge(all: &mut Option<Vec<NodeSelectorRequirement>>, more: Option<&[NodeSelectorRequirement]>) {
    for requirement in more.unwrap_or_default() {
        let all = all.get_or_insert_default();
        if !all.contains(requirement) {
            all.push(requirement.clone());
        }
    }
}
