//! Leases: a node's sign of life.
//!
//! **Upstream**: `k8s.io/component-helpers/apimachinery/lease`.

use component_base::{Context, logging};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use std::time::Duration;

/// Where node leases live.
pub const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";
/// How long a node lease holds (kubelet: `nodeLeaseDurationSeconds`).
pub const NODE_LEASE_SECONDS: i32 = 40;
/// A lease is renewed after this part of its duration (kubelet: `nodeLeaseRenewIntervalFraction`).
const RENEW_FRACTION: f64 = 0.25;
/// Jitter between renewals.
const RENEW_JITTER: f64 = 0.04;
/// Tries a renewal before it waits for the next interval (`maxUpdateRetries`).
const UPDATE_TRIES: u32 = 5;
/// Longest delay between attempts to create the lease (`maxBackoff`).
const MOST_BACKOFF: Duration = Duration::from_secs(7);

/// Creates the node's lease and renews it every ten seconds until the context ends.
///
/// `owner` gives a reference to the Node once it is known, so that the lease goes with it.
pub async fn renew_node_lease(
    client: kube::Client,
    context: &Context,
    node: &str,
    owner: impl Fn() -> Option<OwnerReference> + Send,
) {
    let api = Api::<Lease>::namespaced(client, NODE_LEASE_NAMESPACE);
    let interval = Duration::from_secs_f64(f64::from(NODE_LEASE_SECONDS) * RENEW_FRACTION);
    let mut known: Option<Lease> = None;
    loop {
        known = match known {
            None => Some(ensure(&api, context, node, owner()).await),
            Some(lease) => renew(&api, context, node, lease, owner()).await,
        };
        let pause = context.rng.jitter(interval, RENEW_JITTER);
        tokio::select! {
            () = context.shutdown.requested() => return,
            () = context.clock.sleep(pause) => {}
        }
    }
}

/// A lease of this holder, renewed now.
fn renewed(context: &Context, node: &str, lease: Option<Lease>, owner: Option<OwnerReference>) -> Lease {
    let now = context.clock.now();
    let now = MicroTime(jiff::Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now));
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NODE_LEASE_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    if lease.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
        lease.metadata.owner_references = owner.map(|owner| vec![owner]);
    }
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(node.to_owned());
    spec.lease_duration_seconds = Some(NODE_LEASE_SECONDS);
    spec.renew_time = Some(now);
    lease
}

async fn ensure(api: &Api<Lease>, context: &Context, node: &str, owner: Option<OwnerReference>) -> Lease {
    let mut delay = Duration::from_millis(200);
    loop {
        let result = match api.get_opt(node).await {
            Ok(Some(lease)) => {
                let lease = renewed(context, node, Some(lease), owner.clone());
                api.replace(node, &PostParams::default(), &lease).await
            }
            Ok(None) => {
                api.create(&PostParams::default(), &renewed(context, node, None, owner.clone())).await
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(lease) => return lease,
            Err(error) => {
                tracing::warn!(node, ?delay, error = %logging::Chain(&error), "failed to ensure lease exists, will retry");
                context.clock.sleep(delay).await;
                delay = (delay * 2).min(MOST_BACKOFF);
            }
        }
    }
}

/// None if the lease must be looked up again.
async fn renew(
    api: &Api<Lease>,
    context: &Context,
    node: &str,
    mut lease: Lease,
    owner: Option<OwnerReference>,
) -> Option<Lease> {
    for _ in 0..UPDATE_TRIES {
        let next = renewed(context, node, Some(lease.clone()), owner.clone());
        match api.replace(node, &PostParams::default(), &next).await {
            Ok(lease) => return Some(lease),
            Err(kube::Error::Api(status)) if status.code == 409 => lease = api.get(node).await.ok()?,
            Err(kube::Error::Api(status)) if status.code == 404 => return None,
            Err(error) => tracing::warn!(node, error = %logging::Chain(&error), "failed to update lease"),
        }
    }
    Some(lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, Reply, status};
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn the_lease_is_made_and_renewed_every_ten_seconds() {
        let (fake, context) = (Fake::default(), Context::simulated(1));
        let (client, child) = (fake.client(), context.clone());
        let owner =
            OwnerReference { kind: "Node".to_owned(), name: "n1".to_owned(), ..OwnerReference::default() };
        let renewing = tokio::spawn(async move {
            renew_node_lease(client, &child, "n1", || Some(owner.clone())).await;
        });
        fake.then(Reply::Json(404, status(404, "NotFound")));
        let made = fake.request(2).await;
        assert_eq!(
            (made.method.as_str(), made.uri.as_str()),
            ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases?")
        );
        assert_eq!(made.body["spec"]["leaseDurationSeconds"], 40);
        assert_eq!(made.body["spec"]["holderIdentity"], "n1");
        assert_eq!(made.body["spec"]["renewTime"], "2026-01-01T00:00:00.000000Z");
        assert_eq!(made.body["metadata"]["ownerReferences"][0]["name"], "n1");
        let started = context.clock.instant();
        fake.then(Reply::Json(201, made.body));
        let renewed = fake.request(3).await;
        assert_eq!(renewed.method, "PUT");
        assert!((10.0..10.5).contains(&started.elapsed().as_secs_f64()));
        // A conflict is looked at again at once; a lease that is gone is made anew.
        fake.then(Reply::Json(409, status(409, "Conflict"))).then(Reply::Json(200, json!(renewed.body)));
        assert_eq!(fake.request(5).await.method, "PUT");
        fake.then(Reply::Json(404, status(404, "NotFound"))).then(Reply::Json(404, status(404, "NotFound")));
        assert_eq!(fake.request(7).await.method, "POST");
        context.shutdown.trigger();
        fake.then(Reply::Json(201, json!(renewed.body)));
        renewing.await.unwrap();
    }
}
