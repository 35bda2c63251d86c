//! NetworkPolicy: which pods may talk to which.
//!
//! **Not here**: who enforces it.
//! **Upstream**: `pkg/registry/networking/networkpolicy`, `ValidateNetworkPolicySpec`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{each, is_empty, items, text};
use crate::resources::{cells, check, edit, pod_template};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::IpAddr;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// What tables say of `spec.podSelector`: the words of its first version.
const POD_SELECTOR: &str = "Selects the pods to which this NetworkPolicy object applies.  The array of \
    ingress rules is applied to any pods selected by this field. Multiple network policies can select the \
    same set of pods.  In this case, the ingress rules for each are combined additively. This field is NOT \
    optional and follows standard label selector semantics. An empty podSelector matches all pods in this \
    namespace.";
/// The strategy of NetworkPolicies.
pub(crate) struct NetworkPolicy(Resource);

impl NetworkPolicy {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("networkpolicies", "networkpolicy");
        let scope = Scope::Namespaced;
        Self(Resource::new(super::GROUP, "v1", "NetworkPolicy", plural, singular, scope).short(&["netpol"]))
    }
}

fn check_ports(errors: &mut ErrorList, path: &Path, rule: &Value) {
    for (i, port) in items(rule, "ports").iter().enumerate() {
        let path = path.child("ports").index(i);
        check::one_of_if_set(errors, &path.child("protocol"), &port["protocol"], PROTOCOLS);
        let (number, end) = (&port["port"], &port["endPort"]);
        if !number.is_null() {
            check::port_or_name(errors, &path.child("port"), number);
        }
        let Some(last) = end.as_i64() else { continue };
        let at = path.child("endPort");
        match number {
            Value::Null => {
                errors.push(Error::invalid(&at, last, "may not be specified when `port` is not specified"));
            }
            Value::Number(first) => {
                if first.as_i64().is_some_and(|first| last < first) {
                    errors.push(Error::invalid(&at, last, "must be greater than or equal to `port`"));
                }
                check::invalid(errors, &at, end, names::port_number(last));
            }
            _ => errors.push(Error::invalid(&at, last, "may not be specified when `port` is non-numeric")),
        }
    }
}

fn block(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// Whether a block is a part of another, and smaller.
fn is_within(part: &str, whole: &str) -> bool {
    let (Some((a, small)), Some((b, big))) = (block(part), block(whole)) else { return true };
    let ((a, width), (b, other)) = (bits(a), bits(b));
    if width != other || small <= big || big > width {
        return false;
    }
    big == 0 || (a >> (width - big)) == (b >> (width - big))
}

fn check_peer(errors: &mut ErrorList, path: &Path, peer: &Value) {
    let (ip, mut others) = (&peer["ipBlock"], 0);
    for field in ["podSelector", "namespaceSelector"] {
        if peer[field].is_object() {
            others += 1;
            check::label_selector(errors, &path.child(field), &peer[field]);
        }
    }
    if ip.is_object() {
        let (at, cidr) = (path.child("ipBlock"), text(ip, "cidr"));
        if cidr.is_empty() {
            errors.push(Error::required(&at.child("cidr"), ""));
        } else {
            check::invalid(errors, &at.child("cidr"), &cidr.into(), names::cidr(cidr));
        }
        for (i, except) in items(ip, "except").iter().enumerate() {
            let (path, text) = (at.child("except").index(i), except.as_str().unwrap_or(""));
            let wrong = names::cidr(text);
            if wrong.is_empty() && names::cidr(cidr).is_empty() && !is_within(text, cidr) {
                errors.push(Error::invalid(&path, text, "must be a strict subset of `cidr`"));
            }
            check::invalid(errors, &path, except, wrong);
        }
        if others > 0 {
            errors.push(Error::forbidden(path, "may not specify both ipBlock and another peer"));
        }
    } else if others == 0 {
        errors.push(Error::required(path, "must specify a peer"));
    }
}

impl Strategy for NetworkPolicy {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default(spec, "podSelector", json!({}));
        for list in ["ingress", "egress"] {
            for rule in each(spec, list) {
                each(rule, "ports").for_each(|port| edit::set_default_text(port, "protocol", "TCP"));
            }
        }
        if is_empty(&spec["policyTypes"]) {
            let both = !items(spec, "egress").is_empty();
            edit::set(
                spec,
                "policyTypes",
                if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) },
            );
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check::label_selector(&mut errors, &path.child("podSelector"), &spec["podSelector"]);
        for (list, peers) in [("ingress", "from"), ("egress", "to")] {
            for (i, rule) in items(spec, list).iter().enumerate() {
                let path = path.child(list).index(i);
                check_ports(&mut errors, &path, rule);
                for (j, peer) in items(rule, peers).iter().enumerate() {
                    check_peer(&mut errors, &path.child(peers).index(j), peer);
                }
            }
        }
        let (types, path) = (items(spec, "policyTypes"), path.child("policyTypes"));
        if types.len() > 2 {
            let detail = "may not specify more than two policyTypes";
            errors.push(Error::invalid(&path, spec["policyTypes"].clone(), detail));
            return errors;
        }
        for (i, kind) in types.iter().enumerate() {
            if !matches!(kind.as_str(), Some("Ingress" | "Egress")) {
                errors.push(Error::not_supported(&path.index(i), kind.clone(), &["Egress", "Ingress"]));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("Pod-Selector", "string").text(POD_SELECTOR), cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let selector = pod_template::selector_cell(&object["spec"]["podSelector"]);
        vec![cells::name(object), selector, cells::age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn exceptions_lie_within() {
        assert!(is_within("10.1.0.0/16", "10.0.0.0/8"));
        assert!(!is_within("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!is_within("11.0.0.0/16", "10.0.0.0/8"));
        assert!(!is_within("fd00::/64", "10.0.0.0/8"));
        assert!(is_within("fd00::/64", "::/0"));
    }
}
