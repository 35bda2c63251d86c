//! The ConfigMap that says since when the use of tokens kept in Secrets is written down.
//!
//! **Contract**: who deletes it gets it back after half an hour at the earliest.
//! **Upstream**: `pkg/controlplane/controller/legacytokentracking`.

use crate::admission::Lookup;
use crate::registry::{Registry, UpdateOptions};
use crate::server::Server;
use crate::upkeep::{At, Followed, RETRY_PAUSE, amend};
use crate::watch_cache::Selection;
use api::status::Status;
use component_base::Clock;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const AT: At<'_> = At {
    group: "",
    plural: "configmaps",
    namespace: "kube-system",
    name: "kube-apiserver-legacy-service-account-token-tracking",
};
const SINCE: &str = "since";
/// **Upstream**: the controller's rate limiter of creations.
const CREATION_PERIOD: Duration = Duration::from_mins(30);

/// Keeps the ConfigMap while the server runs.
pub(crate) fn follow(server: &Server) {
    let selection = Selection::namespace(AT.namespace).named(AT.name);
    let what = vec![(AT.group.to_owned(), AT.plural.to_owned(), selection)];
    let mut followed = Followed::new(&server.registry, what);
    let (registry, clock) = (Arc::clone(&server.registry), server.context.clock.clone());
    server.context.shutdown.spawn(async move {
        let mut may_create = clock.instant();
        loop {
            let again = keep(&registry, &clock, &mut may_create).await.unwrap_or_else(|status| {
                tracing::warn!(message = status.message, "cannot keep the start of the tracking of tokens");
                Some(clock.instant() + RETRY_PAUSE)
            });
            match again {
                None => followed.changed(&clock).await,
                Some(again) => tokio::select! {
                    () = followed.changed(&clock) => {}
                    () = clock.sleep_until(again) => {}
                },
            }
        }
    });
}

/// Makes or repairs the ConfigMap; if it may not be made yet, tells when it may.
async fn keep(
    registry: &Registry,
    clock: &Clock,
    may_create: &mut Instant,
) -> Result<Option<Instant>, Status> {
    if registry.get(AT.group, AT.plural, AT.namespace, AT.name).is_some() {
        let change = |existing: &Value| dated(existing, clock.now());
        amend(registry, AT, UpdateOptions::Object, &change).await?;
        return Ok(None);
    }
    if clock.instant() < *may_create {
        return Ok(Some(*may_create));
    }
    let map = json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": { "name": AT.name, "namespace": AT.namespace },
        "data": { SINCE: day(clock.now()) },
    });
    registry.ensure(vec![(AT.group, AT.plural, map)]).await?;
    *may_create = clock.instant() + CREATION_PERIOD;
    Ok(None)
}

/// A day as labels and the ConfigMap have it.
pub(super) fn day(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d").to_string()
}

/// The ConfigMap with a date, if it has none.
fn dated(existing: &Value, now: Timestamp) -> Option<Value> {
    let since = existing["data"][SINCE].as_str();
    if since.is_some_and(|since| Date::strptime("%Y-%m-%d", since).is_ok()) {
        return None;
    }
    let mut map = existing.clone();
    map["data"][SINCE] = json!(day(now));
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use component_base::Context;

    #[test]
    fn what_is_no_date_becomes_todays() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        for (data, expected) in [
            (json!({ "since": "2020-12-31" }), None),
            (json!({ "since": "" }), Some(json!({ "since": "2026-01-02" }))),
            (json!({ "since": "yesterday" }), Some(json!({ "since": "2026-01-02" }))),
            (json!({ "a": "b" }), Some(json!({ "a": "b", "since": "2026-01-02" }))),
            (Value::Null, Some(json!({ "since": "2026-01-02" }))),
        ] {
            let changed = dated(&json!({ "data": data }), now);
            assert_eq!(changed.map(|map| map["data"].clone()), expected, "{data}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_comes_back_once_in_half_an_hour() {
        let context = Context::simulated(1);
        let storage = crate::registry::fixture::memory(&context).await;
        let registry = Registry::open(storage, &context, crate::resources::all()).await.unwrap();
        let clock = context.clock;
        let mut may_create = clock.instant();
        let since =
            || registry.get(AT.group, AT.plural, AT.namespace, AT.name).map(|map| map["data"][SINCE].clone());
        assert_eq!(keep(&registry, &clock, &mut may_create).await.unwrap(), None);
        assert_eq!(since(), Some(json!("2026-01-01")));
        let user = crate::registry::loopback_user();
        let mut options = crate::registry::WriteOptions::new(&user);
        let now = crate::registry::DeleteOptions::now();
        let store = registry.store(AT.group, AT.plural).unwrap();
        store.delete(&mut options, AT.namespace, AT.name, &now).await.unwrap();
        let again = keep(&registry, &clock, &mut may_create).await.unwrap();
        assert_eq!((again, since()), (Some(may_create), None));
        clock.sleep_until(may_create).await;
        assert_eq!(keep(&registry, &clock, &mut may_create).await.unwrap(), None);
        assert_eq!(since(), Some(json!("2026-01-01")));
    }
}
