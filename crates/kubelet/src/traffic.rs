//! Connections that services lead to a pod: one that is deleted is told to stop once no new ones come.
//!
//! Upstream tells it at once, while endpoints and rules are still to change, so that who stops listening refuses connections;
//! the usual remedy is a preStop hook that sleeps. Here the proxy is in the same process and can be asked.
//! **Contract**: what holds a pod up is bounded by [`PATIENCE`], and by its grace.

use api::k8s_openapi::api::core::v1::Pod;
use component_base::Clock;
use futures::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Ends when services lead nobody new to an address.
pub type Drained = Arc<dyn Fn(IpAddr) -> BoxFuture<'static, ()> + Send + Sync>;

/// As long as changes of endpoints and rules take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until services lead nobody new to a pod that is deleted. One that goes on, or shares the machine's address, is not
/// waited for.
pub(crate) async fn leaves(clock: &Clock, drained: Option<&Drained>, pod: &Pod, addresses: &[String]) {
    let on_host = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let Some(drained) = drained.filter(|_| pod.metadata.deletion_timestamp.is_some() && !on_host) else {
        return;
    };
    let addresses = addresses.iter().filter_map(|address| address.parse().ok());
    let all = futures::future::join_all(addresses.map(|address| drained(address)));
    tokio::select! {
        _ = all => {}
        () = clock.sleep(PATIENCE) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use serde_json::json;

    #[tokio::test]
    async fn only_a_pod_that_is_deleted_and_has_an_address_of_its_own_is_held_up() {
        let clock = Clock::system();
        let (never, at_once): (Drained, Drained) =
            (Arc::new(|_| Box::pin(std::future::pending())), Arc::new(|_| Box::pin(async {})));
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        for (what, metadata, spec, drained, held) in [
            ("deleted", &deleted, json!({}), Some(&never), true),
            ("drained", &deleted, json!({}), Some(&at_once), false),
            ("nobody to ask", &deleted, json!({}), None, false),
            ("the machine's", &deleted, json!({"hostNetwork": true}), Some(&never), false),
            ("it goes on", &json!({}), json!({}), Some(&never), false),
        ] {
            let mut spec = spec;
            spec["containers"] = json!([]);
            let pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod");
            let held_up = leaves(&clock, drained, &pod, &["10.1.0.2".to_owned()]).now_or_never().is_none();
            assert_eq!(held_up, held, "{what}");
        }
    }
}
