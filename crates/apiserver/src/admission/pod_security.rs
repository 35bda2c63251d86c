//! Pods keep to the Pod Security Standard of their namespace; workloads and changed namespaces are warned.
//!
//! **Contract**: `pod-security.kubernetes.io/enforce` refuses pods, `warn` warns of pods and of workloads whose pods would
//! be refused, `audit` annotates the audit event. A namespace whose labels say less than before is not looked through.
//! **Not here**: what the levels ask for (`checks`), how labels are read (`policy`).
//! **Upstream**: `k8s.io/pod-security-admission`.

mod baseline;
mod checks;
mod policy;
mod restricted;

use super::refusal::forbidden;
use super::{Attributes, Operation, Plugin};
use crate::audit;
use api::meta;
use api::status::Status;
use checks::{Pod, Violations};
use policy::{Level, Policy, Standard};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Pods that are looked at when a namespace's level rises. **Upstream**: `defaultNamespaceMaxPodsToCheck`.
const MAX_PODS: usize = 3000;
/// Subresources of pods that change nothing a level is about.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Whom the standards do not concern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Exemptions {
    /// Users by name.
    pub(super) usernames: Vec<String>,
    /// Namespaces by name.
    pub(super) namespaces: Vec<String>,
    /// RuntimeClasses by name.
    pub(super) runtime_classes: Vec<String>,
}

/// **Upstream**: `PodSecurityConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Configuration {
    #[serde(rename = "apiVersion")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
    /// What a namespace without labels has.
    pub(super) defaults: Policy,
    pub(super) exemptions: Exemptions,
}

/// The plugin.
#[derive(Default)]
pub(super) struct PodSecurity {
    defaults: Policy,
    exemptions: Exemptions,
}

impl PodSecurity {
    pub(super) fn new(configuration: Configuration) -> Self {
        Self { defaults: configuration.defaults, exemptions: configuration.exemptions }
    }
}

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) =
            object.filter(|_| matches!(attributes.operation, Operation::Create | Operation::Update))
        else {
            return Ok(());
        };
        match (&*attributes.resource.group, &*attributes.resource.plural, attributes.subresource) {
            ("", "namespaces", "") => self.check_namespace(attributes, object),
            ("", "pods", subresource) if !IGNORED.contains(&subresource) => {
                self.check_pod(attributes, object)
            }
            (group, plural, "") => match template(group, plural, object) {
                Some(template) => self.check_template(attributes, template),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// The pods that a workload would make.
fn template<'a>(group: &str, plural: &str, object: &'a Value) -> Option<&'a Value> {
    let template = match (group, plural) {
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    template["spec"].is_object().then_some(template)
}

impl PodSecurity {
    fn is_exempt(&self, attributes: &Attributes<'_>, pod: &Value) -> Option<&'static str> {
        let has = |list: &[String], name: &str| !name.is_empty() && list.iter().any(|exempt| exempt == name);
        let class = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
        if has(&self.exemptions.namespaces, attributes.namespace) {
            Some("namespace")
        } else if has(&self.exemptions.usernames, &attributes.user.name) {
            Some("user")
        } else {
            has(&self.exemptions.runtime_classes, class).then_some("runtimeClass")
        }
    }

    /// The policy of the request's namespace; `None` if there is no such namespace (another plugin says so).
    fn policy(&self, attributes: &Attributes<'_>) -> Option<Policy> {
        let namespace = attributes.lookup.get("", "namespaces", "", attributes.namespace)?;
        let (policy, errors) = Policy::of(&namespace, &self.defaults);
        if !errors.is_empty() {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            annotate("error", format!("Failed to parse policy: {}", errors.join(", ")));
        }
        Some(policy)
    }

    fn check_pod(&self, attributes: &mut Attributes<'_>, pod: &Value) -> Result<(), Status> {
        if attributes.operation == Operation::Update
            && attributes.old.is_some_and(|old| !is_significant(pod, old))
        {
            return Ok(());
        }
        if let Some(reason) = self.is_exempt(attributes, pod) {
            annotate("exempt", reason.to_owned());
            return Ok(());
        }
        let Some(policy) = self.policy(attributes) else { return Ok(()) };
        let examined = Pod::of(pod);
        annotate("enforce-policy", policy.enforce.to_string());
        let refused = checks::evaluate(policy.enforce, &examined);
        tell(attributes, &policy, &examined, refused.is_empty());
        if refused.is_empty() {
            return Ok(());
        }
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, refused.detail());
        Err(forbidden(attributes, Some(pod), &why))
    }

    fn check_template(&self, attributes: &mut Attributes<'_>, template: &Value) -> Result<(), Status> {
        if let Some(reason) = self.is_exempt(attributes, template) {
            annotate("exempt", reason.to_owned());
            return Ok(());
        }
        if let Some(policy) = self.policy(attributes) {
            tell(attributes, &policy, &Pod::of(template), true);
        }
        Ok(())
    }

    fn check_namespace(&self, attributes: &mut Attributes<'_>, namespace: &Value) -> Result<(), Status> {
        let (policy, errors) = Policy::of(namespace, &self.defaults);
        let (old_policy, old_errors) = match attributes.old {
            Some(old) if attributes.operation == Operation::Update => Policy::of(old, &self.defaults),
            _ => (policy, Default::default()),
        };
        if !errors.is_empty() && errors != old_errors {
            let resource = attributes.resource;
            return Err(Status::invalid(&resource.group, &resource.kind, meta::name(namespace), &errors));
        }
        let is_new = attributes.operation == Operation::Create;
        let (new, old) = (policy.enforce, old_policy.enforce);
        let relaxed = new.level == Level::Privileged || new.version == old.version && new.level <= old.level;
        let is_exempt = self.exemptions.namespaces.iter().any(|exempt| exempt == meta::name(namespace));
        if is_exempt && (is_new || !relaxed) {
            attributes.outcome.warnings.extend(policy.ignored(namespace, &self.defaults));
        } else if !is_new && !relaxed {
            let pods = attributes.lookup.list("", "pods", meta::name(namespace));
            let exempt = &self.exemptions.runtime_classes;
            attributes.outcome.warnings.extend(existing(
                meta::name(namespace),
                new,
                pods.iter().map(AsRef::as_ref),
                exempt,
            ));
        }
        Ok(())
    }
}

/// Audits and warns of what the namespace does not wish to see.
fn tell(attributes: &mut Attributes<'_>, policy: &Policy, pod: &Pod<'_>, warn: bool) {
    let would = |standard: Standard| {
        let violations = checks::evaluate(standard, pod);
        (!violations.is_empty())
            .then(|| format!("would violate PodSecurity \"{standard}\": {}", violations.detail()))
    };
    if let Some(text) = would(policy.audit) {
        annotate("audit-violations", text);
    }
    if warn {
        attributes.outcome.warnings.extend(would(policy.warn));
    }
}

/// An annotation of the audit event.
fn annotate(key: &str, value: String) {
    audit::annotate(&format!("pod-security.kubernetes.io/{key}"), value);
}

/// Whether an update of a pod can make it better or worse: other containers, or other images.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let list = |pod: &Value, field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    let differs = ["containers", "initContainers"].into_iter().any(|field| {
        let (new, old) = (list(pod, field), list(old, field));
        new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| new["image"] != old["image"])
    });
    let old_ephemeral = list(old, "ephemeralContainers");
    differs
        || list(pod, "ephemeralContainers").iter().any(|new| {
            let old = old_ephemeral.iter().find(|old| old["name"] == new["name"]);
            old.is_none_or(|old| old["image"] != new["image"])
        })
}

/// Warnings of pods that are there and would be refused now.
fn existing<'a>(
    namespace: &str,
    standard: Standard,
    pods: impl Iterator<Item = &'a Value>,
    exempt_classes: &[String],
) -> Vec<String> {
    // One pod of each controller first: its others are alike.
    let (mut first, mut others, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    let is_exempt =
        |pod: &Value| exempt_classes.iter().any(|class| pod["spec"]["runtimeClassName"] == **class);
    for pod in pods.filter(|pod| !is_exempt(pod)) {
        match meta::controller(pod) {
            Some(owner) if !seen.insert(owner["uid"].to_string()) => others.push(pod),
            _ => first.push(pod),
        }
    }
    first.append(&mut others);
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in first.iter().take(MAX_PODS) {
        let violations: Violations = checks::evaluate(standard, &Pod::of(pod));
        if !violations.is_empty() {
            found.entry(violations.reasons()).or_default().push(meta::name(pod));
        }
    }
    let mut warnings = Vec::new();
    if first.len() > MAX_PODS {
        let all = first.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {all} existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(reasons, names)| {
            let name = names.iter().min().copied().unwrap_or_default();
            match names.len() {
                1 => format!("{name}: {reasons}"),
                2 => format!("{name} (and 1 other pod): {reasons}"),
                n => format!("{name} (and {} other pods): {reasons}", n - 1),
            }
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

#[cfg(test)]
mod tests;
