//! An IPAddress for every address of a Service, and none for one that no Service has: puts right what somebody removed or
//! left over.
//!
//! **Contract**: only IPAddresses that carry our label are touched.
//! **Not here**: an IPAddress is made and removed with its Service, in one transaction (`registry::transaction`).
//! **Upstream**: `ipallocator/controller/repairip.go`.

use crate::admission::Lookup;
use crate::registry::{DeleteOptions, Registry, WriteOptions, loopback_user};
use crate::resources::ip_address;
use crate::server::Server;
use crate::upkeep::{Followed, RETRY_PAUSE};
use crate::watch_cache::Selection;
use api::status::Status;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const GROUP: &str = "networking.k8s.io";
const PLURAL: &str = "ipaddresses";

/// Keeps them while the server runs.
pub(crate) fn follow(server: &Server) {
    let all = |group: &str, plural: &str| (group.to_owned(), plural.to_owned(), Selection::namespace(""));
    let mut followed = Followed::new(&server.registry, vec![all("", "services"), all(GROUP, PLURAL)]);
    let (registry, clock) = (Arc::clone(&server.registry), server.context.clock.clone());
    server.context.shutdown.spawn(async move {
        loop {
            while let Err(status) = keep(&registry).await {
                tracing::warn!(message = status.message, "cannot keep the addresses of services");
                clock.sleep(RETRY_PAUSE).await;
            }
            followed.changed(&clock).await;
        }
    });
}

async fn keep(registry: &Registry) -> Result<(), Status> {
    let (missing, left) = plan(&registry.list("", "services", ""), &registry.list(GROUP, PLURAL, ""));
    if !missing.is_empty() {
        registry.ensure(missing.into_iter().map(|object| (GROUP, PLURAL, object)).collect()).await?;
    }
    let Some(store) = registry.store(GROUP, PLURAL) else { return Ok(()) };
    let user = loopback_user();
    for name in left {
        match store.delete(&mut WriteOptions::new(&user), "", &name, &DeleteOptions::default()).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

/// What is to be made, and the names of what is to go.
fn plan(services: &[Arc<Value>], addresses: &[Arc<Value>]) -> (Vec<Value>, Vec<String>) {
    let mut wanted: BTreeMap<IpAddr, &Value> = BTreeMap::new();
    for service in services {
        let ips = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
        for ip in ips.filter_map(|ip| ip.as_str()?.parse().ok()) {
            wanted.insert(ip, service);
        }
    }
    let mut left = Vec::new();
    for address in addresses {
        let name = api::meta::name(address);
        let parent = &address["spec"]["parentRef"];
        let owner = name.parse().ok().and_then(|ip| wanted.remove(&ip));
        let fits = owner.is_some_and(|service| {
            parent["resource"] == "services"
                && parent["namespace"] == service["metadata"]["namespace"]
                && parent["name"] == service["metadata"]["name"]
        });
        if !fits && ip_address::is_ours(address) {
            left.push(name.to_owned());
        }
    }
    let made = wanted.into_iter().map(|(ip, service)| {
        ip_address::of_service(ip, api::meta::namespace(service), api::meta::name(service)).object
    });
    (made.collect(), left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{call, root, start};
    use http::Method;
    use serde_json::json;
    use std::time::Duration;

    fn service(name: &str, ip: &str) -> Arc<Value> {
        Arc::new(json!({
            "metadata": { "namespace": "n", "name": name }, "spec": { "clusterIP": ip, "clusterIPs": [ip] },
        }))
    }

    #[test]
    fn every_address_of_a_service_has_one_and_nothing_else_does() {
        let services = [service("a", "10.0.0.1"), service("b", "10.0.0.2"), service("headless", "None")];
        let (made, left) = plan(&services, &[]);
        assert_eq!(made.len(), 2);
        assert_eq!(
            (&made[0]["metadata"]["name"], &made[0]["spec"]["parentRef"]["name"]),
            (&json!("10.0.0.1"), &json!("a"))
        );
        assert!(left.is_empty());
        let made: Vec<Arc<Value>> = made.into_iter().map(Arc::new).collect();
        assert_eq!(plan(&services, &made), (Vec::new(), Vec::new()));
        // One is gone; one has another's address; what somebody else has made stays.
        let mut foreign = (*made[0]).clone();
        foreign["metadata"] = json!({ "name": "10.0.0.9" });
        let known = [Arc::clone(&made[0]), Arc::clone(&made[1]), Arc::new(foreign)];
        let (made, left) = plan(&[service("c", "10.0.0.1")], &known);
        assert_eq!((made, left), (Vec::new(), vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()]));
    }

    #[tokio::test]
    async fn a_services_address_comes_and_goes_with_it_and_comes_back() {
        let server = start().await;
        let address = "/apis/networking.k8s.io/v1/ipaddresses/10.96.7.7";
        let ask = |method: Method, path: &'static str, body: Value| {
            let server = &server;
            async move { call(server, root(), method, path, &[], body).await }
        };
        let service = json!({
            "kind": "Service", "apiVersion": "v1", "metadata": { "name": "s" },
            "spec": { "clusterIP": "10.96.7.7", "ports": [{ "port": 80 }] },
        });
        let (services, path) =
            ("/api/v1/namespaces/default/services", "/api/v1/namespaces/default/services/s");
        assert_eq!(ask(Method::POST, services, service.clone()).await.code, 201);
        let made = ask(Method::GET, address, Value::Null).await;
        assert_eq!(made.code, 200, "at once");
        assert!(made.json()["metadata"]["uid"].is_string());
        assert_eq!(made.json()["spec"]["parentRef"]["name"], "s");
        // Somebody removes it; it belongs there.
        assert_eq!(ask(Method::DELETE, address, Value::Null).await.code, 200);
        let comes_back = async {
            while ask(Method::GET, address, Value::Null).await.code != 200 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), comes_back).await.unwrap();
        // Nobody else gets the address.
        let mut second = service;
        second["metadata"]["name"] = json!("t");
        assert_eq!(ask(Method::POST, services, second).await.code, 422);
        assert_eq!(ask(Method::DELETE, path, Value::Null).await.code, 200);
        assert_eq!(ask(Method::GET, address, Value::Null).await.code, 404, "at once");
    }
}
