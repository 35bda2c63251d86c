//! The cluster's DNS: where its server listens, and the objects by which pods and people find it.
//!
//! **Contract**: the Service `kube-system/kube-dns` and its EndpointSlice are kept as they must be; the identity of the
//! server and what it may read are made at each start.
//! **Upstream**: kubeadm's add-on CoreDNS (`phases/addons/dns`); its pod is one of the control plane's (`control_plane`).

use super::add_on;
use client::{Backoff, Informers, Selection};
use component_base::Context;
use component_base::logging::chain;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::{Value, json};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// Whose rights the server has.
pub(super) const ACCOUNT: &str = "coredns";
/// Name of the Service, as everywhere.
const NAME: &str = "kube-dns";
const NAMESPACE: &str = "kube-system";
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

/// Makes the objects, answers, and keeps both until the context ends. `admin` may write the objects; `serves` is told whether
/// the server runs.
pub(super) async fn run(
    context: Context,
    admin: kube::Client,
    client: kube::Client,
    interner: client::Interner,
    listening: Listening,
    service: IpAddr,
    serves: Arc<AtomicBool>,
) {
    let Listening { udp, tcp, at, .. } = listening;
    let kept = [service_object(service), slice(at)];
    add_on::make(&context, &admin, &[rights(), kept.to_vec()].concat()).await;
    write_config_map(&admin).await;
    let hosts = [("host.minik.internal".to_owned(), vec![at.ip()])].into();
    let config =
        dns::Config { domain: "cluster.local".to_owned(), address: service, udp, tcp, hosts, interner };
    let serving = {
        let context = context.clone();
        async move {
            serves.store(true, Ordering::Relaxed);
            if let Err(error) = dns::run(context, client, config).await {
                tracing::error!("DNS ended: {}", chain(&error));
            }
            serves.store(false, Ordering::Relaxed);
        }
    };
    context.shutdown.spawn(serving);
    keep(&context, &admin, &kept).await;
}

/// Writes what people may edit, if it is not there.
async fn write_config_map(admin: &kube::Client) {
    let config = ConfigMap {
        metadata: ObjectMeta { name: Some(dns::CONFIG_MAP.to_owned()), ..ObjectMeta::default() },
        data: Some([("Corefile".to_owned(), dns::corefile::DEFAULT.to_owned())].into()),
        ..ConfigMap::default()
    };
    let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), NAMESPACE);
    match maps
        .create(
            &PostParams { field_manager: Some(add_on::MANAGER.to_owned()), ..PostParams::default() },
            &config,
        )
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => tracing::warn!("write the configuration of DNS: {}", chain(&error)),
        Ok(_) => {}
    }
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
        let lacking =
            kept.iter().zip([&service, &slice]).filter(|(wanted, found)| !add_on::covers(found, wanted));
        match add_on::apply(admin, lacking.map(|(wanted, _)| wanted)).await {
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

/// What the server may read.
fn rights() -> Vec<Value> {
    let rules = json!([
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [dns::CONFIG_MAP], "verbs": ["list", "watch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
    ]);
    add_on::rights(ACCOUNT, "system:coredns", rules)
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
            "k8s-app": NAME, "kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": add_on::MANAGER,
        }},
        "addressType": if at.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [at.ip()], "conditions": {"ready": true}}],
        "ports": [
            {"name": "dns", "port": at.port(), "protocol": "UDP"},
            {"name": "dns-tcp", "port": at.port(), "protocol": "TCP"},
        ],
    })
}
