//! Which rules of RBAC cover others.
//!
//! **Upstream.** `component-helpers/auth/rbac/validation` (`Covers`).

use serde_json::{Value, json};

/// A rule's fields, in the order of upstream's type.
const FIELDS: [(&str, &str); 5] = [
    ("Verbs", "verbs"),
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("ResourceNames", "resourceNames"),
    ("NonResourceURLs", "nonResourceURLs"),
];

/// What `servants` allow and `owners` do not, one verb of one thing at a time.
pub(super) fn uncovered(owners: &[Value], servants: &[Value]) -> Vec<Value> {
    let parts = servants.iter().flat_map(parts);
    parts.filter(|part| !owners.iter().any(|owner| covers(owner, part))).collect()
}

/// A rule as Go shows it.
pub(super) fn shown(rule: &Value) -> String {
    let fields = FIELDS.map(|(name, field)| format!("{name}:[{}]", texts(rule, field).join(" ")));
    format!("{{{}}}", fields.join(" "))
}

fn texts<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A rule in pieces that say one thing each.
fn parts(rule: &Value) -> Vec<Value> {
    let (verbs, names) = (texts(rule, "verbs"), texts(rule, "resourceNames"));
    let mut parts = Vec::new();
    for group in texts(rule, "apiGroups") {
        for resource in texts(rule, "resources") {
            for verb in &verbs {
                let part = json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
                if names.is_empty() {
                    parts.push(part.clone());
                }
                for name in &names {
                    let mut part = part.clone();
                    part["resourceNames"] = json!([name]);
                    parts.push(part);
                }
            }
        }
    }
    for url in texts(rule, "nonResourceURLs") {
        parts.extend(verbs.iter().map(|verb| json!({"nonResourceURLs": [url], "verbs": [verb]})));
    }
    parts
}

fn plain(owned: &str, wanted: &str) -> bool {
    owned == "*" || owned == wanted
}

/// Whether a rule allows what a part of another does.
fn covers(owner: &Value, part: &Value) -> bool {
    let all = |field: &str, has: fn(&str, &str) -> bool| {
        let owned = texts(owner, field);
        texts(part, field).iter().all(|wanted| owned.iter().any(|owned| has(owned, wanted)))
    };
    let names = texts(owner, "resourceNames");
    let wanted = texts(part, "resourceNames");
    all("verbs", plain)
        && all("apiGroups", plain)
        && all("resources", |owned, wanted| {
            let sub = wanted.split_once('/').map(|(_, sub)| sub);
            plain(owned, wanted) || sub.is_some_and(|sub| owned.strip_prefix("*/") == Some(sub))
        })
        && all("nonResourceURLs", |owned, wanted| {
            owned == wanted || owned.strip_suffix('*').is_some_and(|start| wanted.starts_with(start))
        })
        && (names.is_empty() || !wanted.is_empty() && wanted.iter().all(|name| names.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> Value {
        json!({"apiGroups": groups, "resources": resources, "resourceNames": names, "verbs": verbs})
    }

    #[test]
    fn rules_cover_what_they_name_and_what_stars_stand_for() {
        let url = |url: &str| json!({"nonResourceURLs": [url], "verbs": ["get"]});
        for (owner, servant, left) in [
            (rule(&[""], &["pods"], &[], &["get", "list"]), rule(&[""], &["pods"], &[], &["get"]), 0),
            (
                rule(&[""], &["pods"], &[], &["get"]),
                rule(&[""], &["pods", "secrets"], &[], &["get", "list"]),
                3,
            ),
            (rule(&["*"], &["*"], &[], &["*"]), rule(&["apps"], &["a", "a/status"], &["n"], &["x"]), 0),
            (
                rule(&[""], &["*/status"], &[], &["get"]),
                rule(&[""], &["pods/status", "pods"], &[], &["get"]),
                1,
            ),
            (rule(&[""], &["pods"], &["a"], &["get"]), rule(&[""], &["pods"], &["a", "b"], &["get"]), 1),
            (rule(&[""], &["pods"], &["a"], &["get"]), rule(&[""], &["pods"], &[], &["get"]), 1),
            (url("/metrics/*"), url("/metrics/x"), 0),
            (url("/metrics"), url("/metrics/x"), 1),
        ] {
            assert_eq!(uncovered(std::slice::from_ref(&owner), &[servant]).len(), left, "{owner}");
        }
        let one = rule(&[""], &["pods"], &[], &["get", "list"]);
        assert_eq!(
            shown(&one),
            "{Verbs:[get list] APIGroups:[] Resources:[pods] ResourceNames:[] NonResourceURLs:[]}"
        );
    }
}
