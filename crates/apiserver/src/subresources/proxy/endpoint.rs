//! Which endpoint of a service a proxied request goes to.
//!
//! **Contract**: only endpoints that are pods of the service's own namespace count, so that nobody reaches another
//! address by writing it into an EndpointSlice.
//! **Upstream**: `pkg/registry/core/service/storage` (`ResourceLocation`, `isValidAddress`).

use super::{Destination, Id};
use crate::admission::Lookup;
use crate::decode::text;
use crate::server::Server;
use api::meta;
use api::status::Status;
use serde_json::Value;
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An address that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    address: String,
    port: u16,
    pod: String,
}

/// An endpoint of a service, chosen at random.
pub(super) async fn service(server: &Server, namespace: &str, id: &Id<'_>) -> Result<Destination, Status> {
    let store = crate::subresources::store(server, "", "services")?;
    let service = store.get(namespace, id.name).await?.to_value();
    let port = port_name(&service, id)?;
    let lookup: &dyn Lookup = &*server.registry;
    let slices = lookup.list("discovery.k8s.io", "endpointslices", namespace);
    let mut candidates = in_slices(&slices, id.name, &port, namespace);
    if candidates.is_empty()
        && let Some(endpoints) = lookup.get("", "endpoints", namespace, id.name)
    {
        candidates = in_endpoints(&endpoints, &port, namespace);
    }
    candidates.retain(|candidate| {
        let pod = lookup.get("", "pods", namespace, &candidate.pod);
        let addresses = pod.as_ref().and_then(|pod| pod["status"]["podIPs"].as_array());
        addresses.into_iter().flatten().any(|ip| ip["ip"] == candidate.address.as_str())
    });
    if candidates.is_empty() {
        return Err(Status::unavailable(format!("no endpoints available for service {:?}", id.name)));
    }
    let count = u64::try_from(candidates.len()).unwrap_or(u64::MAX);
    let at = usize::try_from(server.context.rng.below(count)).unwrap_or(0);
    let chosen = candidates.swap_remove(at);
    Ok(Destination::address(id.https, &chosen.address, Some(chosen.port)))
}

/// The name of the service's port that is asked for: by number, by name, or the one without a name.
fn port_name(service: &Value, id: &Id<'_>) -> Result<String, Status> {
    let Ok(number) = id.port.parse::<i64>() else { return Ok(id.port.to_owned()) };
    let ports = service["spec"]["ports"].as_array();
    let found = ports.into_iter().flatten().find(|port| port["port"] == number);
    found.map(|port| text(&port["name"]).to_owned()).ok_or_else(|| {
        Status::unavailable(format!("no service port {number} found for service {:?}", id.name))
    })
}

fn in_slices(slices: &[Arc<Value>], service: &str, port: &str, namespace: &str) -> Vec<Candidate> {
    let ready = ready_addresses(slices, service, port).into_iter();
    ready.filter_map(|ready| candidate(ready.address, ready.port, ready.target, namespace)).collect()
}

/// A ready endpoint of a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadyAddress<'a> {
    pub(crate) address: &'a str,
    pub(crate) port: u16,
    /// What is there: a reference to a pod, or null.
    target: &'a Value,
}

/// The ready endpoints of a service's port of this name.
pub(crate) fn ready_addresses<'a>(
    slices: &'a [Arc<Value>],
    service: &str,
    port: &str,
) -> Vec<ReadyAddress<'a>> {
    let mut found = Vec::new();
    for slice in slices.iter().filter(|slice| meta::label(slice, SERVICE_NAME) == Some(service)) {
        let Some(port) = number(&slice["ports"], port) else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let address = text(&endpoint["addresses"][0]);
            // Not said counts as ready.
            if endpoint["conditions"]["ready"] != false && !address.is_empty() {
                found.push(ReadyAddress { address, port, target: &endpoint["targetRef"] });
            }
        }
    }
    found
}

fn in_endpoints(endpoints: &Value, port: &str, namespace: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let Some(port) = number(&subset["ports"], port) else { continue };
        for address in subset["addresses"].as_array().into_iter().flatten() {
            found.extend(candidate(text(&address["ip"]), port, &address["targetRef"], namespace));
        }
    }
    found
}

fn number(ports: &Value, name: &str) -> Option<u16> {
    let found = ports.as_array()?.iter().find(|port| text(&port["name"]) == name)?;
    u16::try_from(found["port"].as_u64()?).ok()
}

fn candidate(address: &str, port: u16, target: &Value, namespace: &str) -> Option<Candidate> {
    let own = target["kind"] == "Pod" && text(&target["namespace"]) == namespace;
    let pod = text(&target["name"]);
    (own && !address.is_empty()).then(|| Candidate { address: address.to_owned(), port, pod: pod.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_the_endpoints_of_a_port() {
        let pod = |name: &str| json!({"kind": "Pod", "namespace": "n", "name": name});
        let slice = |service: &str, endpoints: Value| {
            Arc::new(json!({"metadata": {"labels": {SERVICE_NAME: service}},
                "ports": [{"name": "web", "port": 8080}, {"port": 9}], "endpoints": endpoints}))
        };
        let slices = [
            slice(
                "s",
                json!([
                    {"addresses": ["10.0.0.1"], "targetRef": pod("a")},
                    {"addresses": ["10.0.0.2"], "targetRef": pod("b"), "conditions": {"ready": false}},
                    {"addresses": ["169.254.169.254"]},
                    {"addresses": ["10.0.0.3"], "targetRef": {"kind": "Pod", "namespace": "other", "name": "c"}},
                ]),
            ),
            slice("t", json!([{"addresses": ["10.0.0.4"], "targetRef": pod("d")}])),
        ];
        let found = |port: &str| -> Vec<(String, u16)> {
            in_slices(&slices, "s", port, "n").into_iter().map(|c| (c.address, c.port)).collect()
        };
        assert_eq!(found("web"), [("10.0.0.1".to_owned(), 8080)]);
        assert_eq!(found(""), [("10.0.0.1".to_owned(), 9)]);
        assert!(found("other").is_empty());
        let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.0.0.1", "targetRef": pod("a")}], "ports": [{"port": 1}]}]});
        assert_eq!(in_endpoints(&endpoints, "", "n").len(), 1);
    }

    #[test]
    fn a_port_is_named_by_number_or_name() {
        let service = json!({"spec": {"ports": [{"port": 80, "name": "web"}, {"port": 81}]}});
        for (id, name) in [
            ("s:80", Ok("web")),
            ("s:81", Ok("")),
            ("s:other", Ok("other")),
            ("s", Ok("")),
            ("s:82", Err("no service port 82 found for service \"s\"")),
        ] {
            let found = port_name(&service, &Id::parse(id).unwrap());
            let found = found.as_deref().map_err(|status| status.message.as_str());
            assert_eq!(found, name, "{id}");
        }
    }
}
