//! What affinity and topology spread constraints may be.
//!
//! **Upstream**: `validateAffinity`, `validateTopologySpreadConstraints`.

use crate::resources::check;
use crate::resources::edit::{self, items, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::{Value, json};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// All errors of an affinity; none if there is none.
pub(super) fn check_affinity(errors: &mut ErrorList, path: &Path, affinity: &Value) {
    let node = &affinity["nodeAffinity"];
    let node_path = path.child("nodeAffinity");
    check_node_selector(errors, &node_path.child(REQUIRED), &node[REQUIRED]);
    for (i, preferred) in items(node, PREFERRED).iter().enumerate() {
        let path = node_path.child(PREFERRED).index(i);
        check_weight(errors, &path, preferred);
        check_node_term(errors, &path.child("preference"), &preferred["preference"]);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, path) = (&affinity[kind], path.child(kind));
        for (i, term) in items(affinity, REQUIRED).iter().enumerate() {
            check_pod_term(errors, &path.child(REQUIRED).index(i), term);
        }
        for (i, weighted) in items(affinity, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(i);
            check_weight(errors, &path, weighted);
            check_pod_term(errors, &path.child("podAffinityTerm"), &weighted["podAffinityTerm"]);
        }
    }
}

/// Writes what `matchLabelKeys` and `mismatchLabelKeys` mean for this pod into the selectors beside them.
///
/// **Upstream**: `applyMatchLabelKeysAndMismatchLabelKeys`, `mutateTopologySpreadConstraints` of `pkg/registry/core/pod`.
pub(crate) fn apply_label_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = edit::child(pod, "spec") else { return };
    for constraint in edit::each(spec, "topologySpreadConstraints") {
        narrow(constraint, &labels);
    }
    let Some(affinity) = edit::child(spec, "affinity") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = edit::child(affinity, kind) else { continue };
        edit::each(affinity, REQUIRED).for_each(|term| narrow(term, &labels));
        for weighted in edit::each(affinity, PREFERRED) {
            if let Some(term) = edit::child(weighted, "podAffinityTerm") {
                narrow(term, &labels);
            }
        }
    }
}

/// A selector that is absent selects nothing, and stays so.
fn narrow(term: &mut Value, labels: &Value) {
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys: Vec<String> =
            items(term, field).iter().filter_map(|k| k.as_str().map(str::to_owned)).collect();
        let Some(selector) = edit::child(term, "labelSelector") else { return };
        for key in keys {
            let Some(value) = labels[&key].as_str() else { continue };
            let requirement = json!({"key": key, "operator": operator, "values": [value]});
            match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
                Some(expressions) => expressions.push(requirement),
                None => edit::set(selector, "matchExpressions", json!([requirement])),
            }
        }
    }
}

/// All errors of a node selector; none if there is none.
pub(crate) fn check_node_selector(errors: &mut ErrorList, path: &Path, selector: &Value) {
    if selector.is_object() {
        let (terms, path) = (items(selector, "nodeSelectorTerms"), path.child("nodeSelectorTerms"));
        if terms.is_empty() {
            errors.push(Error::required(&path, "must have at least one node selector term"));
        }
        for (i, term) in terms.iter().enumerate() {
            check_node_term(errors, &path.index(i), term);
        }
    }
}

fn check_weight(errors: &mut ErrorList, path: &Path, term: &Value) {
    let weight = term["weight"].as_i64().unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

fn check_node_term(errors: &mut ErrorList, path: &Path, term: &Value) {
    for field in ["matchExpressions", "matchFields"] {
        for (i, expression) in items(term, field).iter().enumerate() {
            let path = path.child(field).index(i);
            let values = items(expression, "values");
            match text(expression, "operator") {
                "In" | "NotIn" if values.is_empty() => errors.push(Error::required(
                    &path.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                )),
                "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                    &path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                )),
                "Gt" | "Lt" if values.len() != 1 => errors.push(Error::required(
                    &path.child("values"),
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                )),
                "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
                other => {
                    let detail = "not a valid selector operator";
                    errors.push(Error::invalid(&path.child("operator"), other, detail));
                }
            }
            let key = text(expression, "key");
            if field == "matchExpressions" {
                check::invalid(errors, &path.child("key"), &key.into(), names::qualified_name(key));
            } else if key != "metadata.name" {
                errors.push(Error::invalid(&path.child("key"), key, "not a valid field selector key"));
            }
        }
    }
}

fn check_topology_key(errors: &mut ErrorList, path: &Path, term: &Value) {
    match text(term, "topologyKey") {
        "" => errors.push(Error::required(&path.child("topologyKey"), "can not be empty")),
        key => check::invalid(errors, &path.child("topologyKey"), &key.into(), names::qualified_name(key)),
    }
}

fn check_pod_term(errors: &mut ErrorList, path: &Path, term: &Value) {
    check::label_selector(errors, &path.child("labelSelector"), &term["labelSelector"]);
    check::label_selector(errors, &path.child("namespaceSelector"), &term["namespaceSelector"]);
    for (i, namespace) in items(term, "namespaces").iter().enumerate() {
        let messages = check::label(namespace.as_str().unwrap_or(""));
        check::invalid(errors, &path.child("namespaces").index(i), namespace, messages);
    }
    check_topology_key(errors, path, term);
}

/// All errors of topology spread constraints.
pub(super) fn check_spread(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let constraints = items(spec, "topologySpreadConstraints");
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.index(i);
        let skew = constraint["maxSkew"].as_i64().unwrap_or(0);
        if skew <= 0 {
            errors.push(Error::invalid(&path.child("maxSkew"), skew, "must be greater than zero"));
        }
        check_topology_key(errors, &path, constraint);
        let actions = &["DoNotSchedule", "ScheduleAnyway"];
        check::one_of(errors, &path.child("whenUnsatisfiable"), &constraint["whenUnsatisfiable"], actions);
        let same = |c: &Value| {
            c["topologyKey"] == constraint["topologyKey"]
                && c["whenUnsatisfiable"] == constraint["whenUnsatisfiable"]
        };
        if constraints[..i].iter().any(same) {
            let pair =
                format!("{{{}, {}}}", text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
            errors.push(Error::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), pair));
        }
        check::label_selector(errors, &path.child("labelSelector"), &constraint["labelSelector"]);
        if let Some(domains) = constraint["minDomains"].as_i64() {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.push(Error::invalid(&path, domains, "must be greater than zero"));
            }
            if let action @ "ScheduleAnyway" = text(constraint, "whenUnsatisfiable") {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(Error::invalid(&path, domains, &why));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            check::one_of_if_set(errors, &path.child(policy), &constraint[policy], &["Honor", "Ignore"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_keys_become_requirements_of_the_pods_own_values() {
        let term = || {
            json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone",
                "matchLabelKeys": ["hash", "absent"], "mismatchLabelKeys": ["tenant"]})
        };
        let constraint = json!({"labelSelector": {"matchExpressions": []}, "matchLabelKeys": ["hash"]});
        let mut pod = json!({"metadata": {"labels": {"hash": "1", "tenant": "t"}}, "spec": {
            "topologySpreadConstraints": [constraint, {"matchLabelKeys": ["hash"]}],
            "affinity": {"podAffinity": {REQUIRED: [term()]},
                "podAntiAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": term()}]}}}});
        apply_label_keys(&mut pod);
        let hash = json!({"key": "hash", "operator": "In", "values": ["1"]});
        let both = json!([hash, {"key": "tenant", "operator": "NotIn", "values": ["t"]}]);
        let affinity = &pod["spec"]["affinity"];
        assert_eq!(affinity["podAffinity"][REQUIRED][0]["labelSelector"]["matchExpressions"], both);
        let preferred = &affinity["podAntiAffinity"][PREFERRED][0]["podAffinityTerm"];
        assert_eq!(preferred["labelSelector"]["matchExpressions"], both);
        let spread = &pod["spec"]["topologySpreadConstraints"];
        assert_eq!(spread[0]["labelSelector"]["matchExpressions"], json!([hash]));
        assert!(spread[1].get("labelSelector").is_none());
    }

    #[test]
    fn spreading_is_checked() {
        let errors = |constraint: Value| {
            let mut errors = ErrorList::new();
            check_spread(&mut errors, &Path::new("c"), &json!({"topologySpreadConstraints": [constraint]}));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let with = |field: &str, value: Value| json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", field: value});
        for (field, value, why) in [
            ("maxSkew", json!(1), ""),
            ("minDomains", json!(0), "c[0].minDomains: Invalid value: 0: must be greater than zero"),
            (
                "minDomains",
                json!(2),
                "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ),
            ("nodeTaintsPolicy", json!("Maybe"), "c[0].nodeTaintsPolicy: Unsupported value: \"Maybe\""),
        ] {
            let told = errors(with(field, value));
            assert!(told.contains(why) && told.is_empty() == why.is_empty(), "{told}");
        }
    }
}
