//! Where an Ingress can be reached, in its status.

use client::Key;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::net::IpAddr;

/// Whether the status says so already.
pub(crate) fn is_published(ingress: &Ingress, address: IpAddr) -> bool {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    matches!(points, [one] if one.ip.as_deref() == Some(address.to_string().as_str()))
}

/// Says so; an Ingress that is gone needs none.
pub(crate) async fn publish(client: &kube::Client, key: &Key, address: IpAddr) -> Result<(), kube::Error> {
    let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
    let ingresses = Api::<Ingress>::namespaced(client.clone(), &key.namespace);
    match ingresses.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}
