//! An IPAddress for every address of a Service, and none for one that no Service has any more.
//!
//! **Contract**: only IPAddresses that carry our label are touched. They tell what is taken; what keeps two Services from
//! one address is the store's claim (`resources::core::service`).
//! **Upstream**: `pkg/registry/core/service/ipallocator` makes them with the Service;
//! `ipallocator/controller/repairip.go` makes what is missing and removes what is left over, as this does.

use crate::admission::Lookup;
use crate::registry::{DeleteOptions, Registry, WriteOptions, loopback_user};
use crate::server::Server;
use crate::upkeep::{Followed, RETRY_PAUSE};
use crate::watch_cache::Selection;
use api::status::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const GROUP: &str = "networking.k8s.io";
const PLURAL: &str = "ipaddresses";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const OURS: &str = "ipallocator.k8s.io";

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
            wanted.insert(ip, &service["metadata"]);
        }
    }
    let mut left = Vec::new();
    for address in addresses {
        let name = api::meta::name(address);
        let parent = &address["spec"]["parentRef"];
        let owner = name.parse().ok().and_then(|ip| wanted.remove(&ip));
        let fits = owner.is_some_and(|meta| {
            parent["resource"] == "services"
                && parent["namespace"] == meta["namespace"]
                && parent["name"] == meta["name"]
        });
        if !fits && address["metadata"]["labels"][MANAGED_BY] == OURS {
            left.push(name.to_owned());
        }
    }
    (wanted.into_iter().map(|(ip, meta)| object(ip, meta)).collect(), left)
}

fn object(ip: IpAddr, service: &Value) -> Value {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "kind": "IPAddress",
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": { "name": ip, "labels": { FAMILY: family, MANAGED_BY: OURS } },
        "spec": { "parentRef": {
            "group": "", "resource": "services", "namespace": service["namespace"], "name": service["name"],
        } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{call, root, start};
    use http::Method;
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
    async fn a_services_address_comes_and_goes_with_it() {
        let server = start().await;
        let get = || async {
            let path = "/apis/networking.k8s.io/v1/ipaddresses/10.96.7.7";
            call(&server, root(), Method::GET, path, &[], Value::Null).await
        };
        let until = |code: u16| async move {
            while get().await.code != code {
                tokio::task::yield_now().await;
            }
        };
        let service = json!({
            "kind": "Service", "apiVersion": "v1", "metadata": { "name": "s" },
            "spec": { "clusterIP": "10.96.7.7", "ports": [{ "port": 80 }] },
        });
        let path = "/api/v1/namespaces/default/services";
        assert_eq!(call(&server, root(), Method::POST, path, &[], service).await.code, 201);
        tokio::time::timeout(Duration::from_secs(10), until(200)).await.unwrap();
        let path = "/api/v1/namespaces/default/services/s";
        assert_eq!(call(&server, root(), Method::DELETE, path, &[], Value::Null).await.code, 200);
        tokio::time::timeout(Duration::from_secs(10), until(404)).await.unwrap();
    }
}
