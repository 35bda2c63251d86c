//! The order of the objects: as they come, or kustomize's fixed order of kinds.
//!
//! **Upstream.** `kustomize/api/internal/builtins/SortOrderTransformer.go` (behaviour and lists).

use std::cmp::Ordering;

use crate::kustomization::{LegacySortOptions, SortOptions};
use crate::resource::{Gvk, Id, Set};
use crate::{Error, invalid};

/// Kinds that others need.
const FIRST: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];
/// Kinds that stop others.
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Sorts as the kustomization says, or in the fixed order.
pub(crate) fn sort(set: &mut Set, options: Option<&SortOptions>) -> Result<(), Error> {
    let lists = match options {
        None => None,
        Some(options) => match (options.order.as_str(), &options.legacy_sort_options) {
            ("fifo", None) => return Ok(()),
            ("fifo", Some(_)) => {
                return invalid(
                    "the field 'sortOptions.legacySortOptions' is set but the selected sort order is 'fifo', not 'legacy'",
                );
            }
            ("legacy", lists) => lists.clone(),
            _ => return invalid("the field 'sortOptions.order' must be one of [fifo, legacy]"),
        },
    };
    let lists = lists.unwrap_or_else(|| LegacySortOptions {
        order_first: FIRST.map(str::to_owned).into(),
        order_last: LAST.map(str::to_owned).into(),
    });
    set.0.sort_by(|one, other| compare(&one.id(), &other.id(), &lists));
    Ok(())
}

fn compare(one: &Id, other: &Id, lists: &LegacySortOptions) -> Ordering {
    if one.gvk == other.gvk {
        return by_name(one).cmp(&by_name(other));
    }
    let rank = rank(&one.gvk.kind, lists).cmp(&rank(&other.gvk.kind, lists));
    rank.then_with(|| by_kind(&one.gvk).cmp(&by_kind(&other.gvk)))
}

/// Below zero for the first kinds, above for the last.
fn rank(kind: &str, lists: &LegacySortOptions) -> isize {
    let place =
        |list: &[String]| list.iter().position(|one| one == kind).and_then(|at| isize::try_from(at).ok());
    let firsts = isize::try_from(lists.order_first.len()).unwrap_or(isize::MAX);
    match (place(&lists.order_last), place(&lists.order_first)) {
        (Some(last), _) => last + 1,
        (None, Some(first)) => first - firsts,
        (None, None) => 0,
    }
}

fn or<'a>(text: &'a str, none: &'a str) -> &'a str {
    if text.is_empty() { none } else { text }
}

fn by_kind(gvk: &Gvk) -> String {
    format!("{}_{}_{}", or(&gvk.group, "~G"), or(&gvk.version, "~V"), or(&gvk.kind, "~K"))
}

fn by_name(id: &Id) -> String {
    format!("{}|{}", or(&id.namespace, "~X"), or(&id.name, "~N"))
}
