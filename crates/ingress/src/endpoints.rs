//! Where a Service's port leads: the addresses of its endpoints, and what they speak.
//!
//! **Contract**: pure. Endpoints that are ready; if none is, those that end but still serve.
//! **Upstream**: ingress-nginx, `internal/ingress/controller/endpointslices.go`.

use crate::annotations::Protocol;
use http::uri::Authority;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A port of a Service, as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    /// By its name.
    Name(String),
    /// By its number.
    Number(i32),
}

/// Where requests go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `10.0.0.1:8080` each.
    pub addresses: Vec<Authority>,
    /// As the port's `appProtocol` has it.
    pub protocol: Option<Protocol>,
}

/// A Service's port that some route leads to; its endpoints change while routes stay.
#[derive(Debug, Default)]
pub struct Upstream {
    endpoints: arc_swap::ArcSwap<Endpoints>,
    next: AtomicUsize,
}

impl Upstream {
    /// The endpoints of now.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// From now on there are these.
    pub fn set(&self, endpoints: Endpoints) {
        if **self.endpoints.load() != endpoints {
            self.endpoints.store(Arc::new(endpoints));
        }
    }

    /// Where the next request begins to look.
    pub fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// The port that is meant; none if the Service has no such port.
pub fn port<'a>(service: &'a Service, port: &PortRef) -> Option<&'a ServicePort> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    ports.iter().find(|candidate| match port {
        PortRef::Name(name) => candidate.name.as_ref() == Some(name),
        PortRef::Number(number) => candidate.port == *number,
    })
}

/// The endpoints behind a port of a Service.
pub fn endpoints(service: Option<&Service>, slices: &[Arc<EndpointSlice>], wanted: &PortRef) -> Endpoints {
    let Some(service) = service else { return Endpoints::default() };
    let spec = service.spec.as_ref();
    if spec.is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName")) {
        return external(spec.and_then(|spec| spec.external_name.as_deref()), service, wanted);
    }
    let Some(port) = port(service, wanted) else { return Endpoints::default() };
    let protocol = protocol(port);
    let name = port.name.as_deref().unwrap_or_default();
    let (mut ready, mut ending) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        let numbers = slice.ports.iter().flatten().filter(|port| {
            port.name.as_deref().unwrap_or_default() == name
                && matches!(port.protocol.as_deref(), None | Some("TCP"))
        });
        for number in numbers.filter_map(|port| port.port) {
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(address) = endpoint.addresses.first() else { continue };
                let conditions = endpoint.conditions.as_ref();
                let is_ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
                let serves = conditions.and_then(|conditions| conditions.serving).unwrap_or(is_ready);
                let host =
                    if slice.address_type == "IPv6" { format!("[{address}]") } else { address.clone() };
                if is_ready {
                    ready.insert(format!("{host}:{number}"));
                } else if serves {
                    ending.insert(format!("{host}:{number}"));
                }
            }
        }
    }
    let chosen = if ready.is_empty() { ending } else { ready };
    Endpoints { addresses: chosen.iter().filter_map(|text| text.parse().ok()).collect(), protocol }
}

/// A name outside of the cluster; any port that is named by number will do.
fn external(name: Option<&str>, service: &Service, wanted: &PortRef) -> Endpoints {
    let known = port(service, wanted);
    let number = match (known, wanted) {
        (Some(port), _) => Some(port.port),
        (None, PortRef::Number(number)) => Some(*number),
        (None, PortRef::Name(_)) => None,
    };
    let address = name.zip(number).and_then(|(name, number)| format!("{name}:{number}").parse().ok());
    Endpoints { addresses: address.into_iter().collect(), protocol: known.and_then(protocol) }
}

/// **Upstream**: KEP-3726, the standard application protocols.
fn protocol(port: &ServicePort) -> Option<Protocol> {
    match port.app_protocol.as_deref()? {
        "kubernetes.io/h2c" | "grpc" => Some(Protocol::Grpc),
        "https" => Some(Protocol::Https),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn slice(kind: &str, port: Value, endpoints: &[(&str, Value)]) -> Arc<EndpointSlice> {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, conditions)| json!({"addresses": [address], "conditions": conditions}))
            .collect();
        let slice = json!({"addressType": kind, "metadata": {}, "ports": [port], "endpoints": endpoints});
        Arc::new(from_value(slice).unwrap())
    }

    #[test]
    fn a_ports_endpoints_are_those_that_serve() {
        let service: Service = from_value(json!({"spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": "web"},
            {"name": "h2", "port": 81, "appProtocol": "kubernetes.io/h2c"},
        ]}}))
        .unwrap();
        let external: Service = from_value(
            json!({"spec": {"type": "ExternalName", "externalName": "a.example", "ports": [{"port": 443, "appProtocol": "https"}]}}),
        )
        .unwrap();
        let http = json!({"name": "http", "port": 8080});
        let (yes, no) = (json!({"ready": true}), json!({"ready": false}));
        let ending = json!({"ready": false, "serving": true, "terminating": true});
        let slices = [
            slice(
                "IPv4",
                http.clone(),
                &[("10.0.0.2", yes.clone()), ("10.0.0.1", json!({})), ("10.0.0.3", no.clone())],
            ),
            slice("IPv6", http.clone(), &[("fd00::1", yes.clone())]),
            slice(
                "IPv4",
                json!({"name": "h2", "port": 81}),
                &[("10.0.0.9", ending.clone()), ("10.0.0.8", no.clone())],
            ),
            slice("IPv4", json!({"name": "http", "port": 1, "protocol": "UDP"}), &[("10.0.0.7", yes)]),
        ];
        let number = PortRef::Number;
        let http: &[&str] = &["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::1]:8080"];
        for (what, service, port, expected, protocol) in [
            ("by number", Some(&service), number(80), http, None),
            ("by name", Some(&service), PortRef::Name("http".into()), http, None),
            ("only such as end", Some(&service), number(81), &["10.0.0.9:81"], Some(Protocol::Grpc)),
            ("no such port", Some(&service), number(8080), &[], None),
            ("no such service", None, number(80), &[], None),
            ("elsewhere", Some(&external), number(443), &["a.example:443"], Some(Protocol::Https)),
            ("elsewhere, any port", Some(&external), number(8443), &["a.example:8443"], None),
        ] {
            let found = endpoints(service, &slices, &port);
            let addresses: Vec<&str> = found.addresses.iter().map(Authority::as_str).collect();
            assert_eq!((addresses.as_slice(), found.protocol), (expected, protocol), "{what}");
        }
    }
}
