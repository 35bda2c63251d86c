//! What the names of the cluster's zone mean.
//!
//! | name below the zone | records |
//! |---|---|
//! | | SOA, NS |
//! | `dns-version` | TXT |
//! | `SERVICE.NAMESPACE.svc` | A, AAAA, SRV of all ports; CNAME of an ExternalName |
//! | `ENDPOINT.SERVICE.NAMESPACE.svc` | A, AAAA: an endpoint's host name, or its address with dashes |
//! | `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc` | SRV |
//! | `1-2-3-4.NAMESPACE.pod` | A, AAAA |
//!
//! **Contract**: pure. A headless service has the addresses of its ready endpoints, any other its cluster addresses. What
//! does not exist is NXDOMAIN, what exists without such a record is an empty answer. Names match in any case.
//! **Upstream**: `kubernetes/dns` `docs/specification.md`, CoreDNS's `plugin/kubernetes`.

use crate::objects::Objects;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::{CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How long others may keep an answer. **Upstream**: CoreDNS's `plugin/kubernetes`, `defaultTTL`.
pub const TTL: u32 = 5;
/// **Upstream**: `DNSSchemaVersion`.
const SCHEMA_VERSION: &str = "1.1.0";
/// CoreDNS's SOA.
const REFRESH: i32 = 7200;
const RETRY: i32 = 1800;
const EXPIRE: i32 = 86_400;
/// The weights of an answer's SRV records are shares of this.
const WEIGHTS: u16 = 100;

/// The zone of a cluster.
#[derive(Debug, Clone)]
pub struct Zone {
    domain: Name,
    server: IpAddr,
    serial: u32,
}

/// What there is of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// NXDOMAIN, or no error.
    pub code: ResponseCode,
    /// Records of the name.
    pub answers: Vec<Record>,
    /// Records that go with them.
    pub additionals: Vec<Record>,
    /// The name is another name for this one.
    pub alias: Option<Name>,
}

impl Found {
    fn nothing() -> Self {
        Self { code: ResponseCode::NXDomain, ..Self::default() }
    }

    /// The name exists, without records of the type.
    fn empty() -> Self {
        Self::default()
    }

    fn exists(exists: bool) -> Self {
        if exists { Self::empty() } else { Self::nothing() }
    }

    fn answers(answers: impl IntoIterator<Item = Record>) -> Self {
        Self { answers: answers.into_iter().collect(), ..Self::default() }
    }
}

/// One endpoint of a headless service, as one slice has it.
struct Member<'a> {
    host: String,
    address: IpAddr,
    slice: &'a EndpointSlice,
}

impl Zone {
    /// The zone of this domain, whose name server is at an address; none if the domain is not one.
    pub fn new(domain: &str, server: IpAddr, serial: u32) -> Option<Self> {
        let mut domain = Name::from_ascii(domain).ok()?.to_lowercase();
        domain.set_fqdn(true);
        Some(Self { domain, server, serial })
    }

    /// What there is of a name and type; none if the name is not of this cluster.
    pub fn find(&self, name: &Name, kind: RecordType, objects: &impl Objects) -> Option<Found> {
        if !self.domain.zone_of(name) {
            return self.reverse(name, kind, objects);
        }
        let below = name.iter().count() - self.domain.iter().count();
        let labels = name.iter().take(below).map(|label| std::str::from_utf8(label).map(str::to_lowercase));
        let Ok(mut labels) = labels.collect::<Result<Vec<_>, _>>() else { return Some(Found::nothing()) };
        labels.reverse();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        Some(match labels.as_slice() {
            [] => self.apex(name, kind),
            ["svc" | "pod" | "dns"] => Found::empty(),
            ["dns", "ns"] => Found::answers(addresses(name, kind, [self.server])),
            ["dns-version"] => match kind {
                RecordType::TXT => {
                    Found::answers([record(name, RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()])))])
                }
                _ => Found::empty(),
            },
            ["svc" | "pod", namespace] => Found::exists(objects.namespace(namespace)),
            ["pod", namespace, address] => match address_with_dashes(address) {
                Some(address) if objects.namespace(namespace) => {
                    Found::answers(addresses(name, kind, [address]))
                }
                _ => Found::nothing(),
            },
            ["svc", namespace, service, rest @ ..] => match objects.service(namespace, service) {
                Some(found) => {
                    let slices = objects.slices(namespace, service);
                    self.service(name, kind, &found, &slices, rest)
                }
                None => Found::nothing(),
            },
            _ => Found::nothing(),
        })
    }

    /// What is said beside an answer without records.
    pub fn authority(&self) -> Record {
        let below = |label: &str| Name::from_ascii(label).and_then(|name| name.append_domain(&self.domain));
        let (server, person) = (self.server_name(), below("hostmaster").unwrap_or_default());
        let soa = SOA::new(server, person, self.serial, REFRESH, RETRY, EXPIRE, TTL);
        record(&self.domain, RData::SOA(soa))
    }

    fn server_name(&self) -> Name {
        Name::from_ascii("ns.dns").and_then(|name| name.append_domain(&self.domain)).unwrap_or_default()
    }

    fn apex(&self, name: &Name, kind: RecordType) -> Found {
        match kind {
            RecordType::SOA => Found::answers([self.authority()]),
            RecordType::NS => {
                let server = self.server_name();
                let additionals = of_any_family(&server, [self.server]);
                Found { additionals, ..Found::answers([record(name, RData::NS(NS(server)))]) }
            }
            _ => Found::empty(),
        }
    }

    /// `labels` are those before the service's own, the last one first.
    fn service(
        &self,
        name: &Name,
        kind: RecordType,
        service: &Service,
        slices: &[Arc<EndpointSlice>],
        labels: &[&str],
    ) -> Found {
        let Some(spec) = &service.spec else { return Found::nothing() };
        if spec.type_.as_deref() == Some("ExternalName") {
            return match labels {
                [] => external(name, kind, spec.external_name.as_deref().unwrap_or_default()),
                _ => Found::nothing(),
            };
        }
        let headless = spec.cluster_ip.as_deref() == Some("None");
        let members = || members(slices);
        match labels {
            [] if headless => match members() {
                members if members.is_empty() => Found::nothing(),
                members if kind == RecordType::SRV => {
                    self.srv_of_members(name, service, &members, |_, _| true)
                }
                members => Found::answers(addresses(name, kind, members.iter().map(|member| member.address))),
            },
            [] if kind == RecordType::SRV => self.srv(name, service, spec, |_, _| true),
            [] => Found::answers(addresses(name, kind, cluster_addresses(spec))),
            [protocol] if protocol.starts_with('_') => {
                let mut ports = spec.ports.iter().flatten();
                Found::exists(ports.any(|port| is(protocol, protocol_of(port.protocol.as_deref()))))
            }
            [host] => {
                let found: Vec<IpAddr> = members()
                    .iter()
                    .filter(|member| member.host == *host)
                    .map(|member| member.address)
                    .collect();
                match found.is_empty() {
                    true => Found::nothing(),
                    false => Found::answers(addresses(name, kind, found)),
                }
            }
            [protocol, port] => {
                let wanted =
                    |found: &str, over: &str| is(protocol, over) && is(port, found) && !found.is_empty();
                let found = match headless {
                    true => self.srv_of_members(name, service, &members(), wanted),
                    false => self.srv(name, service, spec, wanted),
                };
                match (found.answers.is_empty(), kind) {
                    (true, _) => Found::nothing(),
                    (false, RecordType::SRV) => found,
                    (false, _) => Found::empty(),
                }
            }
            _ => Found::nothing(),
        }
    }

    fn name_of(&self, service: &Service, host: Option<&str>) -> Name {
        let meta = &service.metadata;
        let labels = [meta.name.as_deref(), meta.namespace.as_deref(), Some("svc")];
        let labels = [host].into_iter().chain(labels).flatten();
        let name = Name::from_labels(labels.map(str::as_bytes));
        name.and_then(|name| name.append_domain(&self.domain)).unwrap_or_default()
    }

    /// The ports of a service with cluster addresses.
    fn srv(
        &self,
        name: &Name,
        service: &Service,
        spec: &ServiceSpec,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Found {
        let target = self.name_of(service, None);
        let ports = spec.ports.iter().flatten();
        let ports = ports.filter(|port| {
            wanted(port.name.as_deref().unwrap_or_default(), protocol_of(port.protocol.as_deref()))
        });
        let ports: Vec<u16> = ports.filter_map(|port| u16::try_from(port.port).ok()).collect();
        let additionals = of_any_family(&target, cluster_addresses(spec));
        Found {
            additionals,
            ..Found::answers(shares(name, ports.into_iter().map(|port| (port, target.clone()))))
        }
    }

    /// The ports of each endpoint.
    fn srv_of_members(
        &self,
        name: &Name,
        service: &Service,
        members: &[Member<'_>],
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Found {
        let (mut targets, mut additionals) = (Vec::new(), Vec::new());
        for member in members {
            let target = self.name_of(service, Some(&member.host));
            let ports = member.slice.ports.iter().flatten();
            let ports = ports.filter(|port| {
                wanted(port.name.as_deref().unwrap_or_default(), protocol_of(port.protocol.as_deref()))
            });
            for port in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
                if !targets.contains(&(port, target.clone())) {
                    targets.push((port, target.clone()));
                }
                additionals.extend(of_any_family(&target, [member.address]));
            }
        }
        unique(&mut additionals);
        Found { additionals, ..Found::answers(shares(name, targets.into_iter())) }
    }

    /// The names of an address, if it has any in this cluster.
    fn reverse(&self, name: &Name, kind: RecordType, objects: &impl Objects) -> Option<Found> {
        if kind != RecordType::PTR {
            return None;
        }
        let network = name.parse_arpa_name().ok()?;
        let address = network.addr();
        if u32::from(network.prefix_len()) != if address.is_ipv4() { 32 } else { 128 } {
            return None;
        }
        let mut names: Vec<Name> =
            objects.services_at(address).iter().map(|service| self.name_of(service, None)).collect();
        if names.is_empty() {
            for (service, slice) in objects.slices_with(address) {
                let members = members(std::slice::from_ref(&slice));
                let here = members.iter().filter(|member| member.address == address);
                names.extend(here.map(|member| self.name_of(&service, Some(&member.host))));
            }
        }
        names.sort();
        names.dedup();
        let answers = names.into_iter().map(|target| record(name, RData::PTR(PTR(target))));
        Some(Found::answers(answers)).filter(|found| !found.answers.is_empty())
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

/// Those of the addresses that are of the type's family, each once.
pub(crate) fn addresses(
    name: &Name,
    kind: RecordType,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> Vec<Record> {
    let mut records = of_any_family(name, addresses);
    records.retain(|record| record.record_type() == kind);
    unique(&mut records);
    records
}

/// A record that a name is another's.
pub(crate) fn other_name(name: &Name, other: &Name) -> Record {
    record(name, RData::CNAME(CNAME(other.clone())))
}

fn of_any_family(name: &Name, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Record> {
    let data = |address| match address {
        IpAddr::V4(address) => RData::A(address.into()),
        IpAddr::V6(address) => RData::AAAA(address.into()),
    };
    addresses.into_iter().map(|address| record(name, data(address))).collect()
}

fn unique(records: &mut Vec<Record>) {
    let mut seen = std::collections::HashSet::new();
    records.retain(|record| seen.insert((record.name.clone(), record.data.clone())));
}

/// SRV records of equal weight.
fn shares(name: &Name, targets: impl ExactSizeIterator<Item = (u16, Name)>) -> Vec<Record> {
    let share = u16::try_from(targets.len()).ok().and_then(|count| WEIGHTS.checked_div(count));
    let weight = share.unwrap_or(1).max(1);
    let srv = |(port, target)| record(name, RData::SRV(SRV::new(0, weight, port, target)));
    targets.map(srv).collect()
}

fn external(name: &Name, kind: RecordType, target: &str) -> Found {
    if let Ok(address) = target.parse() {
        return Found::answers(addresses(name, kind, [address]));
    }
    let Ok(mut target) = Name::from_ascii(target) else { return Found::nothing() };
    target.set_fqdn(true);
    let alias = (kind != RecordType::CNAME).then(|| target.clone());
    Found { alias, ..Found::answers([other_name(name, &target)]) }
}

fn cluster_addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    let first = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_none());
    let all = spec.cluster_ips.iter().flatten().chain(first);
    all.filter_map(|address| address.parse().ok()).collect()
}

/// Every ready endpoint's every address.
fn members(slices: &[Arc<EndpointSlice>]) -> Vec<Member<'_>> {
    let mut members = Vec::new();
    for slice in slices {
        let ready = slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint));
        for endpoint in ready {
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
            members.extend(addresses.map(|address| {
                let host = endpoint.hostname.clone().filter(|host| !host.is_empty());
                Member { host: host.unwrap_or_else(|| with_dashes(address)), address, slice }
            }));
        }
    }
    members
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn with_dashes(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn address_with_dashes(text: &str) -> Option<IpAddr> {
    let v4 = text.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| text.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

fn protocol_of(protocol: Option<&str>) -> &str {
    protocol.unwrap_or("TCP")
}

/// Whether a label is this name behind an underscore.
fn is(label: &str, name: &str) -> bool {
    label.strip_prefix('_').is_some_and(|label| label.eq_ignore_ascii_case(name))
}

#[cfg(test)]
pub(crate) mod tests;
