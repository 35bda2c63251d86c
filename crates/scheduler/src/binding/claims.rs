//! Writes down which devices a claim has and for whom, and takes that back.
//!
//! **Contract**: an allocation is written with the claim's finalizer before it, and only into a claim that has none.
//! **Upstream**: `bindClaim`, `Unreserve` and `PostFilter` of the DynamicResources plugin.

use super::Binder;
use crate::framework::extended;
use crate::pod_status::pods;
use api::k8s_openapi::api::core::v1::Pod;
use api::k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimStatus};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::resource_claim::{FINALIZER, allocation as allocation_of, consumer, is_reserved_for};
use component_base::logging::chain;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

/// How often a conflict is met by looking again (`retry.DefaultRetry`).
const TRIES: usize = 5;

fn api(client: &kube::Client, claim: &ResourceClaim) -> Api<ResourceClaim> {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    Api::namespaced(client.clone(), namespace)
}

fn named(claim: &ResourceClaim) -> String {
    client::Key::of(claim).to_string()
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Gives the claim to the pod, with these devices if it has none yet.
pub(super) async fn reserve(
    binder: &Binder,
    pod: &Pod,
    claim: &ResourceClaim,
    allocation: Option<&AllocationResult>,
) -> Result<ResourceClaim, String> {
    if allocation.is_none() && is_reserved_for(claim, pod.metadata.uid.as_deref().unwrap_or_default()) {
        return Ok(claim.clone());
    }
    let (api, told) = (api(&binder.client, claim), named(claim));
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let allocation = allocation.map(|allocation| completed(binder, allocation));
    let mut current = claim.clone();
    for attempt in 1.. {
        match write(&api, pod, current, allocation.as_ref()).await {
            Err(Unwritten::Refused { error, .. }) if is_conflict(&error) && attempt < TRIES => {
                let read = api.get(name).await;
                current =
                    read.map_err(|error| format!("get updated claim {told} after conflict: {error}"))?;
                if current.metadata.uid != claim.metadata.uid {
                    return Err(format!("claim {told} got deleted in the meantime"));
                }
            }
            Err(Unwritten::Refused { what, error }) => return Err(format!("{what} claim {told}: {error}")),
            Err(Unwritten::Changed(how)) => return Err(format!("claim {told} got {how} in the meantime")),
            Ok(written) => return Ok(written),
        }
    }
    Ok(current)
}

/// Why nothing was written.
enum Unwritten {
    /// The claim is not what it was.
    Changed(&'static str),
    /// The API server did not take it.
    Refused { what: &'static str, error: kube::Error },
}

async fn write(
    api: &Api<ResourceClaim>,
    pod: &Pod,
    mut claim: ResourceClaim,
    allocation: Option<&AllocationResult>,
) -> Result<ResourceClaim, Unwritten> {
    let name = claim.metadata.name.clone().unwrap_or_default();
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Unwritten::Changed("deleted"));
    }
    let mut what = "add reservation to";
    if let Some(allocation) = allocation {
        what = "add allocation and reservation to";
        if allocation_of(&claim).is_some() {
            return Err(Unwritten::Changed("allocated elsewhere"));
        }
        if !claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER) {
            claim.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
            claim = api
                .replace(&name, &PostParams::default(), &claim)
                .await
                .map_err(|error| Unwritten::Refused { what: "add finalizer to", error })?;
        }
        claim.status.get_or_insert_default().allocation = Some(allocation.clone());
    }
    let status = claim.status.get_or_insert_default();
    status.reserved_for.get_or_insert_default().push(consumer(pod));
    let written = api.replace_status(&name, &PostParams::default(), &claim).await;
    written.map_err(|error| Unwritten::Refused { what, error })
}

/// Makes the claim for a pod's extended resources, with these devices, and has the pod tell of it. `made` gets it as soon
/// as it is there.
pub(super) async fn make(
    binder: &Binder,
    pod: &Pod,
    claim: &ResourceClaim,
    allocation: &AllocationResult,
    made: &mut Vec<ResourceClaim>,
) -> Result<(), String> {
    let mut new = claim.clone();
    new.metadata.uid = None;
    let told = format!("{}/", new.metadata.namespace.as_deref().unwrap_or_default());
    let created = api(&binder.client, claim).create(&PostParams::default(), &new).await;
    let created = created.map_err(|error| format!("create claim for extended resources {told}: {error}"))?;
    made.push(created.clone());
    let written = reserve(binder, pod, &created, Some(allocation)).await?;
    let status = json!({"status": {"extendedResourceClaimStatus": extended::told(pod, &written)}});
    made.clear();
    made.push(written);
    let (pods, name) = pods(binder.client.clone(), pod);
    match pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            Err(format!("update pod {namespace}/{name} ExtendedResourceClaimStatus: {error}"))
        }
    }
}

/// The claim goes, with what it has.
pub(crate) async fn delete(client: &kube::Client, claim: &ResourceClaim) -> Result<(), kube::Error> {
    let (api, name) = (api(client, claim), claim.metadata.name.as_deref().unwrap_or_default());
    let Some(mut current) = api.get_opt(name).await? else { return Ok(()) };
    let finalizers = current.metadata.finalizers.get_or_insert_default();
    finalizers.retain(|present| present != FINALIZER);
    api.replace(name, &PostParams::default(), &current).await?;
    api.delete(name, &DeleteParams::default()).await.map(drop)
}

/// The time of the allocation is written down, and shares of devices get an identity of their own.
fn completed(binder: &Binder, allocation: &AllocationResult) -> AllocationResult {
    let mut allocation = allocation.clone();
    allocation.allocation_timestamp = Some(Time(binder.context.clock.now()));
    let results = allocation.devices.iter_mut().flat_map(|devices| devices.results.iter_mut().flatten());
    for result in results.filter(|result| result.share_id.is_some()) {
        result.share_id = Some(binder.context.rng.uuid());
    }
    allocation
}

/// The pod does not use the claim after all. What the claim has got it keeps: another try will use it.
pub(super) async fn unreserve(client: &kube::Client, pod: &Pod, claim: &ResourceClaim) {
    let change = json!({
        "metadata": {"uid": claim.metadata.uid},
        "status": {"reservedFor": [{"$patch": "delete", "uid": pod.metadata.uid}]},
    });
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let patch = Patch::Strategic(change);
    if let Err(error) = api(client, claim).patch_status(name, &PatchParams::default(), &patch).await {
        tracing::debug!(claim = %named(claim), "unreserve: {}", chain(&error));
    }
}

/// The claim has no devices any more.
pub(crate) async fn deallocate(client: &kube::Client, claim: &ResourceClaim) -> Result<(), kube::Error> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let changed = ResourceClaim { status: Some(ResourceClaimStatus::default()), ..claim.clone() };
    api(client, claim).replace_status(name, &PostParams::default(), &changed).await.map(drop)
}
