//! Waits until the devices of a pod's claims are ready for it.
//!
//! **Contract**: a claim whose devices will not be ready keeps them: the next try of the pod finds that and takes them
//! back.
//! **Upstream**: the end of `PreBind` of the DynamicResources plugin, which asks every five seconds.

use super::Binder;
use crate::framework::Preparation;
use crate::framework::readiness::{BINDING_TIMEOUT, deadline, has_conditions, is_ready};
use api::k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimStatus};
use client::Key;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// The claims that are to be waited for; `made`: those that were not there before.
pub(super) fn waiting(preparations: &[Preparation], made: &[ResourceClaim]) -> Vec<Arc<ResourceClaim>> {
    let claims = preparations.iter().filter_map(|preparation| match preparation {
        Preparation::Reserve { claim, allocation: None } => Some(claim.clone()),
        Preparation::Reserve { claim, allocation: Some(allocation) } => {
            let allocation = Some(allocation.as_ref().clone());
            let status = Some(ResourceClaimStatus { allocation, ..ResourceClaimStatus::default() });
            Some(Arc::new(ResourceClaim { status, ..claim.as_ref().clone() }))
        }
        Preparation::Bind { .. } | Preparation::Provision { .. } => None,
    });
    let claims = claims.filter(|claim| claim.metadata.name.is_some());
    claims.chain(made.iter().cloned().map(Arc::new)).filter(|claim| has_conditions(claim)).collect()
}

/// Returns when all of them are ready.
///
/// # Errors
/// If one will not be, or not in time, in upstream's words.
pub(super) async fn met(binder: &Binder, claims: &[Arc<ResourceClaim>]) -> Result<(), String> {
    let clock = &binder.context.clock;
    let end = clock.now().checked_add(BINDING_TIMEOUT).unwrap_or(Timestamp::MAX);
    let mut changes = binder.devices.subscribe();
    loop {
        let Some(next) = state(binder, claims, clock.now())? else { return Ok(()) };
        // The deadline itself is still in time.
        let left = next.min(end).duration_since(clock.now()) + SignedDuration::from_millis(1);
        tokio::select! {
            change = changes.recv() => {
                change.ok_or_else(|| "the scheduler is ending".to_owned())?;
            }
            () = clock.sleep(Duration::try_from(left).unwrap_or_default()) => {
                state(binder, claims, clock.now())?;
                if clock.now() > end {
                    return Err("device binding timeout".to_owned());
                }
            }
        }
    }
}

/// Until when to wait, if that is still to be done.
fn state(
    binder: &Binder,
    claims: &[Arc<ResourceClaim>],
    now: Timestamp,
) -> Result<Option<Timestamp>, String> {
    let mut until = None;
    for claim in claims {
        let key = Key::of(claim.as_ref());
        let current = binder.devices.get_key(&key).filter(|known| known.metadata.uid == claim.metadata.uid);
        let current = current.ok_or_else(|| format!("could not find ResourceClaim \"{key}\""))?;
        if is_ready(&current)? {
            continue;
        }
        let deadline = deadline(&current).unwrap_or(Timestamp::MAX);
        if deadline < now {
            return Err(format!("claim {} binding timeout", key.name));
        }
        until = Some(until.map_or(deadline, |until: Timestamp| until.min(deadline)));
    }
    Ok(until)
}
