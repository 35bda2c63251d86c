//! What a cluster has from its first moment: namespaces, priority classes, RBAC, the Service `kubernetes`.
//!
//! **Contract**: idempotent, and as few transactions as there can be; what people changed stays, except that RBAC gets
//! back the rules and subjects it lacks, and the address of this server is kept true.
//! **Upstream**: the post-start hooks of `pkg/controlplane` and `pkg/registry/{rbac,scheduling}/rest`.

use crate::admission::Lookup;
use crate::auth::{policy, rbac};
use crate::config::Config;
use crate::registry::{UpdateOptions, WriteOptions, loopback_user};
use crate::server::Server;
use api::status::Status;
use serde_json::{Value, json};
use std::net::IpAddr;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Name, value, description.
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

type Listed = (&'static str, &'static str, Value);

/// Makes what is missing and repairs what must be true.
pub(crate) async fn run(server: &Server) -> Result<(), Status> {
    let policy: Vec<Listed> =
        policy::objects().into_iter().map(|(plural, object)| (rbac::GROUP, plural, object)).collect();
    let mut objects: Vec<Listed> = NAMESPACES
        .iter()
        .map(|name| ("", "namespaces", object("Namespace", "v1", "", name, json!({}))))
        .collect();
    objects.extend(PRIORITY_CLASSES.iter().map(priority_class));
    let addresses = addresses(&server.config);
    objects.push(("", "services", service(&server.config)));
    objects.push(authentication_config(&server.config));
    objects.extend(addresses.iter().cloned());
    objects.extend(policy.iter().cloned());

    let total = objects.len();
    let made = server.registry.ensure(objects).await?;
    tracing::debug!(made, total, "bootstrap objects");
    if made == total {
        return Ok(());
    }
    for (group, plural, expected) in &policy {
        repair(server, group, plural, expected, |existing| policy::reconciled(existing, expected)).await?;
    }
    for (group, plural, expected) in addresses.iter().chain([&authentication_config(&server.config)]) {
        repair(server, group, plural, expected, |existing| readdressed(existing, expected)).await?;
    }
    Ok(())
}

/// Writes the object that `change` makes of the existing one, if it makes one.
async fn repair(
    server: &Server,
    group: &str,
    plural: &str,
    expected: &Value,
    change: impl Fn(&Value) -> Option<Value> + Send + Sync,
) -> Result<(), Status> {
    let text = |field: &str| expected["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let existing = server.registry.get(group, plural, namespace, name);
    if existing.and_then(|existing| change(&existing)).is_none() {
        return Ok(());
    }
    let Some(store) = server.registry.store(group, plural) else { return Ok(()) };
    let user = loopback_user();
    let mut options = WriteOptions::new(&user);
    let mut update = |old: Option<&Value>| {
        let old = old.ok_or_else(|| Status::not_found(store.resource(), name))?;
        Ok(change(old).unwrap_or_else(|| old.clone()))
    };
    store.update(&mut options, namespace, name, UpdateOptions::Object, &mut update).await?;
    tracing::info!(plural, name, "repaired a bootstrap object");
    Ok(())
}

/// The existing object with the content that is expected of it; `None` if it has it.
fn readdressed(existing: &Value, expected: &Value) -> Option<Value> {
    let mut object = existing.clone();
    for field in ["data", "subsets", "endpoints", "ports"] {
        if let Some(value) = expected.get(field) {
            object[field] = value.clone();
        }
    }
    (object != *existing).then_some(object)
}

fn object(kind: &str, api_version: &str, namespace: &str, name: &str, labels: Value) -> Value {
    let mut metadata = json!({ "name": name });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        metadata["labels"] = labels;
    }
    json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata })
}

fn priority_class((name, value, description): &(&str, i64, &str)) -> Listed {
    let mut class = object("PriorityClass", "scheduling.k8s.io/v1", "", name, json!({}));
    class["value"] = json!(value);
    class["description"] = json!(description);
    ("scheduling.k8s.io", "priorityclasses", class)
}

fn service(config: &Config) -> Value {
    let labels = json!({ "component": "apiserver", "provider": "kubernetes" });
    let mut service = object("Service", "v1", "default", "kubernetes", labels);
    let ip = config.first_service_ip();
    service["spec"] = json!({
        "type": "ClusterIP",
        "clusterIP": ip,
        "clusterIPs": [ip],
        "ipFamilies": [if ip.is_ipv4() { "IPv4" } else { "IPv6" }],
        "ipFamilyPolicy": "SingleStack",
        "sessionAffinity": "None",
        "ports": [
            { "name": "https", "port": 443, "protocol": "TCP", "targetPort": config.advertise_port },
        ],
    });
    service
}

/// Where the Service leads: nowhere if this server is only reachable on the loopback, which no endpoint may name.
fn addresses(config: &Config) -> Vec<Listed> {
    let ip: IpAddr = config.advertise_address;
    if ip.is_loopback() || ip.is_unspecified() {
        return Vec::new();
    }
    let ports = json!([{ "name": "https", "port": config.advertise_port, "protocol": "TCP" }]);
    let labels = json!({ "endpointslice.kubernetes.io/skip-mirror": "true" });
    let mut endpoints = object("Endpoints", "v1", "default", "kubernetes", labels);
    endpoints["subsets"] = json!([{ "addresses": [{ "ip": ip }], "ports": ports }]);

    let labels = json!({ "kubernetes.io/service-name": "kubernetes" });
    let mut slice = object("EndpointSlice", "discovery.k8s.io/v1", "default", "kubernetes", labels);
    slice["addressType"] = json!(if ip.is_ipv4() { "IPv4" } else { "IPv6" });
    slice["endpoints"] = json!([{ "addresses": [ip], "conditions": { "ready": true } }]);
    slice["ports"] = ports;
    vec![("", "endpoints", endpoints), ("discovery.k8s.io", "endpointslices", slice)]
}

fn authentication_config(config: &Config) -> Listed {
    let mut map = object("ConfigMap", "v1", "kube-system", "extension-apiserver-authentication", json!({}));
    map["data"] = json!({ "client-ca-file": config.ca_pem });
    ("", "configmaps", map)
}
