//! The rules of the levels: which hold since which version, and what a pod does against them.
//!
//! **Contract**: rules answer in the order of their names, those of `baseline` first. A rule of `restricted` may take the
//! place of a laxer one of `baseline`.
//! **Upstream**: `k8s.io/pod-security-admission/policy`.

use super::policy::{Level, Standard};
use super::{baseline, restricted};
use serde_json::Value;

/// What a rule has against a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: String,
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn new(reason: &str, detail: String) -> Option<Self> {
        Some(Self { reason: reason.to_owned(), detail })
    }
}

/// What a rule says of a pod.
pub(super) type Check = fn(&Pod<'_>) -> Option<Violation>;

/// A rule, and what it was in which versions.
pub(super) struct Rule {
    /// Upstream's name of it.
    pub(super) id: &'static str,
    /// The first minor version of each form, rising.
    pub(super) versions: &'static [(u32, Check)],
    /// The rule of `baseline` whose place it takes.
    pub(super) replaces: &'static str,
}

impl Rule {
    fn at(&self, minor: u32) -> Option<Check> {
        self.versions.iter().rev().find(|(since, _)| *since <= minor).map(|(_, check)| *check)
    }
}

/// Everything that a standard has against a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `host namespaces (hostPID=true), privileged (…)`
    pub(super) fn detail(&self) -> String {
        let text = |v: &Violation| match v.detail.as_str() {
            "" => v.reason.clone(),
            detail => format!("{} ({detail})", v.reason),
        };
        self.0.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    /// `host namespaces, privileged`
    pub(super) fn reasons(&self) -> String {
        self.0.iter().map(|v| v.reason.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Holds a pod to a standard.
pub(super) fn evaluate(standard: Standard, pod: &Pod<'_>) -> Violations {
    if standard.level == Level::Privileged {
        return Violations::default();
    }
    let minor = standard.version.minor();
    let stricter = || restricted::RULES.iter().filter(|_| standard.level == Level::Restricted);
    let replaced = |id: &str| stricter().any(|rule| rule.replaces == id && rule.at(minor).is_some());
    let rules = baseline::RULES.iter().filter(|rule| !replaced(rule.id)).chain(stricter());
    Violations(rules.filter_map(|rule| rule.at(minor)).filter_map(|check| check(pod)).collect())
}

/// A pod, or what a workload makes pods of.
pub(super) struct Pod<'a> {
    pub(super) annotations: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> Pod<'a> {
    pub(super) fn of(pod: &'a Value) -> Self {
        Self { annotations: &pod["metadata"]["annotations"], spec: &pod["spec"] }
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec[list].as_array().into_iter().flatten())
    }

    pub(super) fn volumes(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.spec["volumes"].as_array().into_iter().flatten()
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Whether root in the pod is nobody on the node.
    pub(super) fn has_user_namespace(&self) -> bool {
        self.spec["hostUsers"] == false
    }

    /// Names of the containers that are bad.
    pub(super) fn bad(&self, mut is_bad: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|c| is_bad(c)).map(name).collect()
    }

    /// Who sets something bad in a security context: `pod and container "c"`.
    pub(super) fn setters(&self, mut is_bad: impl FnMut(&'a Value) -> bool) -> Option<String> {
        let mut setters = Vec::new();
        if is_bad(&self.spec["securityContext"]) {
            setters.push("pod".to_owned());
        }
        let bad = self.bad(|container| is_bad(&container["securityContext"]));
        if !bad.is_empty() {
            setters.push(containers(&bad));
        }
        (!setters.is_empty()).then(|| setters.join(" and "))
    }
}

pub(super) fn name(named: &Value) -> &str {
    named["name"].as_str().unwrap_or_default()
}

/// `container "a"`, `containers "a", "b"`
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

pub(super) fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`
pub(super) fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `a, b`
pub(super) fn listed<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|item| item.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}
