//! The IP families of Services: what is meant by what was written, and what may not be.
//!
//! **Contract**: pure. [`keep`] and then [`fill`] complete what is plain; what is not is left as it was written, and
//! [`errors`] and [`update_errors`] say what is wrong with it.
//! **Not here**: addresses (`allocate`).
//! **Upstream**: `initIPFamilyFields` and `normalizeClusterIPs` of `pkg/registry/core/service/storage`,
//! `ValidateServiceClusterIPsRelatedFields`, `upgradeDowngradeClusterIPsErrors`.

use super::allocate::ServiceCidr;
use crate::resources::check;
use crate::resources::edit::{self, is_empty, items, same, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::{Value, json};
use std::net::IpAddr;

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", SINGLE];
const SINGLE: &str = "SingleStack";

/// `IPv4` or `IPv6`.
pub(super) fn of(address: IpAddr) -> &'static str {
    FAMILIES[usize::from(address.is_ipv6())]
}

/// The family of an address as it was written, if it is one.
fn family(address: &Value) -> Option<&'static str> {
    address.as_str()?.parse().ok().map(of)
}

fn is_headless(spec: &Value) -> bool {
    items(spec, "clusterIPs").first().is_some_and(|first| first == "None")
}

/// Whose endpoints are made by hand may have any families.
fn is_free(spec: &Value) -> bool {
    spec["clusterIP"] == "None" && is_empty(&spec["selector"])
}

fn is_single(spec: &Value) -> bool {
    spec["ipFamilyPolicy"] == SINGLE
}

/// Carries over what an update leaves out; a client that changes `clusterIP` and does not know `clusterIPs` means both.
pub(super) fn keep(spec: &mut Value, old: &Value) {
    for field in ["clusterIP", "ipFamilies", "ipFamilyPolicy"] {
        if is_empty(&spec[field]) {
            edit::copy(spec, field, old);
        }
    }
    if same(&spec["clusterIP"], &old["clusterIP"]) {
        if is_empty(&spec["clusterIPs"]) {
            edit::copy(spec, "clusterIPs", old);
        }
    } else if same(&spec["clusterIPs"], &old["clusterIPs"]) {
        edit::remove(spec, "clusterIPs");
    }
}

/// Fills the families and their policy, as far as what was written allows; whether addresses are to follow. `old` is none for
/// a Service that had no families.
pub(super) fn fill(cidrs: &[ServiceCidr], spec: &mut Value, old: Option<&Value>) -> bool {
    if is_empty(&spec["clusterIPs"]) && !is_empty(&spec["clusterIP"]) {
        let first = spec["clusterIP"].clone();
        edit::set(spec, "clusterIPs", json!([first]));
    }
    if old.is_some_and(|old| is_settled(spec, old)) {
        return false;
    }
    if spec["ipFamilyPolicy"].is_null() {
        edit::set(spec, "ipFamilyPolicy", if is_free(spec) { "RequireDualStack" } else { SINGLE });
    }
    if let Some(old) = old.filter(|_| is_single(spec)) {
        // A policy of one family, and nothing else changed, says plainly what is to go.
        for field in ["clusterIPs", "ipFamilies"] {
            if same(&spec[field], &old[field])
                && let Some(list) = spec[field].as_array_mut()
            {
                list.truncate(1);
            }
        }
    }
    if !errors(cidrs, spec, old).is_empty() {
        return false;
    }
    let mut families = items(spec, "ipFamilies").to_vec();
    families
        .extend(items(spec, "clusterIPs").iter().skip(families.len()).filter_map(family).map(Value::from));
    if families.is_empty() {
        families.extend(cidrs.first().map(|cidr| json!(cidr.family())));
    }
    if !is_single(spec) && families.len() == 1 && (is_free(spec) || cidrs.len() > 1) {
        families.extend(
            FAMILIES
                .iter()
                .filter(|other| families[0] != **other)
                .map(|other| json!(other))
                .collect::<Vec<_>>(),
        );
    }
    edit::set(spec, "ipFamilies", families);
    true
}

/// A Service that prefers two families keeps what it has when the cluster has another number of them.
fn is_settled(spec: &Value, old: &Value) -> bool {
    let prefers = |spec: &Value| spec["ipFamilyPolicy"] == "PreferDualStack";
    let fields = ["type", "clusterIPs", "ipFamilies"];
    prefers(spec) && prefers(old) && fields.iter().all(|field| same(&spec[*field], &old[*field]))
}

/// What is wrong with addresses and families; `old` is what the Service was.
pub(super) fn errors(cidrs: &[ServiceCidr], spec: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    check_alone(&mut errors, spec);
    if errors.is_empty() && !old.is_some_and(|old| is_settled(spec, old)) {
        check_intent(&mut errors, cidrs, spec, old);
        if errors.is_empty() && !is_free(spec) {
            check_cluster(&mut errors, cidrs, spec);
        }
    }
    errors
}

/// What is wrong in any cluster.
fn check_alone(errors: &mut ErrorList, spec: &Value) {
    let path = Path::new("spec");
    let (ips_path, families_path) = (path.child("clusterIPs"), path.child("ipFamilies"));
    let (addresses, families) = (items(spec, "clusterIPs"), items(spec, "ipFamilies"));
    let shown = || spec["clusterIPs"].clone();
    match (text(spec, "clusterIP"), addresses.first()) {
        ("", Some(_)) => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.push(Error::invalid(&ips_path, shown(), detail));
        }
        (single, Some(first)) if first != single => {
            errors.push(Error::invalid(&ips_path, shown(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    for (i, family) in families.iter().enumerate() {
        check::one_of(errors, &families_path.index(i), family, FAMILIES);
        if families[..i].contains(family) {
            errors.push(Error::duplicate(&families_path.index(i), family.clone()));
        }
    }
    check::one_of_if_set(errors, &path.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], POLICIES);
    let before = errors.len();
    if addresses.len() > 1 && addresses[0] == "None" {
        errors.push(Error::invalid(&ips_path, shown(), "'None' must be the first and only value"));
    }
    for (i, address) in addresses.iter().enumerate().filter(|(i, address)| *i > 0 || **address != "None") {
        let messages = names::ip_address(address.as_str().unwrap_or(""));
        check::invalid(errors, &ips_path.index(i), address, messages);
    }
    if addresses.len() > 2 {
        errors.push(Error::invalid(&ips_path, shown(), "may only hold up to 2 values"));
    }
    if errors.len() > before {
        return;
    }
    if addresses.len() == 2 && family(&addresses[0]) == family(&addresses[1]) {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&ips_path, shown(), detail));
    }
    for (i, (address, wanted)) in addresses.iter().zip(families).enumerate() {
        if family(address).is_some_and(|family| wanted != family) {
            let wanted = wanted.as_str().unwrap_or_default();
            let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
            errors.push(Error::invalid(&ips_path.index(i), address.clone(), &detail));
        }
    }
}

/// What the policy does not go with.
fn check_intent(errors: &mut ErrorList, cidrs: &[ServiceCidr], spec: &Value, old: Option<&Value>) {
    let path = Path::new("spec");
    let policy = &spec["ipFamilyPolicy"];
    let mut refuse =
        |detail: &str| errors.push(Error::invalid(&path.child("ipFamilyPolicy"), policy.clone(), detail));
    let reduced = |field: &str| {
        let (new, before) = (items(spec, field), old.map_or(&[][..], |old| items(old, field)));
        !new.is_empty() && new.len() < before.len() && before.starts_with(new)
    };
    if is_single(spec) {
        if items(spec, "clusterIPs").len() == 2 {
            refuse("must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified");
        }
        if items(spec, "ipFamilies").len() == 2 {
            refuse("must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified");
        }
    } else {
        if reduced("clusterIPs") {
            refuse("must be 'SingleStack' to release the secondary cluster IP");
        }
        if reduced("ipFamilies") {
            refuse("must be 'SingleStack' to release the secondary IP family");
        }
    }
    let families = items(spec, "ipFamilies").len();
    for (i, address) in items(spec, "clusterIPs").iter().enumerate().skip(families) {
        if let Some(family) = family(address)
            && !cidrs.iter().any(|cidr| cidr.family() == family)
        {
            let detail = format!("{family} is not configured on this cluster");
            let path = path.child("clusterIPs").index(i);
            errors.push(Error::invalid(&path, spec["clusterIPs"].clone(), &detail));
        }
    }
}

/// What this cluster does not have.
fn check_cluster(errors: &mut ErrorList, cidrs: &[ServiceCidr], spec: &Value) {
    let path = Path::new("spec");
    if spec["ipFamilyPolicy"] == "RequireDualStack" && cidrs.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(Error::invalid(&path.child("ipFamilyPolicy"), "RequireDualStack", detail));
    }
    for (i, family) in items(spec, "ipFamilies").iter().enumerate() {
        if !cidrs.iter().any(|cidr| family == cidr.family()) {
            let path = path.child("ipFamilies").index(i);
            errors.push(Error::invalid(&path, family.clone(), "not configured on this cluster"));
        }
    }
    if is_headless(spec) {
        return;
    }
    for address in items(spec, "clusterIPs") {
        let Some(ip) = address.as_str().and_then(|text| text.parse::<IpAddr>().ok()) else { continue };
        let Some(cidr) = cidrs.iter().find(|cidr| cidr.family() == of(ip)) else { continue };
        if !cidr.contains(ip) {
            let shown = address.as_str().unwrap_or_default();
            let detail = format!(
                "failed to allocate IP {shown}: the provided IP ({shown}) is not in the valid range. The range of valid IPs is {cidr}"
            );
            errors.push(Error::invalid(&path.child("clusterIPs"), spec["clusterIPs"].clone(), &detail));
        }
    }
}

/// What of an existing Service's addresses and families may not change: those that are there may not become others. A second
/// one may come, and go with a policy that says so.
pub(super) fn update_errors(spec: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (headless, was_headless) = (is_headless(spec), is_headless(old));
    let fields = [("clusterIPs", headless && was_headless), ("ipFamilies", headless || was_headless)];
    for (field, _) in fields.into_iter().filter(|(_, free)| !free) {
        let path = Path::new("spec").child(field);
        let (new, before) = (items(spec, field), items(old, field));
        for i in (0..new.len().min(before.len())).filter(|i| new[*i] != before[*i]) {
            errors.push(Error::invalid(&path.index(i), spec[field].clone(), "may not change once set"));
        }
    }
    errors
}
