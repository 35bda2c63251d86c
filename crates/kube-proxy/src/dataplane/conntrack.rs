//! Flows of UDP that the kernel remembers: those that lead where a service no longer is are forgotten.
//!
//! The kernel chooses an endpoint for the first packet of a flow and keeps it; TCP ends when the endpoint does, UDP would be
//! sent to it for as long as the client goes on.
//! **Contract**: which flows is decided by [`Frontend::is_stale`], which is pure.
//! **Upstream**: `pkg/proxy/conntrack/cleanup.go`.

use crate::family::Family;
use crate::services::{Protocol, ServicePort};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol as Number, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr as Place};

/// As much as the kernel sends at once.
const BUFFER: usize = 64 * 1024;

/// Where a port of a service is reached over UDP, and where that may lead.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Frontend {
    /// Of its addresses.
    pub family: Family,
    /// None: any address of the machine.
    pub address: Option<IpAddr>,
    /// The port there.
    pub port: u16,
    /// Its endpoints.
    pub endpoints: Vec<Place>,
}

/// A flow as the kernel remembers it.
#[derive(Clone, Debug)]
struct Flow {
    to: Place,
    /// Who answers.
    by: Place,
    /// What names it.
    original: Vec<Tuple>,
}

impl Frontend {
    /// All places of a service's ports over UDP.
    pub fn of(ports: &[ServicePort]) -> Vec<Self> {
        let mut found = Vec::new();
        for port in ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            let mut add = |address, number, endpoints: &[Place]| {
                let (family, endpoints) = (port.family(), endpoints.to_vec());
                found.push(Self { family, address, port: number, endpoints });
            };
            add(Some(port.cluster_ip), port.port, &port.inside);
            for address in port.external_ips.iter().chain(&port.balancer_ips) {
                add(Some(*address), port.port, &port.outside);
            }
            if let Some(number) = port.node_port {
                add(None, number, &port.outside);
            }
        }
        found
    }

    /// The places of a service before and now: where it is no longer there are no endpoints.
    pub fn changed(before: &[Self], now: Vec<Self>) -> Vec<Self> {
        let same = |a: &Self, b: &Self| (a.family, a.address, a.port) == (b.family, b.address, b.port);
        let gone = before.iter().filter(|before| !now.iter().any(|now| same(before, now)));
        let mut all: Vec<Self> = gone.map(|gone| Self { endpoints: Vec::new(), ..gone.clone() }).collect();
        all.extend(now);
        all
    }

    /// Whether a flow came here and is led elsewhere.
    pub fn is_stale(&self, to: Place, by: Place) -> bool {
        let here = self.family == Family::of(to.ip())
            && self.port == to.port()
            && self.address.is_none_or(|address| address == to.ip());
        // What came to this machine itself and stayed there was not for the service.
        let own = self.address.is_none() && to == by;
        here && !own && !self.endpoints.contains(&by)
    }
}

/// Forgets the flows that these places no longer lead to; how many.
///
/// # Errors
/// If the kernel does not let us.
pub(super) fn forget(frontends: &[Frontend]) -> io::Result<usize> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let families: BTreeSet<Family> = frontends.iter().map(|frontend| frontend.family).collect();
    let mut count = 0;
    for family in families {
        let is_stale = |flow: &Flow| frontends.iter().any(|frontend| frontend.is_stale(flow.to, flow.by));
        for flow in flows(&socket, family)?.into_iter().filter(is_stale) {
            let attributes = vec![ConntrackAttribute::CtaTupleOrig(flow.original)];
            send(&socket, family, ConntrackMessage::Delete(attributes), NLM_F_REQUEST | NLM_F_ACK)?;
            receive(&socket, |_| {})?;
            count += 1;
        }
    }
    Ok(count)
}

/// All flows of UDP in a family.
fn flows(socket: &Socket, family: Family) -> io::Result<Vec<Flow>> {
    send(socket, family, ConntrackMessage::Get(Vec::new()), NLM_F_REQUEST | NLM_F_DUMP)?;
    let mut flows = Vec::new();
    receive(socket, |attributes| flows.extend(flow(attributes)))?;
    Ok(flows)
}

fn send(socket: &Socket, family: Family, message: ConntrackMessage, flags: u16) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let family = match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    };
    let header_of = NetfilterHeader::new(family, 0, 0);
    let payload = NetlinkPayload::from(NetfilterMessage::new(header_of, message));
    let mut packet = NetlinkMessage::new(header, payload);
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0).map(|_| ())
}

/// Reads to the end of an answer.
fn receive(socket: &Socket, mut each: impl FnMut(Vec<ConntrackAttribute>)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message = <NetlinkMessage<NetfilterMessage>>::deserialize(rest).map_err(io::Error::other)?;
            // Each message begins at a multiple of four bytes.
            let size = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[size.max(1)..];
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => {
                    return match error.code {
                        // No error is an acknowledgement; a flow that has ended meanwhile needs no end.
                        None => Ok(()),
                        Some(_) if error.to_io().kind() == io::ErrorKind::NotFound => Ok(()),
                        Some(_) => Err(error.to_io()),
                    };
                }
                NetlinkPayload::InnerMessage(NetfilterMessage {
                    inner: NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)),
                    ..
                }) => each(attributes),
                _ => {}
            }
        }
    }
}

fn flow(attributes: Vec<ConntrackAttribute>) -> Option<Flow> {
    let (mut original, mut reply) = (None, None);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = Some(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = Some(tuple),
            _ => {}
        }
    }
    let (original, reply) = (original?, reply?);
    let (_, to) = ends(&original)?;
    let (by, _) = ends(&reply)?;
    Some(Flow { to, by, original })
}

/// Source and destination of a direction, if it is UDP.
fn ends(tuples: &[Tuple]) -> Option<(Place, Place)> {
    let (mut from, mut to) = (None, None);
    let (mut from_port, mut to_port, mut is_udp) = (None, None, false);
    for tuple in tuples {
        match tuple {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(address) => from = Some(*address),
                        IPTuple::DestinationAddress(address) => to = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(number) => is_udp = *number == Number::Udp,
                        ProtoTuple::SourcePort(port) => from_port = Some(*port),
                        ProtoTuple::DestinationPort(port) => to_port = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let ends = (Place::new(from?, from_port?), Place::new(to?, to_port?));
    is_udp.then_some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_stale_that_lead_elsewhere() {
        let at = |text: &str| text.parse::<Place>().expect("an address");
        let endpoints = vec![at("10.1.0.1:53")];
        let cluster = Frontend {
            family: Family::V4,
            address: Some([10, 96, 0, 9].into()),
            port: 53,
            endpoints: endpoints.clone(),
        };
        let node = Frontend { family: Family::V4, address: None, port: 30053, endpoints };
        let other = Frontend { family: Family::V6, ..node.clone() };
        for (what, frontend, to, by, stale) in [
            ("to its endpoint", &cluster, "10.96.0.9:53", "10.1.0.1:53", false),
            ("to another", &cluster, "10.96.0.9:53", "10.1.0.2:53", true),
            ("from before there was one", &cluster, "10.96.0.9:53", "10.96.0.9:53", true),
            ("another port", &cluster, "10.96.0.9:54", "10.1.0.2:53", false),
            ("another service", &cluster, "10.96.0.8:53", "10.1.0.2:53", false),
            ("node port", &node, "192.0.2.1:30053", "10.1.0.1:53", false),
            ("node port to another", &node, "192.0.2.1:30053", "10.1.0.2:53", true),
            ("node port of the other family", &other, "192.0.2.1:30053", "10.1.0.2:53", false),
            ("of the other family", &other, "[fd00::1]:30053", "[fd00::2]:53", true),
            ("not for the service", &node, "192.0.2.1:30053", "192.0.2.1:30053", false),
        ] {
            assert_eq!(frontend.is_stale(at(to), at(by)), stale, "{what}");
        }
    }

    #[test]
    fn a_place_that_is_gone_leads_nowhere() {
        let frontend = |port, endpoints| Frontend { family: Family::V4, address: None, port, endpoints };
        let some = vec![Place::from(([127, 0, 0, 1], 1))];
        let (before, now) =
            (vec![frontend(1, some.clone()), frontend(2, some.clone())], vec![frontend(2, some.clone())]);
        assert_eq!(Frontend::changed(&before, now), [frontend(1, vec![]), frontend(2, some)]);
    }
}
