//! Where services lead, for who ends a pod: it may stop once nobody new is led to it.
//!
//! **Contract**: an endpoint counts as long as it is ready and does not end, and rules that say otherwise are not in place.

use client::Key;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The addresses that services lead to; clones are of the same.
#[derive(Clone, Default)]
pub struct Led(watch::Sender<State>);

#[derive(Default)]
struct State {
    by_service: HashMap<Key, BTreeSet<IpAddr>>,
    /// How many services lead to each.
    count: HashMap<IpAddr, usize>,
}

impl Led {
    /// Rules for a service with these slices are in place.
    pub(crate) fn update(&self, service: &Key, slices: &[Arc<EndpointSlice>]) {
        let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let now: BTreeSet<IpAddr> = endpoints.filter_map(address).collect();
        self.0.send_if_modified(|state| {
            let before = state.by_service.remove(service).unwrap_or_default();
            for come in now.difference(&before) {
                *state.count.entry(*come).or_default() += 1;
            }
            for gone in before.difference(&now) {
                let count = state.count.remove(gone).unwrap_or_default();
                if count > 1 {
                    state.count.insert(*gone, count - 1);
                }
            }
            let changed = before != now;
            if !now.is_empty() {
                state.by_service.insert(service.clone(), now);
            }
            changed
        });
    }

    /// Ends when no service leads to an address.
    pub async fn left(&self, address: IpAddr) {
        let mut states = self.0.subscribe();
        // The sender is here.
        let _ = states.wait_for(|state| !state.count.contains_key(&address)).await;
    }
}

/// The address of a pod that connections are led to for as long as nobody says otherwise.
fn address(endpoint: &Endpoint) -> Option<IpAddr> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let ends = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    // Endpoints that somebody wrote by hand say nothing of a pod's end.
    let of_pod = endpoint.target_ref.as_ref().is_some_and(|target| target.kind.as_deref() == Some("Pod"));
    endpoint.addresses.first().filter(|_| ready && !ends && of_pod)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use serde_json::{Value, json};

    fn slices(endpoints: Value) -> Vec<Arc<EndpointSlice>> {
        let slice = json!({"metadata": {}, "addressType": "IPv4", "ports": [], "endpoints": endpoints});
        vec![Arc::new(serde_json::from_value(slice).expect("a slice"))]
    }

    #[test]
    fn an_address_is_left_when_every_service_has_left_it() {
        let led = Led::default();
        let is_left = || led.left([10, 1, 0, 2].into()).now_or_never().is_some();
        let endpoint = |conditions: Value| json!([{"addresses": ["10.1.0.2"], "conditions": conditions, "targetRef": {"kind": "Pod"}}]);
        let (ready, ends) = (
            slices(endpoint(json!({"ready": true}))),
            slices(endpoint(json!({"ready": false, "serving": true, "terminating": true}))),
        );
        let (a, b) = (Key::new("n", "a"), Key::new("n", "b"));
        assert!(is_left());
        for (service, slices, left) in [
            (&a, &ready, false),
            (&b, &ready, false),
            (&a, &ends, false),
            (&b, &ends, true),
            (&a, &ready, false),
        ] {
            led.update(service, slices);
            assert_eq!(is_left(), left);
        }
        led.update(&a, &[]);
        assert!(is_left());
        led.update(&a, &slices(json!([{"addresses": ["10.1.0.2"]}])));
        assert!(is_left());
    }
}
