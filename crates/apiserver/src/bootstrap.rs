//! What a cluster has from its first moment: namespaces, priority classes, RBAC, the Service `kubernetes`.
//!
//! **Contract**: idempotent, and as few transactions as there can be; what people changed stays, except that RBAC gets
//! back the rules and subjects it lacks, and the address of this server is kept true.
//! **Upstream**: the post-start hooks of `pkg/controlplane` and `pkg/registry/{rbac,scheduling}/rest`.

use crate::admission::Lookup;
use crate::aggregation::registration;
use crate::auth::{policy, rbac};
use crate::computed::resource_metrics;
use crate::config::Config;
use crate::flowcontrol;
use crate::registry::{Registry, UpdateOptions};
use crate::server::Server;
use crate::upkeep::{At, Followed, RETRY_PAUSE, amend};
use crate::watch_cache::Selection;
use api::status::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component_base::Clock;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

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
    let flow = flowcontrol::bootstrap::objects()
        .into_iter()
        .map(|(plural, object)| (flowcontrol::GROUP, plural, object));
    let kept = kept(&server.config);
    let objects: Vec<Listed> =
        kept.iter().chain(&policy).cloned().chain(flow).chain(registration::built_in()).collect();
    let total = objects.len();
    let made = server.registry.ensure(objects).await?;
    tracing::debug!(made, total, "bootstrap objects");
    if made == total {
        return range_is_ready(&server.registry, &server.context.clock).await;
    }
    for (group, plural, expected) in &policy {
        let change = |existing: &Value| policy::reconciled(existing, expected);
        amend(&server.registry, At::of(group, plural, expected), UpdateOptions::Object, &change).await?;
    }
    keep(&server.registry, &kept, &server.context.clock).await
}

/// Keeps what must be there while the server runs. (Roles are seen to at the start only, as upstream does.)
pub(crate) fn follow(server: &Server) {
    let kept = kept(&server.config);
    let what = kept.iter().map(|(group, plural, object)| {
        let selection = Selection::namespace(api::meta::namespace(object)).named(api::meta::name(object));
        ((*group).to_owned(), (*plural).to_owned(), selection)
    });
    let mut followed = Followed::new(&server.registry, what.collect());
    let (registry, clock) = (Arc::clone(&server.registry), server.context.clock.clone());
    server.context.shutdown.spawn(async move {
        loop {
            followed.changed(&clock).await;
            while let Err(status) = keep(&registry, &kept, &clock).await {
                tracing::warn!(
                    message = status.message,
                    "cannot keep the objects that a cluster starts with"
                );
                clock.sleep(RETRY_PAUSE).await;
            }
        }
    });
}

/// Makes and repairs these objects.
async fn keep(registry: &Registry, kept: &[Listed], clock: &Clock) -> Result<(), Status> {
    let missing = kept.iter().filter(|(_, _, object)| {
        let namespace = api::meta::namespace(object);
        // One that is about to go takes nothing; it comes back, and then this is asked again.
        let home = registry.get("", "namespaces", "", namespace);
        namespace.is_empty() || home.is_some_and(|home| home["metadata"]["deletionTimestamp"].is_null())
    });
    registry.ensure(missing.cloned().collect()).await?;
    for (group, plural, expected) in kept {
        let change = |existing: &Value| readdressed(existing, expected);
        amend(registry, At::of(group, plural, expected), UpdateOptions::Object, &change).await?;
    }
    range_is_ready(registry, clock).await
}

/// Says in its status that the range of addresses is in use.
async fn range_is_ready(registry: &Registry, clock: &Clock) -> Result<(), Status> {
    let change = |existing: &Value| {
        if existing["status"]["conditions"].as_array().is_some_and(|conditions| !conditions.is_empty()) {
            return None;
        }
        let mut range = existing.clone();
        range["status"]["conditions"] = json!([{
            "type": "Ready",
            "status": "True",
            "lastTransitionTime": api::time::format(clock.now()),
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
        }]);
        Some(range)
    };
    let at = At { group: "networking.k8s.io", plural: "servicecidrs", namespace: "", name: "kubernetes" };
    amend(registry, at, UpdateOptions::Status, &change).await
}

/// The objects that are there at any time.
fn kept(config: &Config) -> Vec<Listed> {
    let namespace = |name: &&str| ("", "namespaces", object("Namespace", "v1", "", name, json!({})));
    let mut kept: Vec<Listed> = NAMESPACES.iter().map(namespace).collect();
    kept.extend(PRIORITY_CLASSES.iter().map(priority_class));
    kept.push(service_cidr(config));
    kept.push(("", "services", service(config)));
    kept.push(authentication_config(config));
    kept.extend(cluster_info(config));
    kept.extend(addresses(config));
    kept.extend(resource_metrics::objects());
    kept
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

/// What servers of aggregated APIs need to know whom to believe.
fn authentication_config(config: &Config) -> Listed {
    let mut map = object("ConfigMap", "v1", "kube-system", "extension-apiserver-authentication", json!({}));
    let header = &config.options.request_header;
    let list = |names: &[String]| json!(names).to_string();
    map["data"] = json!({
        "client-ca-file": config.ca_pem,
        "requestheader-allowed-names": list(&header.allowed_names),
        "requestheader-client-ca-file": config.front_proxy_ca_pem,
        "requestheader-extra-headers-prefix": list(&header.extra_prefixes),
        "requestheader-group-headers": list(&header.group_headers),
        "requestheader-uid-headers": list(&header.uid_headers),
        "requestheader-username-headers": list(&header.username_headers),
    });
    ("", "configmaps", map)
}

/// The addresses of Services. **Upstream**: `pkg/controlplane/controller/defaultservicecidr`.
fn service_cidr(config: &Config) -> Listed {
    let cidrs: Vec<String> = config.service_cidrs().iter().map(ToString::to_string).collect();
    let mut range = object("ServiceCIDR", "networking.k8s.io/v1", "", "kubernetes", json!({}));
    range["spec"] = json!({ "cidrs": cidrs });
    ("networking.k8s.io", "servicecidrs", range)
}

/// Where the cluster is and whom to trust, for who wants to join. **Upstream**: kubeadm's `bootstrap-token` phase.
fn cluster_info(config: &Config) -> Vec<Listed> {
    const NAME: &str = "kubeadm:bootstrap-signer-clusterinfo";
    let server = std::net::SocketAddr::new(config.advertise_address, config.advertise_port);
    let kubeconfig = json!({
        "apiVersion": "v1",
        "clusters": [{
            "cluster": {
                "certificate-authority-data": STANDARD.encode(&config.ca_pem),
                "server": format!("https://{server}"),
            },
            "name": "",
        }],
        "contexts": null,
        "current-context": "",
        "kind": "Config",
        "users": null,
    });
    let mut map = object("ConfigMap", "v1", "kube-public", "cluster-info", json!({}));
    // JSON is YAML, too.
    map["data"] = json!({ "kubeconfig": format!("{kubeconfig:#}") });
    let version = format!("{}/v1", rbac::GROUP);
    let mut role = object("Role", &version, "kube-public", NAME, json!({}));
    role["rules"] = json!([{
        "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"],
    }]);
    let mut binding = object("RoleBinding", &version, "kube-public", NAME, json!({}));
    binding["roleRef"] = json!({ "apiGroup": rbac::GROUP, "kind": "Role", "name": NAME });
    binding["subjects"] = json!([{ "apiGroup": rbac::GROUP, "kind": "User", "name": "system:anonymous" }]);
    vec![("", "configmaps", map), (rbac::GROUP, "roles", role), (rbac::GROUP, "rolebindings", binding)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{call, root, start};
    use http::Method;
    use std::time::Duration;

    #[tokio::test]
    async fn what_must_be_there_comes_back_when_somebody_takes_it_away() {
        let server = start().await;
        let path = "/api/v1/namespaces/default/services/kubernetes";
        let uid = |object: Value| object["metadata"]["uid"].clone();
        let before = uid(call(&server, root(), Method::GET, path, &[], Value::Null).await.json());
        assert_eq!(call(&server, root(), Method::DELETE, path, &[], Value::Null).await.code, 200);
        let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
        let wrong = json!([{ "op": "replace", "path": "/endpoints/0/addresses/0", "value": "10.1.2.3" }]);
        let headers = [("content-type", "application/json-patch+json")];
        assert_eq!(call(&server, root(), Method::PATCH, slice, &headers, wrong).await.code, 200);
        let restored = async {
            loop {
                let service = server.registry.get("", "services", "default", "kubernetes");
                let slice =
                    server.registry.get("discovery.k8s.io", "endpointslices", "default", "kubernetes");
                let address = slice.map(|slice| slice["endpoints"][0]["addresses"][0].clone());
                if service.is_some_and(|service| service["metadata"]["uid"] != before)
                    && address == Some(json!("192.168.0.1"))
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), restored).await.unwrap();
    }
}
