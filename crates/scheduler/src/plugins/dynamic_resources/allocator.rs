//! Which devices of a node the claims of a pod get: all that they ask for, or none.
//!
//! **Contract**: pure and deterministic. Every combination is tried until one fits (later claims and requests may undo
//! the choices of earlier ones), within a bound of steps; alternatives are tried in their order. The first solution
//! counts.
//! **Not here**: how an allocation is written down (`result`).
//! **Upstream**: `k8s.io/dynamic-resource-allocation/structured`.

use super::capacity;
use super::constraint;
use super::result::{self, Pick};
use super::wanted::{Alternative, Amount, ClaimWanted, Wanted, named};
use crate::framework::{Capacities, Counters, DeviceId, Devices, Offer, Pool, consumption};
use api::k8s_openapi::api::core::v1::Node;
use api::k8s_openapi::api::resource::v1::AllocationResult;
use api::resource_claim::{ALLOCATION_RESULTS_MAX, tolerates};
use std::collections::HashMap;

/// Devices that are tried on one node before it is given up: a second of work, in the worst case.
const MAX_STEPS: usize = 200_000;

/// The allocation of each claim, in their order; nothing if the node does not have it all.
///
/// # Errors
/// If something is wrong with a claim, a class or a pool.
pub(super) fn allocate(
    wanted: &Wanted,
    node: &Node,
    devices: &Devices,
) -> Result<Option<Vec<AllocationResult>>, String> {
    let mut pools: Vec<(&Pool, Vec<Offer<'_>>)> = devices
        .pools(node)
        .into_iter()
        .filter_map(|pool| match pool.offers(node) {
            (true, offers) => Some((pool, offers)),
            (false, _) => None,
        })
        .collect();
    // What is ready at once comes first.
    pools.sort_by_key(|(_, offers)| offers.iter().any(Offer::has_conditions));
    let mut candidates = Vec::new();
    for claim in &wanted.claims {
        candidates.push(of_claim(claim, &pools)?);
    }
    let mut search = Search {
        wanted,
        devices,
        candidates,
        chosen: wanted.claims.iter().map(|claim| vec![0; claim.requests.len()]).collect(),
        picks: wanted.claims.iter().map(|_| Vec::new()).collect(),
        counters: HashMap::new(),
        steps: 0,
    };
    match search.request(0, 0)? {
        Found::Everything => {}
        Found::Nothing | Found::TooMany if pools.iter().any(|(pool, _)| pool.is_invalid) => {
            return Err("invalid resource pools were encountered".to_owned());
        }
        Found::Nothing | Found::TooMany => return Ok(None),
    }
    let each = wanted.claims.iter().zip(&search.picks).zip(&search.chosen);
    let results = each.map(|((claim, picks), chosen)| result::allocation(claim, picks, chosen, node));
    Ok(Some(results.collect()))
}

/// By request and alternative, the devices that would do if they were free.
type Candidates<'a> = Vec<Vec<Vec<Offer<'a>>>>;

fn of_claim<'a>(claim: &ClaimWanted, pools: &[(&'a Pool, Vec<Offer<'a>>)]) -> Result<Candidates<'a>, String> {
    let mut all = Vec::new();
    for request in &claim.requests {
        let mut alternatives = Vec::new();
        for (i, alternative) in request.alternatives.iter().enumerate() {
            let mut candidates = Vec::new();
            for (pool, offers) in pools {
                if alternative.amount == Amount::All && !pool.is_usable() {
                    let state = if pool.is_complete { "invalid" } else { "being updated" };
                    return Err(format!(
                        "claim {}, request {}: asks for all devices, but resource pool {} is currently {state}",
                        named(&claim.claim),
                        request.full_name(i),
                        pool.id
                    ));
                }
                for offer in offers.iter().filter(|_| pool.is_usable()) {
                    if is_selectable(alternative, offer)? {
                        candidates.push(*offer);
                    }
                }
            }
            alternatives.push(candidates);
        }
        all.push(alternatives);
    }
    Ok(all)
}

fn is_selectable(alternative: &Alternative, offer: &Offer<'_>) -> Result<bool, String> {
    for (told, selector) in &alternative.selectors {
        if !offer.is_selected(selector).map_err(|why| format!("{told}{why}"))? {
            return Ok(false);
        }
    }
    Ok(capacity::taken(&offer.id().driver, offer.device(), &alternative.capacity).is_some())
}

/// How a part of the search ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Everything,
    Nothing,
    /// Nothing, whatever is chosen before: the claim would have more devices than it may.
    TooMany,
}

struct Search<'a> {
    wanted: &'a Wanted,
    devices: &'a Devices,
    candidates: Vec<Candidates<'a>>,
    /// By claim and request, the alternative.
    chosen: Vec<Vec<usize>>,
    /// By claim.
    picks: Vec<Vec<Pick<'a>>>,
    /// What is left of counters, by pool: so far only of those that were asked for.
    counters: HashMap<String, Counters>,
    steps: usize,
}

impl<'a> Search<'a> {
    /// A request of a claim, and all that come after it.
    fn request(&mut self, claim: usize, request: usize) -> Result<Found, String> {
        let wanted = self.wanted;
        let Some(asked) = wanted.claims.get(claim) else { return Ok(Found::Everything) };
        let Some(asked) = asked.requests.get(request) else {
            // Other alternatives of earlier claims may help; a limit is each claim's own.
            return Ok(match self.request(claim + 1, 0)? {
                Found::TooMany => Found::Nothing,
                found => found,
            });
        };
        let mut ended = Found::TooMany;
        for alternative in 0..asked.alternatives.len() {
            self.chosen[claim][request] = alternative;
            match self.device(claim, request, 0, 0)? {
                Found::Everything => return Ok(Found::Everything),
                Found::TooMany => {}
                Found::Nothing => ended = Found::Nothing,
            }
        }
        Ok(ended)
    }

    /// One more device for a request: the `nth`, from the candidate at `from` on, and all that comes after it.
    fn device(&mut self, claim: usize, request: usize, nth: usize, from: usize) -> Result<Found, String> {
        let wanted = &self.wanted.claims[claim].requests[request];
        let alternative = self.chosen[claim][request];
        let amount = wanted.alternatives[alternative].amount;
        let count = self.candidates[claim][request][alternative].len();
        let needed = match amount {
            Amount::Exactly(needed) => needed,
            Amount::All if count == 0 => return Ok(Found::Nothing),
            Amount::All => count,
        };
        if nth >= needed {
            return self.request(claim, request + 1);
        }
        if self.picks[claim].len() + needed - nth > ALLOCATION_RESULTS_MAX {
            return Ok(Found::TooMany);
        }
        // In another order the same devices are the same solution.
        for at in from..count {
            if count - at < needed - nth {
                break;
            }
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err("timed out trying to allocate devices".to_owned());
            }
            let offer = self.candidates[claim][request][alternative][at];
            match self.take(claim, request, offer) {
                Ok(()) => {}
                Err(Refused::Constraint) if amount == Amount::All => {
                    return Err(format!(
                        "claim {}, request {}: cannot add device {} because a claim constraint would not be satisfied",
                        named(&self.wanted.claims[claim].claim),
                        wanted.full_name(alternative),
                        offer.id()
                    ));
                }
                Err(_) if amount == Amount::All => return Ok(Found::Nothing),
                Err(_) => continue,
            }
            let found = self.device(claim, request, nth + 1, at + 1)?;
            if found == Found::Everything {
                return Ok(found);
            }
            // What comes later may have changed the alternative of its own requests only.
            self.give_back(claim);
            if found == Found::TooMany || amount == Amount::All {
                return Ok(found);
            }
        }
        Ok(Found::Nothing)
    }

    /// Gives a device to a request, if that is possible.
    fn take(&mut self, claim: usize, request: usize, offer: Offer<'a>) -> Result<(), Refused> {
        let asked = &self.wanted.claims[claim];
        let wanted = &asked.requests[request];
        let chosen = self.chosen[claim][request];
        let alternative = &wanted.alternatives[chosen];
        let (id, device) = (offer.id(), offer.device());
        let in_use = self.devices.in_use();
        let has = |picks: &[Pick<'_>], for_itself: bool| {
            picks.iter().any(|pick| pick.offer.id() == id && (!for_itself || !pick.admin_access))
        };
        let is_taken = match (alternative.admin_access, offer.is_shareable()) {
            (true, true) => false,
            (true, false) => has(&self.picks[claim], false),
            (false, true) => in_use.is_taken(id),
            (false, false) => in_use.is_taken(id) || self.picks.iter().any(|picks| has(picks, true)),
        };
        if is_taken {
            return Err(Refused::Taken);
        }
        let bears = |taint| alternative.tolerations.iter().any(|toleration| tolerates(toleration, taint));
        let mut taints = device.taints.iter().flatten();
        if taints.any(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !bears(taint)) {
            return Err(Refused::Taken);
        }
        let constraints =
            asked.claim.spec.devices.as_ref().and_then(|devices| devices.constraints.as_deref());
        for constraint in constraints.unwrap_or_default() {
            let names = constraint.requests.as_deref().unwrap_or_default();
            let bound = self.picks[claim].iter().filter(|pick| {
                asked.requests[pick.request].is_meant(self.chosen[claim][pick.request], names)
            });
            let before = bound.map(|pick| (&*pick.offer.id().driver, pick.offer.device()));
            if wanted.is_meant(chosen, names) && !constraint::holds(constraint, before, (&*id.driver, device))
            {
                return Err(Refused::Constraint);
            }
        }
        let consumed = self.consumed(alternative, offer).ok_or(Refused::Taken)?;
        let counted = self.count(offer)?;
        self.picks[claim].push(Pick {
            request,
            offer,
            admin_access: alternative.admin_access,
            consumed: offer.is_shareable().then_some(consumed),
            counted,
        });
        Ok(())
    }

    /// What a device gives of its capacities; nothing if that is more than is left.
    fn consumed(&self, alternative: &Alternative, offer: Offer<'_>) -> Option<Capacities> {
        let taken = capacity::taken(&offer.id().driver, offer.device(), &alternative.capacity)?;
        if !offer.is_shareable() || alternative.admin_access {
            return Some(taken);
        }
        for (name, amount) in &taken {
            let total = offer.device().capacity.as_ref()?.get(name)?;
            let mut sum = self.devices.in_use().consumed(offer.id(), name) + *amount;
            for other in self.shares(offer.id()) {
                sum += other.get(name).copied().unwrap_or_default();
            }
            if sum > api::pod::parse_quantity(&total.value) {
                return None;
            }
        }
        Some(taken)
    }

    /// What this search has given of a device that is shared.
    fn shares(&self, device: &DeviceId) -> impl Iterator<Item = &Capacities> {
        let picks = self.picks.iter().flatten().filter(move |pick| pick.offer.id() == device);
        picks.filter(|pick| !pick.admin_access).filter_map(|pick| pick.consumed.as_ref())
    }

    /// Takes what a device needs of its pool's counters; whether it needed any.
    fn count(&mut self, offer: Offer<'a>) -> Result<bool, Refused> {
        let needs = || consumption(offer.device());
        if needs().next().is_none() {
            return Ok(false);
        }
        // They are taken already if the device is given away in part.
        if offer.is_shareable()
            && (self.devices.in_use().is_shared(offer.id()) || self.shares(offer.id()).next().is_some())
        {
            return Ok(false);
        }
        let in_use = self.devices.in_use();
        let left = self.counters.entry(offer.pool.id.to_string()).or_insert_with(|| {
            let mut left = offer.pool.counters().clone();
            let gone = |id: &DeviceId| in_use.is_taken(id) || in_use.is_shared(id);
            for (_, device) in offer.pool.all_devices().filter(|(id, _)| gone(id)) {
                for (counter, amount) in consumption(device) {
                    *left.entry(counter).or_default() -= amount;
                }
            }
            left
        });
        if needs().any(|(counter, amount)| left.get(&counter).is_none_or(|left| *left < amount)) {
            return Err(Refused::Taken);
        }
        for (counter, amount) in needs() {
            *left.entry(counter).or_default() -= amount;
        }
        Ok(true)
    }

    /// Undoes the last choice for a claim.
    fn give_back(&mut self, claim: usize) {
        let Some(pick) = self.picks[claim].pop() else { return };
        if !pick.counted {
            return;
        }
        if let Some(left) = self.counters.get_mut(&pick.offer.pool.id.to_string()) {
            for (counter, amount) in consumption(pick.offer.device()) {
                *left.entry(counter).or_default() += amount;
            }
        }
    }
}

/// Why a device cannot be given to a request.
enum Refused {
    /// It is not free, or not all of it, or tainted.
    Taken,
    /// It does not go with the claim's other devices.
    Constraint,
}
