//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules on writes, as expressions.
//!
//! **Upstream**: `validateValidatingAdmissionPolicySpec`, `validateMutatingAdmissionPolicySpec`.

use super::rules::{self, Conditions};
use crate::admission::declared::{Variables, Wanted};
use crate::admission::policies;
use crate::cel;
use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::{meta, names};
use jiff::Timestamp;
use serde_json::{Value, json};

const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
/// **Upstream**: `maxAuditAnnotations`.
const MAX_ANNOTATIONS: usize = 20;
/// Bytes of the longest value of one. **Upstream**: `maxAuditAnnotationValueExpressionLength`.
const MAX_VALUE: usize = 5 << 10;
/// What is told of an expression that is not there.
const MISSING: &str = "expression is not specified";

/// The strategy of one of the two kinds.
pub(crate) struct Policy {
    resource: Resource,
    mutating: bool,
}

impl Policy {
    pub(crate) fn mutating() -> Self {
        let (plural, singular) = ("mutatingadmissionpolicies", "mutatingadmissionpolicy");
        Self::of("MutatingAdmissionPolicy", plural, singular, true)
    }

    pub(crate) fn validating() -> Self {
        let (plural, singular) = ("validatingadmissionpolicies", "validatingadmissionpolicy");
        Self::of("ValidatingAdmissionPolicy", plural, singular, false)
    }

    fn of(kind: &'static str, plural: &'static str, singular: &'static str, mutating: bool) -> Self {
        let resource = Resource::new(super::GROUP, "v1", kind, plural, singular, Scope::Cluster);
        Self { resource: resource.in_categories(super::CATEGORIES), mutating }
    }
}

impl Policy {
    fn check(&self, object: &Value, conditions: Conditions) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if !spec["failurePolicy"].is_null() && !rules::POLICIES.contains(&text(spec, "failurePolicy")) {
            let value = text(spec, "failurePolicy");
            errors.push(Error::not_supported(&path.child("failurePolicy"), value, rules::POLICIES));
        }
        check_parameters(&mut errors, &path.child("paramKind"), &spec["paramKind"]);
        let (matching, at) = (&spec["matchConstraints"], path.child("matchConstraints"));
        if matching.is_object() {
            rules::check_match(&mut errors, &at, matching);
            if items(matching, "resourceRules").is_empty() {
                errors.push(Error::required(&at.child("resourceRules"), ""));
            }
        } else {
            errors.push(Error::required(&at, ""));
        }
        let mut known = Variables::of(policies::environment(self.mutating, spec["paramKind"].is_object()));
        if conditions == Conditions::New {
            rules::check_conditions(&mut errors, &path, spec, &known);
        }
        check_variables(&mut errors, &path, spec, &mut known);
        if self.mutating {
            check_mutations(&mut errors, &path, spec, &known);
        } else {
            check_validations(&mut errors, &path, object, &known);
        }
        errors
    }
}

fn check_parameters(errors: &mut ErrorList, path: &Path, kind: &Value) {
    if !kind.is_object() {
        return;
    }
    let (api_version, name) = (text(kind, "apiVersion"), text(kind, "kind"));
    let at = path.child("apiVersion");
    let (group, version) = api::kind::parse_api_version(api_version);
    if api_version.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if version.contains('/') {
        let detail = format!("unexpected GroupVersion string: {api_version}");
        errors.push(Error::invalid(&at, api_version, &detail));
    } else {
        let mut refuse = |value: &str, messages: Vec<String>| {
            if !messages.is_empty() {
                errors.push(Error::invalid(&at, value, &messages.join(",")));
            }
        };
        if !group.is_empty() {
            refuse(group, names::dns_subdomain(group, false));
        }
        if version.is_empty() {
            refuse(api_version, vec!["version must be specified".to_owned()]);
        } else {
            refuse(version, names::dns_1035_label(version, false));
        }
    }
    let messages = names::dns_1035_label(&name.to_lowercase(), false);
    if name.is_empty() {
        errors.push(Error::required(&path.child("kind"), ""));
    } else if !messages.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
        errors.push(Error::invalid(&path.child("kind"), name, &detail));
    }
}

/// Adds what is declared to what later expressions may refer to.
fn check_variables(errors: &mut ErrorList, path: &Path, spec: &Value, known: &mut Variables) {
    let variables = items(spec, "variables");
    if !variables.is_empty() {
        known.compose();
    }
    for (i, variable) in variables.iter().enumerate() {
        let path = path.child("variables").index(i);
        let name = text(variable, "name");
        if name.trim().is_empty() {
            errors.push(Error::required(&path.child("name"), "name is not specified"));
        } else if !is_identifier(name) {
            let detail = "name is not a valid CEL identifier";
            errors.push(Error::invalid(&path.child("name"), name, detail));
        }
        if variables[..i].iter().any(|other| other["name"] == variable["name"]) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let (at, source) = (path.child("expression"), text(variable, "expression"));
        let ty = rules::check_expression(errors, &at, source, (known, Wanted::Anything), MISSING);
        known.add(name, ty);
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !cel::RESERVED.contains(&name)
}

fn check_validations(errors: &mut ErrorList, path: &Path, object: &Value, known: &Variables) {
    let spec = &object["spec"];
    let (validations, annotations) = (items(spec, "validations"), items(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(Error::required(&path.child("validations"), detail));
        errors.push(Error::required(&path.child("auditAnnotations"), detail));
    }
    for (i, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(i);
        let (at, source) = (path.child("expression"), text(validation, "expression"));
        rules::check_expression(errors, &at, source, (known, Wanted::Bool), MISSING);
        let (at, source) = (path.child("messageExpression"), text(validation, "messageExpression"));
        if !source.trim().is_empty() {
            let known = &known.without_authorizer();
            rules::check_expression(errors, &at, source, (known, Wanted::String), MISSING);
        } else if !source.is_empty() {
            errors.push(Error::invalid(&at, source, "must be non-empty if specified"));
        }
        let message = text(validation, "message");
        if !validation["message"].is_null() && message.trim().is_empty() {
            let detail = "message must be non-empty if specified";
            errors.push(Error::invalid(&path.child("message"), message, detail));
        } else if message.contains('\n') {
            errors.push(Error::invalid(
                &path.child("message"),
                message,
                "message must not contain line breaks",
            ));
        }
        check::one_of_if_set(errors, &path.child("reason"), &validation["reason"], &REASONS);
    }
    if annotations.len() > MAX_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        let value = spec["auditAnnotations"].clone();
        errors.push(Error::invalid(&path.child("auditAnnotations"), value, &detail));
    }
    for (i, annotation) in annotations.iter().enumerate() {
        let path = path.child("auditAnnotations").index(i);
        let key = text(annotation, "key");
        let full = format!("{}/{key}", meta::name(object));
        check::invalid(errors, &path.child("key"), &key.into(), names::qualified_name(&full));
        if annotations[..i].iter().any(|other| other["key"] == annotation["key"]) {
            errors.push(Error::duplicate(&path.child("key"), key));
        }
        let (at, source) = (path.child("valueExpression"), text(annotation, "valueExpression").trim());
        if source.len() > MAX_VALUE {
            errors.push(Error::required(&at, &format!("must not exceed {MAX_VALUE} bytes in length")));
            continue;
        }
        let missing = "valueExpression is not specified";
        rules::check_expression(errors, &at, source, (known, Wanted::StringOrNull), missing);
    }
}

fn check_mutations(errors: &mut ErrorList, path: &Path, spec: &Value, known: &Variables) {
    let mutations = items(spec, "mutations");
    if mutations.is_empty() {
        let detail = "mutations must contain at least one item";
        errors.push(Error::required(&path.child("mutations"), detail));
    }
    for (i, mutation) in mutations.iter().enumerate() {
        let path = path.child("mutations").index(i);
        let (own, other, wanted) = match text(mutation, "patchType") {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Wanted::Configuration),
            "JSONPatch" => ("jsonPatch", "applyConfiguration", Wanted::Patch),
            kind => {
                let path = path.child("patchType");
                if kind.is_empty() {
                    errors.push(Error::required(&path, ""));
                } else {
                    errors.push(Error::not_supported(&path, kind, &["ApplyConfiguration", "JSONPatch"]));
                }
                continue;
            }
        };
        if mutation[own].is_object() {
            let (at, source) = (path.child(own).child("expression"), text(&mutation[own], "expression"));
            rules::check_expression(errors, &at, source, (known, wanted), MISSING);
        } else {
            errors.push(Error::required(&path.child(own), "must be specified when patchType is set to it"));
        }
        if !mutation[other].is_null() {
            errors.push(Error::invalid(
                &path.child(other),
                mutation[other].clone(),
                "must not be specified for this patchType",
            ));
        }
    }
    let policy = &spec["reinvocationPolicy"];
    check::one_of(errors, &path.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
}

impl Strategy for Policy {
    fn resource(&self) -> &Resource {
        &self.resource
    }

    fn storage_version(&self) -> &str {
        if self.mutating { "v1beta1" } else { "v1" }
    }

    fn has_status(&self) -> bool {
        !self.mutating
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default(spec, "failurePolicy", "Fail");
        rules::default_match(spec, "matchConstraints");
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        if !self.mutating {
            edit::set(object, "status", json!({}));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        self.check(object, Conditions::New)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let known = object["spec"]["matchConditions"] == old["spec"]["matchConditions"];
        self.check(object, if known { Conditions::Known } else { Conditions::New })
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        if self.mutating {
            const {
                &[
                    Column::NAME,
                    Column::new("Mutations", "integer").text(
                        "Mutation indicates the number of mutations rules defined in this configuration",
                    ),
                    Column::new("ParamKind", "string")
                        .text("ParamKind specifies the kind of resources used to parameterize this policy"),
                    cells::AGE,
                ]
            }
        } else {
            const {
                &[
                    Column::NAME,
                    Column::new("Validations", "integer").text(
                        "Validations indicates the number of validation rules defined in this configuration",
                    ),
                    Column::new("ParamKind", "string")
                        .text("ParamKind specifies the kind of resources used to parameterize this policy"),
                    cells::AGE,
                ]
            }
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let (spec, kind) = (&object["spec"], &object["spec"]["paramKind"]);
        let list = if self.mutating { "mutations" } else { "validations" };
        let shown = if kind.is_object() {
            format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind"))
        } else {
            "<unset>".to_owned()
        };
        vec![cells::name(object), items(spec, list).len().into(), shown.into(), cells::age(object, now)]
    }
}
