//! What of a quota is used, given what there is.
//!
//! **Upstream**: `syncResourceQuota`, `quota.CalculateUsage`.

use crate::discovery::Resource;
use api::pod::{ResourceList, is_terminal, is_terminating};
use api::quantity::Quantity;
use api::quota::{self, Kind};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A kind of objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KindName {
    pub(super) group: String,
    pub(super) plural: String,
}

impl KindName {
    pub(super) fn of(resource: &Resource) -> Self {
        Self { group: resource.group.clone(), plural: resource.plural.clone() }
    }

    fn kind(&self) -> Kind<'_> {
        Kind { group: &self.group, plural: &self.plural }
    }

    /// Whether it does not matter what an object is like.
    pub(super) fn only_counts(&self) -> bool {
        let measured = ["pods", "services", "persistentvolumeclaims"];
        !(self.group.is_empty() && measured.contains(&self.plural.as_str())
            || self.group == "resource.k8s.io")
    }
}

/// What there is of a kind in the quota's namespace.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Objects(KindName, Vec<Value>),
    Count(KindName, i64),
}

/// The limits that a quota sets.
pub(super) fn hard(quota: &ResourceQuota) -> ResourceList {
    amounts(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()))
}

fn amounts(list: Option<&BTreeMap<String, ApiQuantity>>) -> ResourceList {
    let entries = list.into_iter().flatten();
    entries.map(|(name, amount)| (name.clone(), api::pod::parse_quantity(amount))).collect()
}

fn to_api(list: &ResourceList) -> BTreeMap<String, ApiQuantity> {
    list.iter().map(|(name, amount)| (name.clone(), ApiQuantity(amount.to_string()))).collect()
}

/// The kinds that these limits are about.
pub(super) fn kinds(hard: &ResourceList) -> Vec<KindName> {
    let kinds = hard.keys().filter_map(|name| quota::kind_of(name));
    let kinds: BTreeSet<KindName> =
        kinds.map(|kind| KindName { group: kind.group.to_owned(), plural: kind.plural.to_owned() }).collect();
    kinds.into_iter().collect()
}

/// Whether a quota's limits are about a kind.
pub(super) fn measures(quota: &ResourceQuota, kind: &KindName) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    hard.into_iter().flatten().any(|(name, _)| kind.kind().is_measured_by(name))
}

/// Whether the status is about other limits than those that are set.
pub(super) fn is_stale(quota: &ResourceQuota) -> bool {
    let reported = quota.status.as_ref().and_then(|status| status.hard.as_ref());
    amounts(reported) != hard(quota)
}

/// Whether a changed pod counts for something else.
pub(super) fn is_other_pod(old: &Pod, new: &Pod) -> bool {
    old.spec != new.spec || is_terminal(old) != is_terminal(new) || is_terminating(old) != is_terminating(new)
}

/// What is used, by the names of the limits.
pub(super) fn used(spec: &Value, hard: &ResourceList, found: &[Found], now: Timestamp) -> ResourceList {
    let mut used = ResourceList::new();
    for found in found {
        let (Found::Objects(kind, _) | Found::Count(kind, _)) = found;
        let kind = kind.kind();
        let measured: Vec<&String> = hard.keys().filter(|name| kind.is_measured_by(name)).collect();
        for name in &measured {
            used.entry((*name).clone()).or_default();
        }
        match found {
            // Kinds without properties are of no scope.
            Found::Count(_, count) if quota::scopes(spec).next().is_none() => {
                for name in measured {
                    *used.entry(name.clone()).or_default() += Quantity::new(*count);
                }
            }
            Found::Count(..) => {}
            Found::Objects(_, objects) => {
                for object in objects.iter().filter(|object| quota::matches(kind, spec, object)) {
                    let usage = kind.usage(object, now);
                    for name in &measured {
                        if let Some(amount) = usage.get(*name) {
                            *used.entry((*name).clone()).or_default() += *amount;
                        }
                    }
                }
            }
        }
    }
    used
}

/// The status that a quota should have, if it has another.
pub(super) fn changed(quota: &ResourceQuota, used: ResourceList) -> Option<ResourceQuotaStatus> {
    let hard = hard(quota);
    let status = quota.status.as_ref();
    let known = (
        amounts(status.and_then(|status| status.hard.as_ref())),
        amounts(status.and_then(|status| status.used.as_ref())),
    );
    if status.is_some() && known == (hard.clone(), used.clone()) {
        return None;
    }
    Some(ResourceQuotaStatus { hard: Some(to_api(&hard)), used: Some(to_api(&used)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::build::at;

    fn quota(hard: Value, status: Value) -> ResourceQuota {
        serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": status}))
            .unwrap()
    }

    fn kind(plural: &str) -> KindName {
        KindName { group: String::new(), plural: plural.to_owned() }
    }

    fn pod(cpu: &str, phase: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}})
    }

    #[test]
    fn what_there_is_is_added_up() {
        let quota = quota(
            json!({"pods": "5", "requests.cpu": "4", "count/pods": "9", "configmaps": "3", "nonsense": "1"}),
            json!({}),
        );
        let hard = hard(&quota);
        assert_eq!(kinds(&hard), [kind("configmaps"), kind("pods")]);
        let found = [
            Found::Objects(
                kind("pods"),
                vec![pod("500m", "Running"), pod("1", "Pending"), pod("2", "Succeeded")],
            ),
            Found::Count(kind("configmaps"), 2),
        ];
        let used = used(&Value::Null, &hard, &found, at(0));
        let status = changed(&quota, used.clone()).unwrap();
        assert_eq!(
            serde_json::to_value(&status.used).unwrap(),
            json!({"pods": "2", "requests.cpu": "1500m", "count/pods": "3", "configmaps": "2"})
        );
        let settled = ResourceQuota { status: Some(status), ..quota };
        assert_eq!(changed(&settled, used), None);
        assert!(!is_stale(&settled));
    }

    #[test]
    fn scopes_leave_out_what_they_do_not_select() {
        let quota = quota(json!({"pods": "5", "configmaps": "3"}), json!({}));
        let found = [
            Found::Objects(
                kind("pods"),
                vec![pod("1", "Running"), json!({"spec": {"containers": [{"name": "c"}]}})],
            ),
            Found::Count(kind("configmaps"), 2),
        ];
        let used = used(&json!({"scopes": ["BestEffort"]}), &hard(&quota), &found, at(0));
        assert_eq!((used["pods"], used["configmaps"]), (Quantity::new(1), Quantity::ZERO));
    }
}
