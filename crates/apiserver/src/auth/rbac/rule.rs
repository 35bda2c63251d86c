//! One policy rule, compiled: does it allow this action, does it cover that rule?
//!
//! **Upstream**: `pkg/apis/rbac/v1/evaluation_helpers.go`, `k8s.io/component-helpers/auth/rbac/validation`.

use crate::auth::Action;
use serde_json::{Value, json};
use std::fmt;

const ALL: &str = "*";

/// Verbs on resources, or on paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRule {
    /// API groups, `*` for all.
    pub groups: Vec<String>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// Names; empty for all.
    pub names: Vec<String>,
    /// Paths: `/healthz`, `/apis/*`, `*`.
    pub paths: Vec<String>,
    /// Verbs, `*` for all.
    pub verbs: Vec<String>,
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == ALL || item == wanted)
}

fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == ALL {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && pattern == resource,
        Some((left, right)) => {
            !subresource.is_empty() && right == subresource && (left == ALL || left == resource)
        }
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

impl PolicyRule {
    /// A `PolicyRule` as it stands in a role.
    pub fn from_json(rule: &Value) -> Self {
        Self {
            groups: strings(&rule["apiGroups"]),
            resources: strings(&rule["resources"]),
            names: strings(&rule["resourceNames"]),
            paths: strings(&rule["nonResourceURLs"]),
            verbs: strings(&rule["verbs"]),
        }
    }

    /// The rules of a role object.
    pub fn list_from_json(rules: &Value) -> Vec<Self> {
        rules.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(Self::from_json).collect()
    }

    /// As it stands in a role.
    pub fn to_json(&self) -> Value {
        let mut object = json!({ "verbs": self.verbs });
        for (key, list) in [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ] {
            if !list.is_empty() {
                object[key] = json!(list);
            }
        }
        object
    }

    /// Whether the rule allows the action.
    pub fn allows(&self, action: &Action<'_>) -> bool {
        if !has(&self.verbs, action.verb) {
            return false;
        }
        if !action.is_resource {
            return self.paths.iter().any(|pattern| path_matches(pattern, action.path));
        }
        has(&self.groups, action.group)
            && self.resources.iter().any(|p| resource_matches(p, action.resource, action.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == action.name))
    }

    /// The same permissions as rules of one verb on one thing each.
    pub fn atoms(&self) -> Vec<Self> {
        let mut atoms = Vec::new();
        for verb in &self.verbs {
            let verbs = vec![verb.clone()];
            for path in &self.paths {
                atoms.push(Self { paths: vec![path.clone()], verbs: verbs.clone(), ..Self::default() });
            }
            for group in &self.groups {
                for resource in &self.resources {
                    let atom = Self {
                        groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        verbs: verbs.clone(),
                        ..Self::default()
                    };
                    if self.names.is_empty() {
                        atoms.push(atom.clone());
                    }
                    for name in &self.names {
                        atoms.push(Self { names: vec![name.clone()], ..atom.clone() });
                    }
                }
            }
        }
        atoms
    }

    /// Whether everything that `atom` (from [`Self::atoms`]) allows is allowed by this rule.
    pub fn covers(&self, atom: &Self) -> bool {
        let resource = |wanted: &String| {
            let sub = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            self.resources.iter().any(|r| r == ALL || r == wanted || sub.as_ref() == Some(r))
        };
        let path = |wanted: &String| {
            self.paths
                .iter()
                .any(|p| p == wanted || p.strip_suffix('*').is_some_and(|x| wanted.starts_with(x)))
        };
        atom.verbs.iter().all(|v| has(&self.verbs, v))
            && atom.groups.iter().all(|g| has(&self.groups, g))
            && atom.resources.iter().all(resource)
            && (self.names.is_empty()
                || !atom.names.is_empty() && atom.names.iter().all(|n| self.names.contains(n))
                || !atom.paths.is_empty())
            && atom.paths.iter().all(path)
    }
}

impl fmt::Display for PolicyRule {
    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{name}:{}", quoted(list)))
        .collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

/// `["a" "b"]`: a list of strings as Go's `%q` prints it.
pub fn quoted(list: &[String]) -> String {
    let items: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserInfo;

    fn rule(groups: &str, resources: &str, names: &str, verbs: &str) -> PolicyRule {
        let split = |text: &str| -> Vec<String> {
            if text.is_empty() { vec![] } else { text.split(',').map(str::to_owned).collect() }
        };
        let groups = if groups.is_empty() { vec![String::new()] } else { split(groups) };
        PolicyRule {
            groups,
            resources: split(resources),
            names: split(names),
            paths: vec![],
            verbs: split(verbs),
        }
    }

    #[test]
    fn allows_what_its_patterns_match() {
        let user = UserInfo::default();
        // (rule, verb, group, resource, subresource, name) → allowed
        for (rule, (verb, group, resource, subresource, name), allowed) in [
            (rule("", "pods", "", "get"), ("get", "", "pods", "", "x"), true),
            (rule("", "pods", "", "get"), ("list", "", "pods", "", ""), false),
            (rule("", "pods", "", "get"), ("get", "apps", "pods", "", "x"), false),
            (rule("", "pods", "", "get"), ("get", "", "pods", "log", "x"), false),
            (rule("", "pods/log", "", "get"), ("get", "", "pods", "log", "x"), true),
            (rule("", "pods/log", "", "get"), ("get", "", "pods", "", "x"), false),
            (rule("*", "*/scale", "", "*"), ("update", "apps", "deployments", "scale", "x"), true),
            (rule("*", "*/scale", "", "*"), ("update", "apps", "deployments", "", "x"), false),
            (rule("*", "*", "", "*"), ("get", "", "pods", "log", "x"), true),
            (rule("", "pods", "a,b", "get"), ("get", "", "pods", "", "b"), true),
            (rule("", "pods", "a,b", "get"), ("get", "", "pods", "", "c"), false),
            (rule("", "pods", "a", "list"), ("list", "", "pods", "", ""), false),
        ] {
            let action = Action { subresource, name, ..Action::on(&user, verb, group, resource) };
            assert_eq!(rule.allows(&action), allowed, "{rule} {action:?}");
        }
    }

    #[test]
    fn allows_paths_by_prefix() {
        let user = UserInfo::default();
        let rule = |path: &str| PolicyRule {
            paths: vec![path.to_owned()],
            verbs: vec!["get".to_owned()],
            ..PolicyRule::default()
        };
        for (pattern, path, allowed) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", false),
            ("/healthz/*", "/healthz/ping", true),
            ("*", "/anything", true),
            ("/apis/*", "/apis", false),
        ] {
            assert_eq!(rule(pattern).allows(&Action::path(&user, "get", path)), allowed, "{pattern} {path}");
        }
        assert!(!rule("*").allows(&Action::on(&user, "get", "", "pods")));
    }

    #[test]
    fn covers_only_what_it_allows() {
        let owner = rule("", "pods,*/scale", "", "get,list");
        for (asked, covered) in [
            (rule("", "pods", "", "get"), true),
            (rule("", "pods", "x", "get"), true),
            (rule("", "pods", "", "*"), false),
            (rule("*", "pods", "", "get"), false),
            (rule("", "rc/scale", "", "get"), true),
            (rule("", "pods/log", "", "get"), false),
        ] {
            assert_eq!(asked.atoms().iter().all(|a| owner.covers(a)), covered, "{asked}");
        }
        assert!(!rule("", "pods", "x", "get").covers(&rule("", "pods", "", "get")));
    }

    #[test]
    fn prints_as_upstream_does() {
        assert_eq!(
            rule("", "pods", "", "get,list").to_string(),
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#
        );
    }
}
