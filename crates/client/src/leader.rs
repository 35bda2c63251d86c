//! Leader election: of several copies of a component, the one that holds the Lease works.
//!
//! **Contract**: [`LeaderElector::acquire`] returns when this copy leads, [`LeaderElector::hold`] when it no longer
//! does (it then must stop at once). Other copies' clocks are not trusted: a lease expires by the time at which *this*
//! copy last saw it change.
//! **Upstream**: `client-go/tools/leaderelection`.

use component_base::{Context, logging};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use std::time::Duration;

/// How long a lease holds unless it is renewed (`--leader-elect-lease-duration`).
const LEASE: Duration = Duration::from_secs(15);
/// How long the leader tries to renew before it gives up (`--leader-elect-renew-deadline`).
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries (`--leader-elect-retry-period`).
const RETRY: Duration = Duration::from_secs(2);
/// Jitter of tries to acquire (`JitterFactor`).
const JITTER: f64 = 1.2;

/// One copy's candidacy for one lease.
#[derive(Debug)]
pub struct LeaderElector {
    api: Api<Lease>,
    context: Context,
    name: String,
    namespace: String,
    identity: String,
    observed: Option<Observed>,
}

/// A lease as this copy saw it, and when it first saw it so.
#[derive(Clone, Debug)]
struct Observed {
    lease: Lease,
    since: Timestamp,
}

/// What one look at the lease leads to.
#[derive(Clone, Debug, PartialEq)]
enum Attempt {
    /// Somebody else leads.
    Wait,
    /// There is none.
    Create(Lease),
    /// It is ours, or free.
    Update(Lease),
}

impl LeaderElector {
    /// A candidate for the lease of this name; `identity` must differ from every other copy's.
    pub fn new(client: kube::Client, context: &Context, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            context: context.clone(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
            observed: None,
        }
    }

    /// Waits until this copy leads.
    pub async fn acquire(&mut self) {
        while !self.attempt().await {
            self.context.clock.sleep(self.context.rng.jitter(RETRY, JITTER)).await;
        }
        tracing::info!(lease = %self.name, identity = %self.identity, "successfully acquired lease");
    }

    /// Renews until that fails for too long; the copy no longer leads when this returns.
    pub async fn hold(&mut self) {
        let mut renewed = self.context.clock.instant();
        while self.context.clock.instant().duration_since(renewed) < RENEW_DEADLINE {
            self.context.clock.sleep(RETRY).await;
            let left = RENEW_DEADLINE.saturating_sub(self.context.clock.instant().duration_since(renewed));
            if tokio::time::timeout(left, self.attempt()).await == Ok(true) {
                renewed = self.context.clock.instant();
            }
        }
        tracing::warn!(lease = %self.name, identity = %self.identity, "failed to renew lease");
    }

    /// Gives the lease up, so that another copy need not wait for it to expire.
    pub async fn release(&mut self) {
        let Some(observed) = self.observed.take().filter(|observed| holder(&observed.lease) == self.identity)
        else {
            return;
        };
        let mut lease = observed.lease;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(self.context.clock.now()));
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::warn!(lease = %self.name, error = %logging::Chain(&error), "failed to release lease");
        }
    }

    /// Whether this copy leads after one try.
    async fn attempt(&mut self) -> bool {
        match self.try_attempt().await {
            Ok(leads) => leads,
            // Another copy was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => false,
            Err(error) => {
                tracing::warn!(lease = %self.name, error = %logging::Chain(&error), "error retrieving resource lock");
                false
            }
        }
    }

    async fn try_attempt(&mut self) -> kube::Result<bool> {
        let found = self.api.get_opt(&self.name).await?;
        let now = self.context.clock.now();
        self.observed = observe(self.observed.take(), found, now);
        let written = match attempt(self.observed.as_ref(), &self.namespace, &self.name, &self.identity, now)
        {
            Attempt::Wait => return Ok(false),
            Attempt::Create(lease) => self.api.create(&PostParams::default(), &lease).await?,
            Attempt::Update(lease) => self.api.replace(&self.name, &PostParams::default(), &lease).await?,
        };
        self.observed = Some(Observed { lease: written, since: now });
        Ok(true)
    }
}

/// A lease that has not changed keeps the time at which it was first seen.
fn observe(known: Option<Observed>, found: Option<Lease>, now: Timestamp) -> Option<Observed> {
    let lease = found?;
    match known {
        Some(known) if known.lease.spec == lease.spec => Some(Observed { lease, since: known.since }),
        _ => Some(Observed { lease, since: now }),
    }
}

fn attempt(
    observed: Option<&Observed>,
    namespace: &str,
    name: &str,
    identity: &str,
    now: Timestamp,
) -> Attempt {
    let seconds = i32::try_from(LEASE.as_secs()).unwrap_or(i32::MAX);
    let time = Some(MicroTime(Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)));
    let mut spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(seconds),
        acquire_time: time.clone(),
        renew_time: time,
        lease_transitions: Some(0),
        ..LeaseSpec::default()
    };
    let Some(Observed { lease, since }) = observed else {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        };
        return Attempt::Create(Lease { metadata, spec: Some(spec) });
    };
    let known = lease.spec.clone().unwrap_or_default();
    let duration = SignedDuration::from_secs(known.lease_duration_seconds.unwrap_or(seconds).into());
    let ours = holder(lease) == identity;
    if !ours && !holder(lease).is_empty() && now.duration_since(*since) < duration {
        return Attempt::Wait;
    }
    spec.lease_transitions = Some(known.lease_transitions.unwrap_or(0) + i32::from(!ours));
    if ours {
        spec.acquire_time = known.acquire_time;
    }
    Attempt::Update(Lease { metadata: lease.metadata.clone(), spec: Some(spec) })
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, Reply, status};
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn held(by: &str, renewed: i64) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(by.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(at(renewed))),
            acquire_time: Some(MicroTime(at(0))),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_ours_free_or_not_renewed_in_time() {
        // What is seen first at 0 and unchanged at `now`.
        for (name, lease, now, wanted) in [
            ("another's", held("b", 0), 14, None),
            ("another's, expired", held("b", 0), 15, Some((4, 15))),
            ("another's clock is wrong", held("b", 9_999), 15, Some((4, 15))),
            ("ours", held("a", 0), 2, Some((3, 0))),
            ("released", held("", 0), 1, Some((4, 1))),
        ] {
            let observed = observe(observe(None, Some(lease.clone()), at(0)), Some(lease), at(now));
            let written = match attempt(observed.as_ref(), "ns", "l", "a", at(now)) {
                Attempt::Update(lease) => lease.spec,
                _ => None,
            };
            let written = written.map(|spec| (spec.lease_transitions.unwrap(), spec.acquire_time.unwrap().0));
            assert_eq!(written, wanted.map(|(transitions, acquired)| (transitions, at(acquired))), "{name}");
        }
        // One that is renewed is seen anew.
        let observed = observe(observe(None, Some(held("b", 0)), at(0)), Some(held("b", 10)), at(10));
        assert_eq!(attempt(observed.as_ref(), "ns", "l", "a", at(24)), Attempt::Wait);
        assert!(matches!(attempt(None, "ns", "l", "a", at(0)), Attempt::Create(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_steps_down_before_its_lease_expires() {
        let (fake, context) = (Fake::default(), Context::simulated(1));
        let mut elector = LeaderElector::new(fake.client(), &context, "kube-system", "l", "a");
        fake.then(Reply::Json(404, status(404, "NotFound")));
        fake.then(Reply::Json(201, json!(held("a", 0))));
        elector.acquire().await;
        let started = context.clock.instant();
        for _ in 0..10 {
            fake.then(Reply::Json(503, status(503, "ServiceUnavailable")));
        }
        elector.hold().await;
        assert_eq!(started.elapsed(), RENEW_DEADLINE);
    }
}
