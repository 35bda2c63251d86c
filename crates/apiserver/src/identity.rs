//! This server's Lease in `kube-system`, which tells that it runs; and the removal of those whose servers are gone.
//!
//! **Contract**: the name follows from the machine's, so a server that starts again goes on with its Lease.
//! **Upstream**: `k8s.io/component-helpers/apimachinery/lease`, `pkg/controlplane/controller/apiserverleasegc`; the name
//! is `APIServerID` of `k8s.io/apiserver/pkg/server`.

use crate::admission::Lookup;
use crate::registry::{DeleteOptions, Registry, UpdateOptions, WriteOptions, loopback_user};
use crate::server::Server;
use api::status::Status;
use api::well_known::label::HOSTNAME;
use data_encoding::BASE32_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

const GROUP: &str = "coordination.k8s.io";
const LEASES: &str = "leases";
const NAMESPACE: &str = "kube-system";
/// Whose Lease it is. **Upstream**: `IdentityLeaseComponentLabelKey`.
const IDENTITY: &str = "apiserver.kubernetes.io/identity";
const COMPONENT: &str = "kube-apiserver";
/// **Upstream**: `IdentityLeaseDurationSeconds`.
const DURATION_SECONDS: i64 = 3600;
/// **Upstream**: `IdentityLeaseRenewIntervalPeriod`, and the jitter of the lease controller.
const RENEW_PERIOD: Duration = Duration::from_secs(10);
const RENEW_JITTER: f64 = 0.04;
/// **Upstream**: `IdentityLeaseGCPeriod`.
const REMOVAL_PERIOD: Duration = Duration::from_hours(1);

/// Renews the server's Lease while it runs.
pub(crate) fn follow(server: &Server) {
    let (registry, context) = (Arc::clone(&server.registry), server.context.clone());
    let hostname = server.config.hostname.clone();
    let name = lease_name(&hostname);
    let holder = format!("{name}_{}", context.rng.uuid());
    server.context.shutdown.spawn(async move {
        let clock = &context.clock;
        let mut next_removal = clock.instant();
        loop {
            let renewed =
                |existing: Option<&Value>| renewed(existing, &name, &holder, &hostname, clock.now());
            if let Err(status) = renew(&registry, &name, &renewed).await {
                tracing::warn!(lease = name, message = status.message, "cannot renew the server's lease");
            } else if next_removal <= clock.instant() {
                next_removal = clock.instant() + REMOVAL_PERIOD;
                remove_expired(&registry, clock.now()).await;
            }
            clock.sleep(context.rng.jitter(RENEW_PERIOD, RENEW_JITTER)).await;
        }
    });
}

async fn renew(
    registry: &Registry,
    name: &str,
    renewed: &(dyn Fn(Option<&Value>) -> Value + Send + Sync),
) -> Result<(), Status> {
    let Some(store) = registry.store(GROUP, LEASES) else { return Ok(()) };
    let user = loopback_user();
    let mut update = |existing: Option<&Value>| Ok(renewed(existing));
    let mut options = WriteOptions::new(&user);
    store.update(&mut options, NAMESPACE, name, UpdateOptions::Object, &mut update).await.map(|_| ())
}

async fn remove_expired(registry: &Registry, now: Timestamp) {
    let Some(store) = registry.store(GROUP, LEASES) else { return };
    let user = loopback_user();
    for lease in registry.list(GROUP, LEASES, NAMESPACE).iter().filter(|lease| is_expired(lease, now)) {
        let version = lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        let options = DeleteOptions { resource_version: version, ..DeleteOptions::default() };
        let name = api::meta::name(lease);
        match store.delete(&mut WriteOptions::new(&user), NAMESPACE, name, &options).await {
            // Another server was faster, or the lease's own is back.
            Err(status) if [404, 409].contains(&status.code) => {}
            Err(status) => tracing::warn!(lease = name, message = status.message, "cannot delete a lease"),
            Ok(_) => tracing::info!(lease = name, "deleted the lease of a server that is gone"),
        }
    }
}

/// `apiserver-` and a hash of the machine's name and the component's.
pub(crate) fn lease_name(hostname: &str) -> String {
    let mut hash = Sha256::new();
    for part in [hostname, COMPONENT] {
        hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(part);
    }
    format!("apiserver-{}", base32(&hash.finalize()[..16]))
}

/// RFC 4648 in lower case, without padding.
fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// The Lease as it is to be now.
fn renewed(existing: Option<&Value>, name: &str, holder: &str, hostname: &str, now: Timestamp) -> Value {
    let mut lease = existing.cloned().unwrap_or_else(|| {
        json!({
            "kind": "Lease",
            "apiVersion": "coordination.k8s.io/v1",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": DURATION_SECONDS },
        })
    });
    lease["spec"]["renewTime"] = json!(api::time::format_micro(now));
    lease["metadata"]["labels"][IDENTITY] = json!(COMPONENT);
    lease["metadata"]["labels"][HOSTNAME] = json!(hostname);
    lease
}

/// Whether it is an API server's and has not been renewed in time, or cannot have been.
fn is_expired(lease: &Value, now: Timestamp) -> bool {
    if lease["metadata"]["labels"][IDENTITY] != COMPONENT {
        return false;
    }
    let renewed = api::time::from_value(&lease["spec"]["renewTime"]);
    let seconds = lease["spec"]["leaseDurationSeconds"].as_i64();
    let end = renewed
        .zip(seconds)
        .and_then(|(renewed, seconds)| renewed.checked_add(SignedDuration::from_secs(seconds)).ok());
    end.is_none_or(|end| end < now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{call, root, start};
    use http::Method;

    const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn base32_is_rfc_4648s() {
        for (bytes, text) in
            [("", ""), ("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foobar", "mzxw6ytboi")]
        {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        assert_eq!(lease_name("a").len(), "apiserver-".len() + 26);
        assert_ne!(lease_name("a"), lease_name("b"));
    }

    #[test]
    fn a_lease_keeps_its_holder_and_gets_back_its_labels() {
        let first = renewed(None, "apiserver-x", "apiserver-x_1", "machine", at("2026-01-01T00:00:00Z"));
        assert_eq!(
            first["metadata"]["labels"],
            json!({ IDENTITY: "kube-apiserver", "kubernetes.io/hostname": "machine" })
        );
        assert_eq!(
            first["spec"],
            json!({
                "holderIdentity": "apiserver-x_1",
                "leaseDurationSeconds": 3600,
                "renewTime": "2026-01-01T00:00:00.000000Z",
            })
        );
        let mut changed = first.clone();
        changed["metadata"]["labels"] = json!({ "mine": "1" });
        let next =
            renewed(Some(&changed), "apiserver-x", "apiserver-x_2", "machine", at("2026-01-01T00:00:10Z"));
        assert_eq!(next["spec"]["holderIdentity"], "apiserver-x_1");
        assert_eq!(next["spec"]["renewTime"], "2026-01-01T00:00:10.000000Z");
        assert_eq!(next["metadata"]["labels"][IDENTITY], "kube-apiserver");
        assert_eq!(next["metadata"]["labels"]["mine"], "1");
    }

    #[test]
    fn only_leases_of_servers_expire_here() {
        let now = at("2026-01-01T02:00:00Z");
        let lease = |identity: &str, spec: Value| json!({ "metadata": { "labels": { IDENTITY: identity } }, "spec": spec });
        let spec = |renewed: &str| json!({ "renewTime": renewed, "leaseDurationSeconds": 3600 });
        let (late, timely) = (spec("2026-01-01T00:59:59Z"), spec("2026-01-01T01:00:00.000001Z"));
        assert!(is_expired(&lease(COMPONENT, late.clone()), now));
        assert!(!is_expired(&lease(COMPONENT, timely), now));
        assert!(is_expired(&lease(COMPONENT, json!({})), now));
        assert!(!is_expired(&lease("sample-apiserver", late.clone()), now));
        assert!(!is_expired(&json!({ "metadata": {}, "spec": late }), now));
    }

    #[tokio::test]
    async fn a_server_has_a_lease_and_removes_those_of_servers_that_are_gone() {
        let server = start().await;
        let lease = |name: &str, identity: &str| {
            json!({
                "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
                "metadata": { "name": name, "labels": { IDENTITY: identity } },
                "spec": { "renewTime": "2020-01-01T00:00:00.000000Z", "leaseDurationSeconds": 3600 },
            })
        };
        for (name, identity) in [("gone", COMPONENT), ("another", "sample-apiserver")] {
            let made = call(&server, root(), Method::POST, PATH, &[], lease(name, identity)).await;
            assert_eq!(made.code, 201, "{}", made.text);
        }
        remove_expired(&server.registry, server.context.clock.now()).await;
        let own = lease_name(&server.config.hostname);
        let there = async {
            loop {
                let found = server.registry.get(GROUP, LEASES, NAMESPACE, &own);
                if let Some(lease) = found {
                    return lease;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), there).await.unwrap();
        assert!(found["spec"]["holderIdentity"].as_str().unwrap().starts_with(&format!("{own}_")));
        assert!(server.registry.get(GROUP, LEASES, NAMESPACE, "gone").is_none());
        assert!(server.registry.get(GROUP, LEASES, NAMESPACE, "another").is_some());
    }
}
