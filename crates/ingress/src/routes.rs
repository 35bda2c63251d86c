//! The routing table: which host and path lead where.
//!
//! **Contract**: pure. A host is matched exactly, else by a wildcard of one label, else by rules without a host. Within a
//! host the longest path wins, an exact one before a prefix; of two equal ones that of the older Ingress. A prefix is matched
//! by elements: `/foo` leads `/foo/bar`, not `/foobar`. `ImplementationSpecific` is a prefix, or a regular expression
//! where annotations ask for one.
//! **Upstream**: the Ingress API (`pathType`, `host`); ingress-nginx for rewrites.

use crate::annotations::{self, Settings};
use crate::endpoints::{PortRef, Upstream};
use client::Key;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};
use regex::{Captures, Regex, RegexBuilder};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// The longest compiled expression, bytes.
const LONGEST_REGEX: usize = 1 << 20;

/// A Service's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendKey {
    /// The Service.
    pub service: Key,
    /// Its port.
    pub port: PortRef,
}

/// Where a route leads.
#[derive(Debug)]
pub struct Target {
    /// What is asked for.
    pub backend: BackendKey,
    /// Its endpoints.
    pub upstream: Arc<Upstream>,
    /// What the Ingress says of such requests.
    pub settings: Settings,
    /// Whether there is a certificate for the host.
    pub secure: bool,
}

#[derive(Debug)]
enum Matcher {
    Exact(String),
    /// Without a slash at the end.
    Prefix(String),
    Regex(Regex),
}

#[derive(Debug)]
struct Route {
    matcher: Matcher,
    /// Longer ones first; what nothing else leads comes last.
    rank: (Reverse<usize>, u8),
    target: Arc<Target>,
}

/// All routes.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Vec<Route>>,
    /// By what follows the first label.
    wildcard: HashMap<String, Vec<Route>>,
    any: Vec<Route>,
}

/// What an Ingress says that is not followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Complaint {
    /// About which Ingress.
    pub ingress: Key,
    /// The event's reason.
    pub reason: &'static str,
    /// The event's message.
    pub message: String,
}

/// Makes the table of these Ingresses; `upstream` gives what stands for a Service's port.
pub fn table(
    mut ingresses: Vec<Arc<Ingress>>,
    upstream: &mut dyn FnMut(&BackendKey) -> Arc<Upstream>,
) -> (Table, Vec<Complaint>) {
    ingresses.sort_by_cached_key(|ingress| {
        (ingress.metadata.creation_timestamp.as_ref().map(|time| time.0), Key::of(&**ingress))
    });
    let (mut table, mut complaints) = (Table::default(), Vec::new());
    for ingress in &ingresses {
        let mut adding = Adding { ingress, key: Key::of(&**ingress), complaints: &mut complaints, upstream };
        adding.add_to(&mut table);
    }
    let all = table.exact.values_mut().chain(table.wildcard.values_mut());
    for routes in all.chain([&mut table.any]) {
        routes.sort_by_key(|route| route.rank);
    }
    (table, complaints)
}

/// One Ingress while its routes are made.
struct Adding<'a> {
    ingress: &'a Ingress,
    key: Key,
    complaints: &'a mut Vec<Complaint>,
    upstream: &'a mut dyn FnMut(&BackendKey) -> Arc<Upstream>,
}

impl Adding<'_> {
    fn add_to(&mut self, table: &mut Table) {
        let Some(spec) = &self.ingress.spec else { return };
        let (settings, ignored) =
            annotations::read(self.ingress.metadata.annotations.as_ref().unwrap_or(&Default::default()));
        for text in ignored {
            self.complain("AnnotationIgnored", text);
        }
        let rules = spec.rules.as_deref().unwrap_or_default();
        let mut hosts: Vec<&str> = Vec::new();
        for rule in rules {
            let host = rule.host.as_deref().unwrap_or_default();
            hosts.push(host);
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let Some(target) = self.target(&path.backend, &settings, host) else { continue };
                match matcher(path, &settings) {
                    Ok((matcher, rank)) => {
                        let rank = (Reverse(path.path.as_deref().unwrap_or("/").len()), rank);
                        table.host(host).push(Route { matcher, rank, target });
                    }
                    Err(why) => self.complain("InvalidPath", why),
                }
            }
        }
        let Some(default) = &spec.default_backend else { return };
        if hosts.is_empty() {
            hosts.push("");
        }
        hosts.sort_unstable();
        hosts.dedup();
        for host in hosts {
            let Some(target) = self.target(default, &settings, host) else { continue };
            let rank = (Reverse(0), u8::MAX);
            table.host(host).push(Route { matcher: Matcher::Prefix(String::new()), rank, target });
        }
    }

    fn target(&mut self, backend: &IngressBackend, settings: &Settings, host: &str) -> Option<Arc<Target>> {
        let Some(service) = &backend.service else {
            self.complain("BackendIgnored", "backends that are no Services are not supported".to_owned());
            return None;
        };
        let port = service.port.as_ref();
        let port = match port.and_then(|port| port.name.clone()) {
            Some(name) => PortRef::Name(name),
            None => PortRef::Number(port.and_then(|port| port.number).unwrap_or_default()),
        };
        let key = BackendKey { service: Key::new(self.key.namespace.clone(), service.name.clone()), port };
        let upstream = (self.upstream)(&key);
        let secure = self.is_secure(host);
        Some(Arc::new(Target { backend: key, upstream, settings: settings.clone(), secure }))
    }

    fn is_secure(&self, host: &str) -> bool {
        let tls = self.ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        tls.into_iter().any(|tls| {
            let hosts = tls.hosts.as_deref().unwrap_or_default();
            hosts.is_empty() || hosts.iter().any(|covered| covered == host || covers(covered, host))
        })
    }

    fn complain(&mut self, reason: &'static str, message: String) {
        self.complaints.push(Complaint { ingress: self.key.clone(), reason, message });
    }
}

/// Whether a host with a wildcard stands for another.
pub(crate) fn covers(wildcard: &str, host: &str) -> bool {
    wildcard
        .strip_prefix("*.")
        .is_some_and(|rest| host.split_once('.').is_some_and(|(_, after)| after == rest))
}

fn matcher(path: &HTTPIngressPath, settings: &Settings) -> Result<(Matcher, u8), String> {
    let text = path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/");
    if path.path_type == "Exact" {
        return Ok((Matcher::Exact(text.to_owned()), 0));
    }
    let special = text.contains(['(', ')', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$', '\\']);
    if special && (settings.regex || settings.rewrite.is_some()) {
        let anchored = format!("^(?:{})", text.trim_start_matches('^'));
        let compiled = RegexBuilder::new(&anchored).case_insensitive(true).size_limit(LONGEST_REGEX).build();
        let error = |error| format!("path {text:?} is not a valid regular expression: {error}");
        return Ok((Matcher::Regex(compiled.map_err(error)?), 1));
    }
    Ok((Matcher::Prefix(text.trim_end_matches('/').to_owned()), 1))
}

impl Table {
    fn host(&mut self, host: &str) -> &mut Vec<Route> {
        match host.strip_prefix("*.") {
            _ if host.is_empty() => &mut self.any,
            Some(rest) => self.wildcard.entry(rest.to_owned()).or_default(),
            None => self.exact.entry(host.to_owned()).or_default(),
        }
    }

    /// Where a request for this host (in small letters, without a port) and path leads, and the path that the backend is to
    /// see if that is another one.
    pub fn find(&self, host: &str, path: &str) -> Option<(&Arc<Target>, Option<String>)> {
        let by_wildcard = || self.wildcard.get(host.split_once('.')?.1);
        let routes = self.exact.get(host).or_else(by_wildcard).unwrap_or(&self.any);
        routes.iter().find_map(|route| {
            let rewrite = route.target.settings.rewrite.as_deref();
            match &route.matcher {
                Matcher::Exact(exact) => (path == exact).then(|| rewrite.map(|to| expand(to, None))),
                Matcher::Prefix(prefix) => {
                    let rest = path.strip_prefix(prefix.as_str())?;
                    (rest.is_empty() || rest.starts_with('/')).then(|| rewrite.map(|to| expand(to, None)))
                }
                Matcher::Regex(regex) => {
                    let captures = regex.captures(path)?;
                    Some(rewrite.map(|to| expand(to, Some(&captures))))
                }
            }
            .map(|rewritten| (&route.target, rewritten))
        })
    }
}

/// Puts what groups have matched in the place of `$1` and the like.
fn expand(template: &str, captures: Option<&Captures<'_>>) -> String {
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek().and_then(|next| next.to_digit(10)).filter(|_| c == '$') {
            Some(group) => {
                chars.next();
                let matched = captures.and_then(|captures| captures.get(group as usize));
                out.push_str(matched.map_or("", |matched| matched.as_str()));
            }
            None => out.push(c),
        }
    }
    if out.starts_with('/') { out } else { format!("/{out}") }
}

#[cfg(test)]
mod tests;
