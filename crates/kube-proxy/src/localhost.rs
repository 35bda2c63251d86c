//! Node ports and load balancers by sockets, where the kernel does not redirect: on the loopback, and everywhere if there are no
//! rules at all.
//!
//! **Contract**: a listener a port for as long as a service has it; a port that another program has is reported, not fatal.
//! Connections under way outlive changes. TCP and UDP.

use crate::family::Family;
use crate::services::{Protocol, ServicePort};
use crate::{tcp, udp};
use client::Key;
use component_base::{Context, Shutdown};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, UdpSocket};

/// Where sockets stand in for rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On the loopback, which rules do not reach.
    Loopback,
    /// At every address: there are no rules.
    Everywhere,
}

impl Reach {
    /// Where the ports of services of a family are, in a cluster with these.
    fn addresses(self, family: Family, families: &[Family]) -> impl Iterator<Item = IpAddr> {
        // Who says `localhost` may mean IPv4, which no service has then.
        let instead = (family == Family::V6 && !families.contains(&Family::V4)).then_some(Family::V4);
        [family].into_iter().chain(instead).map(move |family| match self {
            Self::Loopback => family.localhost(),
            Self::Everywhere => family.unspecified(),
        })
    }
}

/// A port over a protocol, at addresses of a family.
type Number = (Family, Protocol, u16);

/// The listeners of all services.
pub(crate) struct Localhost {
    context: Context,
    reach: Reach,
    families: Vec<Family>,
    services: HashMap<Key, BTreeMap<Number, Port>>,
}

struct Port {
    targets: Arc<Targets>,
    listening: Shutdown,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.listening.trigger();
    }
}

#[derive(Default)]
struct Targets {
    addresses: Mutex<Arc<[SocketAddr]>>,
    next: AtomicUsize,
}

impl Targets {
    /// In turn, beginning with another each time, so that a dead one costs an attempt and no more.
    fn in_turn(&self) -> Vec<SocketAddr> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        (0..addresses.len()).map(|index| addresses[(start + index) % addresses.len()]).collect()
    }
}

impl Localhost {
    pub(crate) fn new(context: &Context, reach: Reach, families: Vec<Family>) -> Self {
        Self { context: context.clone(), reach, families, services: HashMap::new() }
    }

    /// Listens as the service asks now; what could not be listened on.
    pub(crate) async fn update(&mut self, service: &Key, ports: &[ServicePort]) -> Vec<String> {
        let wanted = wanted(ports);
        let mut known = self.services.remove(service).unwrap_or_default();
        let (mut open, mut refused) = (BTreeMap::new(), Vec::new());
        for (number, addresses) in wanted {
            let port = match known.remove(&number) {
                Some(port) => port,
                None => match self.listen(number).await {
                    Ok(port) => port,
                    Err((at, error)) => {
                        refused.push(format!("cannot listen on {at}: {error}"));
                        continue;
                    }
                },
            };
            *port.targets.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses.into();
            open.insert(number, port);
        }
        if !open.is_empty() {
            self.services.insert(service.clone(), open);
        }
        refused
    }

    /// At all places of the port or at none.
    async fn listen(&self, (family, protocol, number): Number) -> Result<Port, (SocketAddr, io::Error)> {
        let (targets, listening) = (Arc::<Targets>::default(), self.context.shutdown.child());
        // What was bound before a failure goes with it.
        let port = Port { targets: targets.clone(), listening: listening.clone() };
        let within = Context { shutdown: listening.clone(), ..self.context.clone() };
        for address in self.reach.addresses(family, &self.families) {
            let at = SocketAddr::new(address, number);
            let (to, within, connections) = (targets.clone(), within.clone(), self.context.shutdown.clone());
            let choose = move || to.in_turn();
            if protocol == Protocol::Udp {
                let socket = UdpSocket::bind(at).await.map_err(|error| (at, error))?;
                listening.spawn(udp::pass_on(within, Arc::new(socket), choose));
            } else {
                let listener = TcpListener::bind(at).await.map_err(|error| (at, error))?;
                listening.spawn(tcp::pass_on(within, listener, connections, choose));
            }
        }
        Ok(port)
    }
}

/// Which ports a service has, and where they lead.
fn wanted(ports: &[ServicePort]) -> BTreeMap<Number, Vec<SocketAddr>> {
    let mut wanted = BTreeMap::new();
    for port in ports.iter().filter(|port| port.protocol != Protocol::Sctp) {
        if let Some(number) = port.node_port {
            wanted.insert((port.family(), port.protocol, number), port.outside.clone());
        }
        if !port.balancer_ips.is_empty() {
            wanted.insert((port.family(), port.protocol, port.port), port.outside.clone());
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    fn port(protocol: Protocol, node_port: Option<u16>, balancer: &[IpAddr]) -> ServicePort {
        ServicePort {
            name: "n/s:p".to_owned(),
            protocol,
            cluster_ip: Ipv4Addr::new(10, 96, 0, 9).into(),
            port: 80,
            node_port,
            external_ips: Vec::new(),
            balancer_ips: balancer.to_vec(),
            source_ranges: Vec::new(),
            affinity: None,
            inside: Vec::new(),
            by_node: BTreeMap::new(),
            outside: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
            here: BTreeSet::new(),
            elsewhere: true,
        }
    }

    #[test]
    fn listens_for_node_ports_and_load_balancers() {
        let balancer = [Ipv4Addr::new(192, 0, 2, 1).into()];
        for (ports, expected) in [
            (vec![port(Protocol::Tcp, None, &[])], vec![]),
            (vec![port(Protocol::Tcp, Some(30080), &[])], vec![(Family::V4, Protocol::Tcp, 30080)]),
            (
                vec![port(Protocol::Tcp, Some(30080), &balancer)],
                vec![(Family::V4, Protocol::Tcp, 80), (Family::V4, Protocol::Tcp, 30080)],
            ),
            (vec![port(Protocol::Udp, Some(30080), &[])], vec![(Family::V4, Protocol::Udp, 30080)]),
            (vec![port(Protocol::Sctp, Some(30080), &balancer)], vec![]),
        ] {
            assert_eq!(wanted(&ports).into_keys().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn localhost_means_both_where_services_have_ipv6_alone() {
        use Family::{V4, V6};
        for (family, families, expected) in [
            (V4, &[V4][..], &["127.0.0.1"][..]),
            (V4, &[V4, V6], &["127.0.0.1"]),
            (V6, &[V4, V6], &["::1"]),
            (V6, &[V6], &["::1", "127.0.0.1"]),
        ] {
            let addresses = Reach::Loopback.addresses(family, families).map(|address| address.to_string());
            assert_eq!(addresses.collect::<Vec<_>>(), expected);
        }
    }
}
