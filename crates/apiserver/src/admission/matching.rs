//! Which requests a webhook or a policy is asked about: rules, and selectors of namespaces and objects.
//!
//! **Contract**: requests about webhook and policy configurations themselves match nothing.
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/webhook/predicates`, `pkg/admission/plugin/policy/matching`.

use super::{Attributes, Form, Operation, request};
use crate::resources::edit::{items, text};
use api::selector::LabelSelector;
use api::status::Status;
use serde_json::Value;

/// Whether the request is about who is asked, so that a mistake in that can be put right.
pub(super) fn is_exempt(attributes: &Attributes<'_>) -> bool {
    attributes.resource.group == "admissionregistration.k8s.io"
}

/// What one webhook or policy is about.
#[derive(Debug, Default)]
pub(super) struct Criteria {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether the same objects in another version count.
    equivalent: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    names: Vec<String>,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

fn strings(value: &Value, field: &str) -> Vec<String> {
    items(value, field).iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

impl Rule {
    fn read(rule: &Value) -> Self {
        let split = |resource: String| match resource.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (resource, String::new()),
        };
        Self {
            operations: strings(rule, "operations"),
            groups: strings(rule, "apiGroups"),
            versions: strings(rule, "apiVersions"),
            resources: strings(rule, "resources").into_iter().map(split).collect(),
            names: strings(rule, "resourceNames"),
            scope: match text(rule, "scope") {
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::All,
            },
        }
    }

    fn list(holder: &Value, field: &str) -> Vec<Self> {
        items(holder, field).iter().map(Self::read).collect()
    }

    fn matches(&self, attributes: &Attributes<'_>, form: &Form) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let cluster =
            request::namespace(attributes).is_empty() || form.group.is_empty() && form.plural == "namespaces";
        let in_scope = match self.scope {
            Scope::All => true,
            Scope::Cluster => cluster,
            Scope::Namespaced => !cluster,
        };
        in_scope
            && has(&self.operations, attributes.operation.name())
            && has(&self.groups, &form.group)
            && has(&self.versions, &form.version)
            && self.resources.iter().any(|(resource, subresource)| {
                (resource == "*" || *resource == form.plural)
                    && (subresource == "*" || *subresource == attributes.subresource)
            })
            && (self.names.is_empty() || self.names.iter().any(|name| name == attributes.name))
    }
}

impl Criteria {
    /// Those of a webhook.
    pub(super) fn of_webhook(webhook: &Value) -> Self {
        Self::read(webhook, "rules")
    }

    /// Those of a policy's `matchConstraints` or a binding's `matchResources`.
    pub(super) fn of_policy(matching: &Value) -> Self {
        Self {
            excluded: Rule::list(matching, "excludeResourceRules"),
            ..Self::read(matching, "resourceRules")
        }
    }

    fn read(holder: &Value, rules: &str) -> Self {
        // Validated before it was stored.
        let selector = |field: &str| {
            LabelSelector::from_json(&holder[field]).unwrap_or_else(|_| LabelSelector::nothing())
        };
        let selector =
            |field: &str| if holder[field].is_null() { LabelSelector::everything() } else { selector(field) };
        Self {
            rules: Rule::list(holder, rules),
            excluded: Vec::new(),
            equivalent: text(holder, "matchPolicy") != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// Whether there is any rule; a binding without one takes its policy's.
    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The form in which the request matches, if it does.
    ///
    /// # Errors
    /// If the namespace, of which the labels would tell, is not there.
    pub(super) fn matches(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        forms: &[Form],
    ) -> Result<Option<usize>, Status> {
        let form = if self.has_rules() { self.form(&self.rules, attributes, forms) } else { Some(0) };
        let Some(form) = form.filter(|_| self.form(&self.excluded, attributes, forms).is_none()) else {
            return Ok(None);
        };
        if !self.selects_object(attributes, object) {
            return Ok(None);
        }
        Ok(self.selects_namespace(attributes, object)?.then_some(form))
    }

    fn form(&self, rules: &[Rule], attributes: &Attributes<'_>, forms: &[Form]) -> Option<usize> {
        let (own, others) = forms.split_first()?;
        if rules.iter().any(|rule| rule.matches(attributes, own)) {
            return Some(0);
        }
        // The first rule that fits any version decides which one is shown.
        let fits =
            |rule: &Rule| others.iter().position(|form| rule.matches(attributes, form)).map(|at| at + 1);
        if self.equivalent { rules.iter().find_map(fits) } else { None }
    }

    fn selects_object(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> bool {
        let selects = |object: &Value| self.objects.matches(|key| object["metadata"]["labels"][key].as_str());
        // Options of a connection are no objects with labels.
        let has_labels = |object: &&Value| attributes.operation != Operation::Connect && object.is_object();
        self.objects.is_everything()
            || object.into_iter().chain(attributes.old).filter(has_labels).any(selects)
    }

    fn selects_namespace(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<bool, Status> {
        let name = request::namespace(attributes);
        // What is in no namespace is never exempt.
        let is_namespace = attributes.resource.group.is_empty() && attributes.resource.plural == "namespaces";
        if self.namespaces.is_everything() || name.is_empty() && !is_namespace {
            return Ok(true);
        }
        let selects =
            |namespace: &Value| self.namespaces.matches(|key| namespace["metadata"]["labels"][key].as_str());
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        if is_namespace && attributes.subresource.is_empty() && written {
            return Ok(object.is_some_and(selects));
        }
        let namespace = attributes.lookup.get("", "namespaces", "", name);
        namespace
            .map(|namespace| selects(&namespace))
            .ok_or_else(|| Status::new(404, "NotFound", format!("namespaces {name:?} not found")))
    }
}

#[cfg(test)]
mod tests;
