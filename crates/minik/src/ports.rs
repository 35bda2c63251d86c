//! Ports of this machine that lead to ports of the nodes: `ports` of a file, `minik start --ports`.
//!
//! **Contract**: the nodes have this machine's address, so a mapping to the same port at an address where the nodes are already
//! listens nowhere. Connections end with the server; a node's port that nobody has refuses them one by one.
//! **Upstream**: kind's `extraPortMappings`, minikube's `--ports`.

use crate::cluster::{IpFamily, ip_family::machine_address};
use crate::preflight;
use crate::problem::Problem;
use anyhow::Result;
use component_base::Context;
use kube_proxy::{tcp, udp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};

/// What a port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Packets.
    Udp,
}

/// A port of this machine that leads to one of the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortMapping {
    /// The port of this machine.
    pub host_port: NonZeroU16,
    /// The nodes': a node port, a pod's host port, or a port of a pod in the host's network.
    #[serde(alias = "containerPort")]
    pub node_port: NonZeroU16,
    /// Where this machine listens.
    #[serde(default = "loopback")]
    pub listen_address: IpAddr,
    /// What both speak.
    #[serde(default)]
    pub protocol: Protocol,
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == Protocol::Udp { "/udp" } else { "" };
        write!(f, "{}:{}{protocol}", self.at(), self.node_port)
    }
}

impl FromStr for PortMapping {
    type Err = String;

    /// `[ADDRESS:]HOST:NODE[/tcp|/udp]`, as Docker writes published ports.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (places, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.split('/').next().unwrap_or(text), Protocol::Tcp),
            Some((places, "udp")) => (places, Protocol::Udp),
            Some((_, other)) => return Err(format!("invalid proto: {other}")),
        };
        let mut parts = places.rsplitn(3, ':');
        let (node, host, address) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let host = host.ok_or("give both ports: HOST:NODE")?;
        let number = |port: &str, name: &str| {
            port.parse::<NonZeroU16>().map_err(|_| format!("invalid {name} port: {port}"))
        };
        let listen_address = match address.map(|address| address.trim_matches(['[', ']'])) {
            None | Some("") => loopback(),
            Some(address) => address.parse().map_err(|_| format!("invalid IP address: {address}"))?,
        };
        Ok(Self {
            host_port: number(host, "host")?,
            node_port: number(node, "node")?,
            listen_address,
            protocol,
        })
    }
}

impl PortMapping {
    fn at(&self) -> SocketAddr {
        SocketAddr::new(self.listen_address, self.host_port.get())
    }

    /// Whether the nodes, which have this address, are at that place already.
    fn is_the_nodes(&self, node: IpAddr) -> bool {
        let at = self.listen_address;
        let everywhere = at.is_unspecified() && at.is_ipv4() == node.is_ipv4();
        self.host_port == self.node_port && (at.is_loopback() || everywhere || at == node)
    }

    fn taken(&self, error: &std::io::Error) -> anyhow::Error {
        let owner = format!("the mapping {self} ({})", self.listen_address);
        preflight::taken(self.host_port.get(), &owner, "--ports", error)
    }
}

/// Whether all of them can be listened at, together; what is returned holds them.
pub(crate) fn probe(mappings: &[PortMapping], families: IpFamily) -> Result<impl Sized + use<>> {
    use std::net::{TcpListener, UdpSocket};
    let node = machine_address(families.first());
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    for (index, mapping) in mappings.iter().enumerate() {
        if mappings[..index].contains(mapping) {
            return Err(Problem::error(
                format!("the port mapping {mapping} is given twice"),
                "leave one out",
            ));
        }
        if mapping.is_the_nodes(node) {
            continue;
        }
        match mapping.protocol {
            Protocol::Tcp => {
                tcp.push(TcpListener::bind(mapping.at()).map_err(|error| mapping.taken(&error))?)
            }
            Protocol::Udp => udp.push(UdpSocket::bind(mapping.at()).map_err(|error| mapping.taken(&error))?),
        }
    }
    Ok((tcp, udp))
}

/// Mappings that this machine listens for, and nobody answers yet.
pub(crate) struct Forwarder {
    listeners: Vec<(Listener, SocketAddr)>,
}

enum Listener {
    Tcp(TcpListener),
    Udp(Arc<UdpSocket>),
}

impl Forwarder {
    /// Listens.
    pub(crate) async fn bind(mappings: &[PortMapping], families: IpFamily) -> Result<Self> {
        Self::towards(machine_address(families.first()), mappings).await
    }

    async fn towards(node: IpAddr, mappings: &[PortMapping]) -> Result<Self> {
        let mut listeners = Vec::new();
        for mapping in mappings.iter().filter(|mapping| !mapping.is_the_nodes(node)) {
            let listener = match mapping.protocol {
                Protocol::Tcp => TcpListener::bind(mapping.at()).await.map(Listener::Tcp),
                Protocol::Udp => UdpSocket::bind(mapping.at()).await.map(Arc::new).map(Listener::Udp),
            };
            let listener = listener.map_err(|error| mapping.taken(&error))?;
            listeners.push((listener, SocketAddr::new(node, mapping.node_port.get())));
        }
        Ok(Self { listeners })
    }

    /// Passes on what comes, until the context ends.
    pub(crate) fn start(self, context: &Context) {
        for (listener, target) in self.listeners {
            let (shutdown, choose) = (&context.shutdown, move || vec![target]);
            match listener {
                Listener::Tcp(listener) => {
                    let connections = shutdown.clone();
                    shutdown.spawn(tcp::pass_on(context.clone(), listener, connections, choose));
                }
                Listener::Udp(socket) => shutdown.spawn(udp::pass_on(context.clone(), socket, choose)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    fn mapping(text: &str) -> PortMapping {
        text.parse().expect("a mapping")
    }

    #[test]
    fn mappings_are_written_as_dockers_and_as_kinds() {
        for (text, shown) in [
            ("8080:30080", "127.0.0.1:8080:30080"),
            ("8080:30080/tcp", "127.0.0.1:8080:30080"),
            ("0.0.0.0:53:30053/udp", "0.0.0.0:53:30053/udp"),
            ("[::1]:80:30080", "[::1]:80:30080"),
        ] {
            assert_eq!(mapping(text).to_string(), shown);
        }
        for (text, why) in [
            ("8080", "give both ports: HOST:NODE"),
            ("0:80", "invalid host port: 0"),
            ("80:70000", "invalid node port: 70000"),
            ("80:80/sctp", "invalid proto: sctp"),
            ("here:80:80", "invalid IP address: here"),
        ] {
            assert_eq!(text.parse::<PortMapping>(), Err(why.to_owned()), "{text}");
        }
        let kinds = serde_json::json!({"containerPort": 30053, "hostPort": 53, "protocol": "UDP"});
        let read: PortMapping = serde_json::from_value(kinds).expect("a mapping");
        assert_eq!(read, mapping("53:30053/udp"));
        for wrong in [
            serde_json::json!({"hostPort": 80}),
            serde_json::json!({"hostPort": 80, "nodePort": 80, "colour": "red"}),
            serde_json::json!({"hostPort": 80, "nodePort": 80, "protocol": "SCTP"}),
        ] {
            assert!(serde_json::from_value::<PortMapping>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_nodes_own_place_needs_nobody_to_listen() {
        let node = IpAddr::from([192, 0, 2, 7]);
        for (text, expected) in [
            ("30080:30080", true),
            ("0.0.0.0:30080:30080", true),
            ("192.0.2.7:30080:30080", true),
            ("192.0.2.8:30080:30080", false),
            ("0.0.0.0:8080:30080", false),
            ("[::]:30080:30080", false),
        ] {
            assert_eq!(mapping(text).is_the_nodes(node), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn connections_are_passed_on_and_a_taken_port_is_named() {
        let node = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let to = node.local_addr().expect("bound");
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let wanted = [mapping(&format!("{port}:{}", to.port()))];
        let error = Forwarder::towards(to.ip(), &wanted).await.err().expect("it is taken").to_string();
        assert!(error.starts_with(&format!("port {port} cannot be used for the mapping")), "{error}");
        assert!(probe(&wanted, IpFamily::Ipv4).is_err());
        drop(taken);

        let context = Context::system();
        Forwarder::towards(to.ip(), &wanted).await.expect("it is free").start(&context);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = node.accept().await {
                stream.write_all(b"hello").await.expect("written");
            }
        });
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("it listens");
        let mut said = String::new();
        client.read_to_string(&mut said).await.expect("read");
        assert_eq!(said, "hello");
        context.shutdown.trigger();
    }
}
