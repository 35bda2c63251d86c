//! The cluster's DNS: where its server listens, and the objects by which pods and people find it.
//!
//! **Contract**: the Service `kube-system/kube-dns` and its EndpointSlice are kept as they must be; the identity of the
//! server and what it may read are made at each start.
//! **Upstream**: kubeadm's add-on CoreDNS (`phases/addons/dns`); there are no pods here.

use client::{Backoff, Informers, Selection};
use component_base::Context;
use component_base::logging::chain;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// Who the server is.
pub(super) const USER: &str = "system:serviceaccount:kube-system:coredns";
/// And its groups.
pub(super) const GROUPS: &[&str] = &["system:serviceaccounts", "system:serviceaccounts:kube-system"];
/// Name of the Service, as everywhere.
const NAME: &str = "kube-dns";
const NAMESPACE: &str = "kube-system";
/// Whose fields they are.
const MANAGER: &str = "minik";
const PORT: u16 = 53;
/// Where the Service leads; another if it is taken.
const OWN_PORTS: std::ops::Range<u16> = 10_053..10_153;
/// After a write that failed.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Sockets of the server.
pub(super) struct Listening {
    udp: UdpSocket,
    tcp: TcpListener,
    at: SocketAddr,
    /// What pods have as their name server.
    pub(super) server: IpAddr,
}

/// Listens on this machine's address in the pods' network: for the service's address where services answer, and otherwise
/// at the port that resolvers ask.
///
/// # Errors
/// If that port is another's, or may not be used.
pub(super) async fn listen(gateway: IpAddr, service: Option<IpAddr>) -> io::Result<Listening> {
    let Some(service) = service else { return bind(gateway, PORT, gateway).await };
    for port in OWN_PORTS {
        match bind(gateway, port, service).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

async fn bind(gateway: IpAddr, port: u16, server: IpAddr) -> io::Result<Listening> {
    let tcp = TcpListener::bind((gateway, port)).await?;
    let at = tcp.local_addr()?;
    Ok(Listening { udp: UdpSocket::bind(at).await?, tcp, at, server })
}

/// Makes the objects, answers, and keeps both until the context ends. `admin` may write the objects.
pub(super) async fn run(
    context: Context,
    admin: kube::Client,
    client: kube::Client,
    interner: client::Interner,
    listening: Listening,
    service: IpAddr,
) {
    let Listening { udp, tcp, at, .. } = listening;
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY, LAST_RETRY * 2);
    let (rights, kept) = (rights(), [service_object(service), slice(at)]);
    while let Err(error) = apply(&admin, rights.iter().chain(&kept)).await {
        tracing::warn!("make the objects of DNS, will retry: {}", chain(&error));
        context.clock.sleep(backoff.next(context.clock.instant(), &context.rng)).await;
    }
    let hosts = [("host.minik.internal".to_owned(), vec![at.ip()])].into();
    let config =
        dns::Config { domain: "cluster.local".to_owned(), address: service, udp, tcp, hosts, interner };
    let serving = {
        let context = context.clone();
        async move {
            if let Err(error) = dns::run(context, client, config).await {
                tracing::error!("DNS ended: {}", chain(&error));
            }
        }
    };
    context.shutdown.spawn(serving);
    keep(&context, &admin, &kept).await;
}

/// Puts right what people change or delete.
async fn keep(context: &Context, admin: &kube::Client, kept: &[Value]) {
    let informers = Informers::new(admin.clone(), context);
    let selection = Selection::all().namespace(NAMESPACE).fields(&format!("metadata.name={NAME}"));
    let (services, slices) =
        (informers.select::<Service>(selection.clone()), informers.select::<EndpointSlice>(selection));
    let (mut service_changes, mut slice_changes) = (services.subscribe(), slices.subscribe());
    services.synced().await;
    slices.synced().await;
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY, LAST_RETRY * 2);
    loop {
        let [service, slice] = [json!(services.get(NAMESPACE, NAME)), json!(slices.get(NAMESPACE, NAME))];
        let lacking = kept.iter().zip([&service, &slice]).filter(|(wanted, found)| !covers(found, wanted));
        match apply(admin, lacking.map(|(wanted, _)| wanted)).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                tracing::warn!("keep the objects of DNS, will retry: {}", chain(&error));
                context.clock.sleep(backoff.next(context.clock.instant(), &context.rng)).await;
                continue;
            }
        }
        let changed = tokio::select! {
            delta = service_changes.recv() => delta.is_some(),
            delta = slice_changes.recv() => delta.is_some(),
        };
        if !changed {
            return;
        }
    }
}

/// Whether an object has all that another has.
fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .filter(|(key, _)| !["apiVersion", "kind"].contains(&key.as_str()))
            .all(|(key, wanted)| found.get(key).is_some_and(|found| covers(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

async fn apply(client: &kube::Client, objects: impl Iterator<Item = &Value>) -> Result<(), kube::Error> {
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&text(&object["metadata"]["name"]), &params, &Patch::Apply(object)).await?;
    }
    Ok(())
}

/// What the server may read.
fn rights() -> Vec<Value> {
    let role = "system:coredns";
    let labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    vec![
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "coredns", "namespace": NAMESPACE},
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": role, "labels": labels},
            "rules": [
                {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"],
                    "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": role, "labels": labels},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": NAMESPACE}],
        }),
    ]
}

fn service_object(address: IpAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {
            "k8s-app": NAME, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
        }},
        "spec": {"clusterIP": address, "ports": [
            {"name": "dns", "port": PORT, "protocol": "UDP", "targetPort": PORT},
            {"name": "dns-tcp", "port": PORT, "protocol": "TCP", "targetPort": PORT},
        ]},
    })
}

/// There is no selector: the endpoint is no pod.
fn slice(at: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {
            "k8s-app": NAME, "kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": MANAGER,
        }},
        "addressType": if at.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [at.ip()], "conditions": {"ready": true}}],
        "ports": [
            {"name": "dns", "port": at.port(), "protocol": "UDP"},
            {"name": "dns-tcp", "port": at.port(), "protocol": "TCP"},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_add_is_no_reason_to_write() {
        let wanted = json!({"kind": "Service", "metadata": {"name": "n"}, "ports": [{"port": 1}]});
        for (found, covered) in [
            (
                json!({"metadata": {"name": "n", "labels": {"a": "b"}}, "ports": [{"port": 1, "more": 2}]}),
                true,
            ),
            (json!({"metadata": {"name": "n"}, "ports": [{"port": 2}]}), false),
            (json!({"metadata": {"name": "n"}, "ports": [{"port": 1}, {"port": 2}]}), false),
            (json!(null), false),
        ] {
            assert_eq!(covers(&found, &wanted), covered, "{found}");
        }
    }
}
