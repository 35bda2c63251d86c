//! What is in the table of the policies, and what turns one state into another.
//!
//! A packet is forwarded from a pod and to a pod: the chain `egress` looks for its source, then the chain `ingress` for its
//! destination. A pod that policies select leads to a chain that tries each of them and drops in the end.
//!
//! **Contract**: pure; one text is one transaction.

use super::Place;
use crate::family::Family;
use crate::rules::removal;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The map from pods to the chains of what they may send.
pub const EGRESS: &str = "egress-pods";
/// The map from pods to the chains of what they may receive.
pub const INGRESS: &str = "ingress-pods";
/// Selected pods, each with itself: a pod always reaches itself.
pub const SELVES: &str = "selves";

/// What IPv6 does on a link for itself (RFC 4861, RFC 3810).
const NEIGHBOURS: &str = "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, \
    mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report";

/// A set's type and elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// As nftables spells it.
    pub of: String,
    /// Its elements.
    pub elements: BTreeSet<String>,
}

/// What is in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Chains and their rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Addresses that rules name.
    pub sets: BTreeMap<String, Set>,
    /// Elements of what is always there; the text after the key.
    pub elements: BTreeMap<(&'static str, String), String>,
}

/// The table without any policy; whatever a table of this name had is gone.
pub fn base(place: &Place) -> String {
    let Place { family, kind, name, bridge } = place;
    let (ip, address) = (family.nft(), family.nft_type());
    let link = match family {
        Family::V4 => String::new(),
        Family::V6 => link(kind, bridge.as_deref()),
    };
    format!(
        "{}table {kind} {name} {{
  map {EGRESS} {{ type {address} : verdict; }}
  map {INGRESS} {{ type {address} : verdict; }}
  set {SELVES} {{ type {address} . {address}; }}
  chain egress {{
    type filter hook forward priority -12
{link}    ct state established,related accept
    {ip} saddr . {ip} daddr @{SELVES} accept
    {ip} saddr vmap @{EGRESS}
  }}
  chain ingress {{
    type filter hook forward priority -11
{link}    ct state established,related accept
    {ip} saddr . {ip} daddr @{SELVES} accept
    {ip} daddr vmap @{INGRESS}
  }}
}}
",
        removal(kind, name)
    )
}

/// What IPv6 does on a link for itself passes, or nobody finds anybody's hardware address; over IPv4 that is no packet of the
/// family. For all else the addresses of the link are none.
fn link(kind: &str, bridge: Option<&str>) -> String {
    let within = if kind == "bridge" { "meta ibrname" } else { "iifname" };
    let mut rules = format!("    icmpv6 type {{ {NEIGHBOURS} }} accept\n");
    for (bridge, end) in bridge.iter().flat_map(|bridge| [(bridge, "saddr"), (bridge, "daddr")]) {
        let _ = writeln!(rules, "    {within} \"{bridge}\" ip6 {end} fe80::/10 drop");
    }
    rules
}

/// The transaction from one state to another; nothing to do is an empty text.
///
/// What refers comes after what is referred to, and goes before it.
pub fn transition(place: &Place, old: &State, new: &State) -> String {
    let at = format!("{} {}", place.kind, place.name);
    let mut text = String::new();
    let mut line = |command: String| {
        let _ = writeln!(text, "{command}");
    };
    let differs = |key: &&(&'static str, String)| old.elements.get(*key) != new.elements.get(*key);
    for (map, key) in old.elements.keys().filter(differs) {
        line(format!("delete element {at} {map} {{ {key} }}"));
    }
    for (name, set) in &new.sets {
        let empty = BTreeSet::new();
        let before = match old.sets.get(name) {
            Some(before) => &before.elements,
            None => {
                line(format!("add set {at} {name} {{ type {}; }}", set.of));
                &empty
            }
        };
        for (command, elements) in
            [("delete", before.difference(&set.elements)), ("add", set.elements.difference(before))]
        {
            let elements: Vec<&str> = elements.map(String::as_str).collect();
            if !elements.is_empty() {
                line(format!("{command} element {at} {name} {{ {} }}", elements.join(", ")));
            }
        }
    }
    let written: Vec<_> =
        new.chains.iter().filter(|(name, rules)| old.chains.get(*name) != Some(rules)).collect();
    for (name, _) in &written {
        line(format!("add chain {at} {name}"));
        if old.chains.contains_key(*name) {
            line(format!("flush chain {at} {name}"));
        }
    }
    for (name, rules) in &written {
        rules.iter().for_each(|rule| line(format!("add rule {at} {name} {rule}")));
    }
    for key in new.elements.keys().filter(differs) {
        let value = &new.elements[key];
        let value = if value.is_empty() { String::new() } else { format!(" : {value}") };
        line(format!("add element {at} {} {{ {}{value} }}", key.0, key.1));
    }
    let gone: Vec<_> = old.chains.keys().filter(|name| !new.chains.contains_key(*name)).collect();
    gone.iter().for_each(|name| line(format!("flush chain {at} {name}")));
    gone.iter().for_each(|name| line(format!("delete chain {at} {name}")));
    for name in old.sets.keys().filter(|name| !new.sets.contains_key(*name)) {
        line(format!("delete set {at} {name}"));
    }
    text
}
