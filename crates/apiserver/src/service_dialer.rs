//! Connections to Services of the cluster, as `name.namespace.svc`: to one of their endpoints.
//!
//! **Contract**: where a Service leads is looked up when a connection is made; connections are kept by who asks for them.
//! **Upstream**: `k8s.io/apiserver/pkg/util/proxy` (`ResolveEndpoint`, `ResolveCluster`).

use crate::admission::Lookup;
use crate::decode::text;
use crate::outbound::Dial;
use crate::registry::Registry;
use crate::subresources::{NodeDialer, NodeStream, ReadyAddress, connect, ready_addresses};
use async_trait::async_trait;
use component_base::Rng;
use std::sync::Arc;

/// Finds Services in the registry, and reaches their pods as the launcher says.
pub(crate) struct ServiceDialer {
    pub(crate) registry: Arc<Registry>,
    pub(crate) nodes: Arc<dyn NodeDialer>,
    pub(crate) rng: Rng,
}

#[async_trait]
impl Dial for ServiceDialer {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn NodeStream>, String> {
        let (host, port) = match service(host) {
            Some((namespace, name)) => resolve(&*self.registry, &self.rng, namespace, name, port)?,
            None => (host.to_owned(), port),
        };
        connect(&*self.nodes, &host, port).await
    }
}

/// Namespace and name in `name.namespace.svc`.
fn service(host: &str) -> Option<(&str, &str)> {
    let (name, namespace) = host.strip_suffix(".svc")?.rsplit_once('.')?;
    Some((namespace, name))
}

/// An address behind a port of a Service.
pub(crate) fn resolve(
    lookup: &dyn Lookup,
    rng: &Rng,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<(String, u16), String> {
    let service =
        lookup.get("", "services", namespace, name).ok_or_else(|| format!("service {name:?} not found"))?;
    let spec = &service["spec"];
    if spec["type"] == "ExternalName" {
        return Ok((text(&spec["externalName"]).to_owned(), port));
    }
    let listed = spec["ports"].as_array().into_iter().flatten().find(|listed| listed["port"] == port);
    let listed = listed.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let slices = lookup.list("discovery.k8s.io", "endpointslices", namespace);
    let ready: Vec<ReadyAddress<'_>> = ready_addresses(&slices, name, text(&listed["name"]));
    let at = usize::try_from(rng.below(u64::try_from(ready.len().max(1)).unwrap_or(1))).unwrap_or(0);
    let chosen = ready.get(at).ok_or_else(|| format!("no endpoints available for service {name:?}"))?;
    Ok((chosen.address.to_owned(), chosen.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_cluster_is_a_services() {
        for (host, expected) in
            [("a.b.svc", Some(("b", "a"))), ("a.b", None), ("svc", None), ("example.com", None)]
        {
            assert_eq!(service(host), expected, "{host}");
        }
    }
}
