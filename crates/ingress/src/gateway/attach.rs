//! Which routes are attached to which listeners, where they lead, and what is said of all of it.
//!
//! **Contract**: pure. A route that is not accepted leads nowhere; a backend that cannot be used keeps its share, and whoever
//! gets it is told 500.
//! **Upstream**: the types and conditions of `sigs.k8s.io/gateway-api`; reasons are its.

use super::filters::Filters;
use super::hosts;
use super::matching::{Matcher, Rank};
use super::status::Condition;
use super::types::{
    BackendRef, GROUP, Gateway, HttpMatch, HttpRoute, Listener, ParentRef, Reference, ReferenceGrant,
    RouteRule,
};
use super::{Listening, Port, Ports, Route, Rule};
use crate::annotations::Settings;
use crate::endpoints::{self, PortRef, Upstream};
use crate::routes::{BackendKey, Target};
use client::Key;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use rustls::sign::CertifiedKey;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What objects refer to.
pub(crate) trait World {
    fn namespace(&self, name: &str) -> Option<Arc<Namespace>>;
    fn service(&self, key: &Key) -> Option<Arc<Service>>;
    /// The certificate of a Secret, or what is wrong with it.
    fn certificate(&self, key: &Key) -> Result<Arc<CertifiedKey>, String>;
    /// What stands for a Service's port.
    fn upstream(&mut self, key: &BackendKey) -> Arc<Upstream>;
    /// What a port is good for; none: nobody has asked to open it.
    fn door(&self, port: u16) -> Option<Result<(), String>>;
}

/// The objects that count: Gateways of our classes, all routes and grants.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) gateways: Vec<Arc<Gateway>>,
    pub(crate) routes: Vec<Arc<HttpRoute>>,
    pub(crate) grants: Vec<Arc<ReferenceGrant>>,
}

/// What is to be done, and what is to be said.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) ports: Ports,
    /// Certificates of each port that speaks TLS, by host.
    pub(crate) certificates: BTreeMap<u16, Vec<(String, Arc<CertifiedKey>)>>,
    pub(crate) gateways: Vec<(Key, GatewaySaid)>,
    pub(crate) routes: Vec<(Key, Vec<ParentSaid>)>,
}

/// What is said of a Gateway.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GatewaySaid {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) listeners: Vec<ListenerSaid>,
}

/// What is said of a listener.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListenerSaid {
    pub(crate) name: String,
    pub(crate) attached: usize,
    /// Whether it takes HTTPRoutes.
    pub(crate) takes_routes: bool,
    pub(crate) conditions: Vec<Condition>,
}

/// What is said of a route's wish to be attached.
#[derive(Debug)]
pub(crate) struct ParentSaid {
    pub(crate) parent: ParentRef,
    pub(crate) conditions: Vec<Condition>,
}

/// The ports that listeners need, and whether they speak TLS there.
pub(crate) fn wanted_ports(gateways: &[Arc<Gateway>]) -> BTreeMap<u16, bool> {
    let listeners = gateways.iter().flat_map(|gateway| &gateway.spec.listeners);
    let mut wanted = BTreeMap::new();
    for listener in listeners.filter(|listener| matches!(listener.protocol.as_str(), "HTTP" | "HTTPS")) {
        // The first decides; others are told of the conflict.
        wanted.entry(listener.port).or_insert(listener.protocol == "HTTPS");
    }
    wanted
}

/// A listener while its routes are gathered.
struct Open<'a> {
    gateway: Key,
    listener: &'a Listener,
    usable: bool,
    takes_routes: bool,
    conditions: Vec<Condition>,
    attached: BTreeSet<Key>,
    routes: Vec<(Order, Route)>,
}

/// Where a match comes among all of a listener.
type Order = (Reverse<(u8, usize)>, Rank, Option<k8s_openapi::jiff::Timestamp>, Key, usize, usize);

/// Decides everything.
pub(crate) fn attach(objects: &Objects, world: &mut dyn World) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open: Vec<Open<'_>> = Vec::new();
    let tls_at = wanted_ports(&objects.gateways);
    for gateway in &objects.gateways {
        for listener in &gateway.spec.listeners {
            open.push(examine(gateway, listener, &tls_at, objects, world, &mut outcome));
        }
    }
    for route in &objects.routes {
        let said = attach_route(route, &mut open, objects, world);
        if !said.is_empty() {
            outcome.routes.push((Key::of(&**route), said));
        }
    }
    for gateway in &objects.gateways {
        outcome.gateways.push((Key::of(&**gateway), said_of_gateway(gateway, &open)));
    }
    for Open { listener, usable, mut routes, .. } in open {
        if usable {
            routes.sort_by(|(one, _), (other, _)| one.cmp(other));
            let host = listener.hostname.as_deref().unwrap_or_default().to_ascii_lowercase();
            let routes = routes.into_iter().map(|(_, route)| route).collect();
            outcome.ports.entry(listener.port).or_default().0.push(Listening { host, routes });
        }
    }
    for Port(listeners) in outcome.ports.values_mut() {
        merge(listeners);
    }
    outcome
}

/// Listeners of several Gateways for one host are one; those with longer hosts come first.
fn merge(listeners: &mut Vec<Listening>) {
    let mut by_host: HashMap<String, usize> = HashMap::new();
    let mut merged: Vec<Listening> = Vec::new();
    for listening in std::mem::take(listeners) {
        match by_host.get(&listening.host) {
            Some(at) => merged[*at].routes.extend(listening.routes),
            None => {
                by_host.insert(listening.host.clone(), merged.len());
                merged.push(listening);
            }
        }
    }
    merged.sort_by_key(|listening| Reverse(hosts::exactness(&listening.host)));
    *listeners = merged;
}

/// Whether a listener can be, and what is wrong if not.
fn examine<'a>(
    gateway: &'a Gateway,
    listener: &'a Listener,
    tls_at: &BTreeMap<u16, bool>,
    objects: &Objects,
    world: &mut dyn World,
    outcome: &mut Outcome,
) -> Open<'a> {
    let secure = listener.protocol == "HTTPS";
    let mut refused: Option<(&str, String)> = None;
    let mut conflict = None;
    let twin = |other: &Listener| {
        let at = |listener: &Listener| (listener.port, listener.protocol.clone(), listener.hostname.clone());
        other.name != listener.name && at(other) == at(listener)
    };
    if !matches!(listener.protocol.as_str(), "HTTP" | "HTTPS") {
        refused = Some(("UnsupportedProtocol", format!("protocol {} is not supported", listener.protocol)));
    } else if tls_at.get(&listener.port) != Some(&secure) {
        conflict = Some(("ProtocolConflict", format!("port {} speaks another protocol", listener.port)));
    } else if gateway.spec.listeners.iter().any(twin) {
        conflict = Some(("HostnameConflict", "another listener has the same port and hostname".to_owned()));
    } else if let Some(Err(why)) = world.door(listener.port) {
        refused = Some(("PortUnavailable", why));
    } else if secure && listener.tls.as_ref().and_then(|tls| tls.mode.as_deref()) == Some("Passthrough") {
        refused = Some(("UnsupportedProtocol", "TLS that is passed through is not supported".to_owned()));
    }
    let kinds = listener.allowed_routes.iter().flat_map(|allowed| &allowed.kinds);
    let is_ours = |kind: &&super::types::RouteKind| {
        kind.kind == "HTTPRoute" && kind.group.as_deref().unwrap_or(GROUP) == GROUP
    };
    let (ours, others): (Vec<_>, Vec<_>) = kinds.partition(is_ours);
    let takes_routes = !ours.is_empty() || others.is_empty();
    let mut unresolved = others
        .first()
        .map(|kind| ("InvalidRouteKinds", format!("routes of kind {} are not supported", kind.kind)));
    let certificate = if secure && refused.is_none() && conflict.is_none() {
        match certificate(gateway, listener, objects, world) {
            Ok(certificate) => Some(certificate),
            Err(why) => {
                unresolved = Some(why);
                None
            }
        }
    } else {
        None
    };
    let usable = refused.is_none() && conflict.is_none() && (!secure || certificate.is_some());
    if let Some(certificate) = certificate {
        let host = listener.hostname.clone().unwrap_or_default();
        outcome.certificates.entry(listener.port).or_default().push((host, certificate));
    }
    let programmed = match usable && takes_routes {
        true => Condition::yes("Programmed", "Programmed"),
        false => Condition::no("Programmed", "Invalid", "the listener cannot be used"),
    };
    let conditions = vec![
        match (&refused, &conflict) {
            (None, None) => Condition::yes("Accepted", "Accepted"),
            (Some((reason, why)), _) | (None, Some((reason, why))) => Condition::no("Accepted", reason, why),
        },
        programmed,
        match &unresolved {
            None => Condition::yes("ResolvedRefs", "ResolvedRefs"),
            Some((reason, why)) => Condition::no("ResolvedRefs", reason, why),
        },
        match &conflict {
            None => Condition::no("Conflicted", "NoConflicts", ""),
            Some((reason, why)) => Condition { message: why.clone(), ..Condition::yes("Conflicted", reason) },
        },
    ];
    Open {
        gateway: Key::of(gateway),
        listener,
        usable,
        takes_routes,
        conditions,
        attached: BTreeSet::new(),
        routes: Vec::new(),
    }
}

/// The certificate of a listener.
fn certificate(
    gateway: &Gateway,
    listener: &Listener,
    objects: &Objects,
    world: &dyn World,
) -> Result<Arc<CertifiedKey>, (&'static str, String)> {
    let invalid = |why: String| ("InvalidCertificateRef", why);
    let references = listener.tls.as_ref().map(|tls| tls.certificate_refs.as_slice()).unwrap_or_default();
    let [Reference { group, kind, namespace, name }] = references else {
        return Err(invalid("there must be one certificate".to_owned()));
    };
    if group.as_deref().unwrap_or_default() != "" || kind.as_deref().unwrap_or("Secret") != "Secret" {
        return Err(invalid("certificates must be Secrets".to_owned()));
    }
    let own = gateway.metadata.namespace.as_deref().unwrap_or_default();
    let to = Key::new(namespace.as_deref().unwrap_or(own), name.as_str());
    if !granted(objects, "Gateway", own, ("", "Secret"), &to) {
        return Err(("RefNotPermitted", format!("no ReferenceGrant permits the use of secret {to}")));
    }
    world.certificate(&to).map_err(invalid)
}

/// Whether an object of our group may refer to another.
fn granted(objects: &Objects, kind: &str, namespace: &str, to: (&str, &str), target: &Key) -> bool {
    target.namespace == namespace
        || objects.grants.iter().any(|grant| {
            let spec = &grant.spec;
            grant.metadata.namespace.as_deref() == Some(target.namespace.as_str())
                && spec
                    .from
                    .iter()
                    .any(|from| from.group == GROUP && from.kind == kind && from.namespace == namespace)
                && spec.to.iter().any(|granted| {
                    (granted.group.as_str(), granted.kind.as_str()) == to
                        && granted
                            .name
                            .as_ref()
                            .filter(|name| !name.is_empty())
                            .is_none_or(|name| *name == target.name)
                })
        })
}

/// Attaches a route to those of its parents that are ours; what is said of each.
fn attach_route(
    route: &Arc<HttpRoute>,
    open: &mut [Open<'_>],
    objects: &Objects,
    world: &mut dyn World,
) -> Vec<ParentSaid> {
    let own = route.metadata.namespace.clone().unwrap_or_default();
    let is_ours = |parent: &&ParentRef| {
        let kind = (parent.group.as_deref().unwrap_or(GROUP), parent.kind.as_deref().unwrap_or("Gateway"));
        let key = Key::new(parent.namespace.as_deref().unwrap_or(&own), parent.name.as_str());
        kind == (GROUP, "Gateway") && objects.gateways.iter().any(|gateway| Key::of(&**gateway) == key)
    };
    let parents: Vec<&ParentRef> = route.spec.parent_refs.iter().filter(is_ours).collect();
    if parents.is_empty() {
        return Vec::new();
    }
    let compiled = compile(route, objects, world);
    let said = |parent: &&ParentRef| {
        let accepted = match &compiled {
            Ok((rules, _)) => accept(route, parent, rules, open, world),
            Err(why) => Err(("UnsupportedValue", why.clone())),
        };
        let resolved = match &compiled {
            Ok((_, Some((reason, why)))) => Condition::no("ResolvedRefs", reason, why),
            _ => Condition::yes("ResolvedRefs", "ResolvedRefs"),
        };
        let accepted = match accepted {
            Ok(()) => Condition::yes("Accepted", "Accepted"),
            Err((reason, why)) => Condition::no("Accepted", reason, &why),
        };
        ParentSaid { parent: (*parent).clone(), conditions: vec![accepted, resolved] }
    };
    parents.iter().map(said).collect()
}

/// Puts a route's rules into the listeners of one parent.
fn accept(
    route: &HttpRoute,
    parent: &ParentRef,
    rules: &[(Vec<HttpMatch>, Arc<Rule>)],
    open: &mut [Open<'_>],
    world: &dyn World,
) -> Result<(), (&'static str, String)> {
    let key = Key::of(route);
    let gateway = Key::new(parent.namespace.as_deref().unwrap_or(&key.namespace), parent.name.as_str());
    let meant = |open: &&mut Open<'_>| {
        open.gateway == gateway
            && parent.section_name.as_ref().is_none_or(|name| *name == open.listener.name)
            && parent.port.is_none_or(|port| port == open.listener.port)
    };
    let (mut found, mut allowed, mut attached) = (false, false, false);
    for open in open.iter_mut().filter(meant) {
        found = true;
        if !open.takes_routes || !is_allowed(open, &key.namespace, world) {
            continue;
        }
        allowed = true;
        let listener = open.listener.hostname.as_deref().unwrap_or_default().to_ascii_lowercase();
        let names: Vec<String> = match route.spec.hostnames.as_slice() {
            [] => vec![String::new()],
            names => names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        };
        for name in names.iter().filter_map(|name| hosts::both(&listener, name)) {
            attached = true;
            open.attached.insert(key.clone());
            for (index, (matches, rule)) in rules.iter().enumerate() {
                for (at, wanted) in matches.iter().enumerate() {
                    // Those that cannot be understood were refused before.
                    let Ok(matcher) = Matcher::new(wanted) else { continue };
                    let made = route.metadata.creation_timestamp.as_ref().map(|time| time.0);
                    let order =
                        (Reverse(hosts::exactness(name)), matcher.rank(), made, key.clone(), index, at);
                    let one = Route { host: name.to_owned(), matcher, rule: rule.clone() };
                    open.routes.push((order, one));
                }
            }
        }
    }
    match (found, allowed, attached) {
        (false, ..) => Err(("NoMatchingParent", "the Gateway has no such listener".to_owned())),
        (_, false, _) => Err(("NotAllowedByListeners", "no listener takes this route".to_owned())),
        (.., false) => {
            Err(("NoMatchingListenerHostname", "no hostname of the route is one of a listener's".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether a listener takes routes of a namespace.
fn is_allowed(open: &Open<'_>, namespace: &str, world: &dyn World) -> bool {
    let allowed = open.listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    match allowed.and_then(|allowed| allowed.from.as_deref()).unwrap_or("Same") {
        "All" => true,
        "Selector" => {
            let selector = allowed.and_then(|allowed| allowed.selector.clone()).unwrap_or_default();
            let Ok(selector) = serde_json::from_value::<LabelSelector>(selector) else { return false };
            let Ok(selector) = Selector::try_from(selector) else { return false };
            let labels =
                world.namespace(namespace).map(|found| found.metadata.labels.clone().unwrap_or_default());
            labels.is_some_and(|labels| selector.matches(&labels))
        }
        _ => open.gateway.namespace == namespace,
    }
}

/// What is wrong with a reference of a route.
type Unresolved = Option<(&'static str, String)>;

/// The rules of a route with what each is about, and the first reference that leads nowhere.
type Compiled = (Vec<(Vec<HttpMatch>, Arc<Rule>)>, Unresolved);

/// What a route says; an error if the route cannot be done.
fn compile(route: &HttpRoute, objects: &Objects, world: &mut dyn World) -> Result<Compiled, String> {
    let mut unresolved = None;
    let mut rules = Vec::new();
    for rule in &route.spec.rules {
        let filters = Filters::new(&rule.filters)?;
        let settings = settings(rule, &filters)?;
        let mut backends = Vec::new();
        for backend in &rule.backend_refs {
            if !backend.filters.is_empty() {
                return Err("filters of a single backend are not supported".to_owned());
            }
            let target = match target(route, backend, objects, world) {
                Ok(key) => {
                    let upstream = world.upstream(&key);
                    Some(Arc::new(Target {
                        backend: key,
                        upstream,
                        settings: settings.clone(),
                        secure: false,
                    }))
                }
                Err(why) => {
                    unresolved.get_or_insert(why);
                    None
                }
            };
            backends.push((backend.weight.unwrap_or(1), target));
        }
        let matches = if rule.matches.is_empty() { vec![HttpMatch::default()] } else { rule.matches.clone() };
        for wanted in &matches {
            Matcher::new(wanted)?;
        }
        rules.push((matches, Arc::new(Rule { filters, backends })));
    }
    Ok((rules, unresolved))
}

fn settings(rule: &RouteRule, filters: &Filters) -> Result<Settings, String> {
    let mut settings = Settings { virtual_host: filters.host.clone(), ..Settings::default() };
    let Some(timeouts) = &rule.timeouts else { return Ok(settings) };
    for text in [&timeouts.request, &timeouts.backend_request].into_iter().flatten() {
        let limit = duration(text).ok_or_else(|| format!("timeout {text:?} is no duration"))?;
        // Nothing is no limit.
        if !limit.is_zero() {
            settings.read_timeout = limit;
        }
    }
    Ok(settings)
}

/// `1h30m`, `10s`, `500ms`. **Upstream**: GEP-2257.
fn duration(text: &str) -> Option<Duration> {
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let milliseconds: u64 = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        total += number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// The Service's port that is meant.
fn target(
    route: &HttpRoute,
    backend: &BackendRef,
    objects: &Objects,
    world: &dyn World,
) -> Result<BackendKey, (&'static str, String)> {
    let kind = backend.kind.as_deref().unwrap_or("Service");
    if backend.group.as_deref().unwrap_or_default() != "" || kind != "Service" {
        return Err(("InvalidKind", format!("backends of kind {kind} are not supported")));
    }
    let own = route.metadata.namespace.as_deref().unwrap_or_default();
    let to = Key::new(backend.namespace.as_deref().unwrap_or(own), backend.name.as_str());
    if !granted(objects, "HTTPRoute", own, ("", "Service"), &to) {
        return Err(("RefNotPermitted", format!("no ReferenceGrant permits the use of service {to}")));
    }
    let missing = |what: String| ("BackendNotFound", what);
    let service = world.service(&to).ok_or_else(|| missing(format!("service {to} not found")))?;
    let port =
        PortRef::Number(backend.port.ok_or_else(|| missing(format!("no port of service {to} is named")))?);
    let external = service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"));
    if !external && endpoints::port(&service, &port).is_none() {
        return Err(missing(format!("service {to} has no port {}", backend.port.unwrap_or_default())));
    }
    Ok(BackendKey { service: to, port })
}

fn said_of_gateway(gateway: &Gateway, open: &[Open<'_>]) -> GatewaySaid {
    let key = Key::of(gateway);
    let own: Vec<&Open<'_>> = open.iter().filter(|open| open.gateway == key).collect();
    let listeners = own.iter().map(|open| ListenerSaid {
        name: open.listener.name.clone(),
        attached: open.attached.len(),
        takes_routes: open.takes_routes,
        conditions: open.conditions.clone(),
    });
    let usable = own.iter().filter(|open| open.usable).count();
    let unsupported = [
        (!gateway.spec.addresses.is_empty(), "addresses cannot be chosen"),
        (!gateway.spec.tls.is_null(), "certificates of clients and of backends are not supported"),
        (!gateway.spec.allowed_listeners.is_null(), "listeners of their own kind are not supported"),
    ];
    let unsupported = unsupported.iter().find(|(is, _)| *is).map(|(_, what)| *what);
    let accepted = match (unsupported, usable == own.len(), usable) {
        (Some(what), ..) => Condition::no("Accepted", "UnsupportedValue", what),
        (None, true, _) => Condition::yes("Accepted", "Accepted"),
        (None, false, 0) => Condition::no("Accepted", "ListenersNotValid", "no listener can be used"),
        (None, false, _) => Condition {
            message: "some listeners cannot be used".to_owned(),
            ..Condition::yes("Accepted", "ListenersNotValid")
        },
    };
    let programmed = match usable {
        0 => Condition::no("Programmed", "Invalid", "no listener can be used"),
        _ => Condition::yes("Programmed", "Programmed"),
    };
    GatewaySaid { conditions: vec![accepted, programmed], listeners: listeners.collect() }
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
