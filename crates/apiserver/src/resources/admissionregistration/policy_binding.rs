//! ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding: where a policy counts.
//!
//! **Upstream**: `validateValidatingAdmissionPolicyBindingSpec`, `validateMutatingAdmissionPolicyBindingSpec`.

use super::rules;
use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::Value;

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

/// The strategy of one of the two kinds.
pub(crate) struct PolicyBinding {
    resource: Resource,
    mutating: bool,
}

impl PolicyBinding {
    pub(crate) fn mutating() -> Self {
        let (plural, singular) = ("mutatingadmissionpolicybindings", "mutatingadmissionpolicybinding");
        Self::of("MutatingAdmissionPolicyBinding", plural, singular, true)
    }

    pub(crate) fn validating() -> Self {
        let (plural, singular) = ("validatingadmissionpolicybindings", "validatingadmissionpolicybinding");
        Self::of("ValidatingAdmissionPolicyBinding", plural, singular, false)
    }

    fn of(kind: &'static str, plural: &'static str, singular: &'static str, mutating: bool) -> Self {
        let resource = Resource::new(super::GROUP, "v1", kind, plural, singular, Scope::Cluster);
        Self { resource: resource.in_categories(super::CATEGORIES), mutating }
    }
}

fn check_reference(errors: &mut ErrorList, path: &Path, reference: &Value) {
    if !reference.is_object() {
        return;
    }
    let (name, selector) = (text(reference, "name"), &reference["selector"]);
    if !name.is_empty() && !selector.is_null() {
        errors.push(Error::forbidden(&path.child("name"), "name and selector are mutually exclusive"));
    } else if name.is_empty() && selector.is_null() {
        errors.push(Error::required(path, "one of name or selector must be specified"));
    }
    check::label_selector(errors, &path.child("selector"), selector);
    let (action, at) = (&reference["parameterNotFoundAction"], path.child("parameterNotFoundAction"));
    if action.is_null() {
        errors.push(Error::required(&at, ""));
    } else {
        check::one_of(errors, &at, action, &["Allow", "Deny"]);
    }
}

fn check_actions(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let (actions, path) = (items(spec, "validationActions"), path.child("validationActions"));
    if actions.is_empty() {
        errors.push(Error::required(&path, "at least one validation action is required"));
    }
    for (i, action) in actions.iter().enumerate() {
        if !action.as_str().is_some_and(|action| ACTIONS.contains(&action)) {
            errors.push(Error::not_supported(&path.index(i), action.clone(), &ACTIONS));
        }
        if actions[..i].contains(action) {
            errors.push(Error::duplicate(&path.index(i), action.clone()));
        }
    }
    let has = |name: &str| actions.iter().any(|action| action == name);
    if has("Deny") && has("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(Error::invalid(&path, spec["validationActions"].clone(), detail));
    }
}

impl Strategy for PolicyBinding {
    fn resource(&self) -> &Resource {
        &self.resource
    }

    fn storage_version(&self) -> &str {
        if self.mutating { "v1beta1" } else { "v1" }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = edit::child_or_new(object, "spec") {
            rules::default_match(spec, "matchResources");
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check::required_name(&mut errors, &path.child("policyName"), &spec["policyName"], check::subdomain);
        check_reference(&mut errors, &path.child("paramRef"), &spec["paramRef"]);
        rules::check_match(&mut errors, &path.child("matchResources"), &spec["matchResources"]);
        if !self.mutating {
            check_actions(&mut errors, &path, spec);
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("PolicyName", "string")
                    .text("PolicyName indicates the policy definition which the policy binding binded to"),
                Column::new("ParamRef", "string")
                    .text("ParamRef indicates the param resource which sets the configration param"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, reference) = (&object["spec"], &object["spec"]["paramRef"]);
        let shown = match (reference.is_object(), text(reference, "name"), text(reference, "namespace")) {
            (false, ..) => "<unset>".to_owned(),
            (true, "", _) => "*".to_owned(),
            (true, name, "") => name.to_owned(),
            (true, name, namespace) => format!("{namespace}/{name}"),
        };
        vec![cells::name(object), text(spec, "policyName").into(), shown.into(), cells::age(object, now)]
    }
}
