//! Endpoints that somebody wrote by hand, as slices.
//!
//! **Upstream**: `pkg/controller/endpointslicemirroring` (`utils.go`, `reconciler.go`).

use crate::controllers::endpoint_slice::plan::family;
use crate::controllers::endpoint_slice::slices::Group;
use crate::workload::owned;
use api::well_known::{annotation, label};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use kube::api::ObjectMeta;

/// Who keeps these slices.
pub(super) const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";
/// Says that Endpoints are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// On Endpoints that are a lock of old clients.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses of a subset that are mirrored (`--mirroring-max-endpoints-per-subset`).
const MOST: usize = 1000;

/// Whether Endpoints are mirrored: those of a Service without a selector are, unless they say otherwise.
pub(super) fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let skip = endpoints.metadata.labels.as_ref().and_then(|labels| labels.get(SKIP));
    let lock = endpoints.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(LEADER));
    let by_hand = service.is_some_and(|service| {
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_none_or(|all| all.is_empty())
    });
    skip.map(String::as_str) != Some("true") && !lock && by_hand
}

/// The endpoints, by family and ports.
pub(super) fn groups(endpoints: &Endpoints) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(unready).take(MOST) {
            let Some(address_type) = family(&address.ip) else { continue };
            let (ports, endpoint) = (ports(subset), endpoint(address, ready));
            match groups.iter_mut().find(|g| g.address_type == address_type && g.ports == ports) {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Group { address_type, ports, endpoints: vec![endpoint] }),
            }
        }
    }
    groups
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let ports = subset.ports.iter().flatten().map(|port| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    });
    ports.collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

/// What the slices have in common.
pub(super) fn like(endpoints: &Endpoints) -> ObjectMeta {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(label::SERVICE_NAME.to_owned(), name.clone());
    labels.insert(label::ENDPOINTSLICE_MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| {
        ![annotation::LAST_APPLIED, annotation::ENDPOINTS_LAST_CHANGE].contains(&key.as_str())
    });
    ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: endpoints.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![owned::controller_reference(endpoints)]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn endpoints(metadata: Value) -> Endpoints {
        serde_json::from_value(json!({"metadata": metadata, "subsets": [{
            "addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
            "ports": [{"port": 80}],
        }]}))
        .unwrap()
    }

    #[test]
    fn only_what_was_written_by_hand_is_mirrored() {
        let service = |spec: Value| serde_json::from_value::<Service>(json!({"spec": spec})).unwrap();
        let (plain, selecting) = (service(json!({})), service(json!({"selector": {"a": "b"}})));
        for (name, metadata, service, expected) in [
            ("by hand", json!({}), Some(&plain), true),
            ("no service", json!({}), None, false),
            ("selector", json!({}), Some(&selecting), false),
            ("skipped", json!({"labels": {SKIP: "true"}}), Some(&plain), false),
            ("lock", json!({"annotations": {LEADER: "{}"}}), Some(&plain), false),
        ] {
            assert_eq!(is_mirrored(&endpoints(metadata), service), expected, "{name}");
        }
    }

    #[test]
    fn families_are_told_apart_and_readiness_is_kept() {
        let groups = groups(&endpoints(json!({})));
        let seen: Vec<_> = groups
            .iter()
            .map(|group| {
                let ready = |e: &Endpoint| e.conditions.as_ref().unwrap().ready.unwrap();
                (group.address_type, group.endpoints.iter().map(ready).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(seen, [("IPv4", vec![true, false]), ("IPv6", vec![true])]);
    }
}
