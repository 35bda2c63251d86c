//! The cluster's DNS server: names of services, endpoints and pods from the API, all others from the host's resolvers.
//!
//! **Contract**: what a name of the cluster's zone means is decided by [`zone`], which is pure; [`objects`] has what it is
//! decided on, from watches, so an answer is as new as the last change. Nothing of the zone is ever asked elsewhere.
//! **Not here**: where pods find the server (the launcher's Service `kube-system/kube-dns`, the kubelet's `resolv.conf`).
//! **Upstream**: `kubernetes/dns` `docs/specification.md` 1.1.0; CoreDNS with the configuration that kubeadm gives it.

pub mod objects;
mod responder;
mod server;
mod upstream;
pub mod zone;

use component_base::Context;
use objects::Live;
use responder::Responder;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use upstream::Upstream;
use zone::Zone;

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
    let objects = Live::watch(&context, client, &config.interner).await;
    let upstream = Upstream::of_host(&context, config.address);
    let responder = Arc::new(Responder::new(zone, objects, config.hosts, upstream));
    context.shutdown.spawn(server::udp(context.clone(), Arc::new(config.udp), responder.clone()));
    context.shutdown.spawn(server::tcp(context.clone(), config.tcp, responder));
    context.shutdown.requested().await;
    Ok(())
}
