//! The cluster's DNS server: names of services, endpoints and pods from the API, all others from the host's resolvers.
//!
//! **Contract**: what a name of the cluster's zone means is decided by [`zone`], which is pure; [`objects`] has what it is
//! decided on, from watches, so an answer is as new as the last change. Nothing of the zone is ever asked elsewhere.
//! **Not here**: where pods find the server (the launcher's Service `kube-system/kube-dns`, the kubelet's `resolv.conf`).
//! **Upstream**: `kubernetes/dns` `docs/specification.md` 1.1.0; CoreDNS with the configuration that kubeadm gives it.

pub mod corefile;
mod known;
mod metrics;
pub mod objects;
mod responder;
mod server;
mod upstream;
pub mod zone;

use client::events::Type;
use client::{Informers, Recorder, Selection};
use component_base::Context;
use k8s_openapi::api::core::v1::ConfigMap;
use objects::Live;
use responder::Responder;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use upstream::Upstream;
use zone::Zone;

/// The ConfigMap in `kube-system` with what people want besides. **Upstream**: kubeadm's.
pub const CONFIG_MAP: &str = "coredns";
const NAMESPACE: &str = "kube-system";
const COREFILE: &str = "Corefile";

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The zone's name is none.
    #[error("{0:?} is not a domain name")]
    Domain(String),
}

/// What the launcher decides about the server.
pub struct Config {
    /// `cluster.local`.
    pub domain: String,
    /// Where pods reach the server, as told to whoever asks for the zone's name server.
    pub address: IpAddr,
    /// Bound sockets. What arrives before the first answer is possible waits in them.
    pub udp: UdpSocket,
    /// As above.
    pub tcp: TcpListener,
    /// Names that are known besides, and their addresses.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// What other components of the process keep of the same objects.
    pub interner: client::Interner,
}

/// Answers until the context ends.
///
/// # Errors
/// If the configuration cannot be used.
pub async fn run(context: Context, client: kube::Client, config: Config) -> Result<(), Error> {
    let serial = u32::try_from(context.clock.now().as_second()).unwrap_or(u32::MAX);
    let zone = Zone::new(&config.domain, config.address, serial).ok_or(Error::Domain(config.domain))?;
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let objects = Live::watch(&informers).await;
    let upstream = Upstream::of_host(&context, config.address);
    tracing::info!(address = %config.address, "serving the cluster's names");
    let responder = Arc::new(Responder::new(zone, objects, config.hosts, upstream));
    let recorder = Recorder::new(client, "coredns", None, &context);
    context.shutdown.spawn(follow(informers, responder.clone(), recorder));
    let counted = Arc::new(metrics::Counted::new(&context.metrics));
    let udp = server::udp(context.clone(), Arc::new(config.udp), responder.clone(), counted.clone());
    context.shutdown.spawn(udp);
    context.shutdown.spawn(server::tcp(context.clone(), config.tcp, responder, counted));
    context.shutdown.requested().await;
    Ok(())
}

/// Takes over what the ConfigMap says, and tells what of it cannot be done.
async fn follow(informers: Informers, responder: Arc<Responder<Live>>, recorder: Recorder) {
    let selection = Selection::all().namespace(NAMESPACE).fields(&format!("metadata.name={CONFIG_MAP}"));
    let maps = informers.select::<ConfigMap>(selection);
    let mut changes = maps.subscribe();
    while changes.recv().await.is_some() {
        let map = maps.get(NAMESPACE, CONFIG_MAP);
        let text = map.as_ref().and_then(|map| map.data.as_ref()?.get(COREFILE)).map_or("", String::as_str);
        let complaints = match corefile::parse(text) {
            Ok(custom) => {
                let complaints = custom.complaints.clone();
                responder.configure(custom);
                complaints
            }
            // What was said before counts on.
            Err(complaint) => vec![complaint],
        };
        for complaint in complaints {
            tracing::warn!(complaint, "the Corefile of kube-system/coredns");
            if let Some(map) = &map {
                recorder.on(&**map, Type::Warning, "InvalidCorefile", &complaint);
            }
        }
    }
}
