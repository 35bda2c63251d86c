//! IngressClass: who takes care of an Ingress.
//!
//! **Upstream**: `pkg/registry/networking/ingressclass`, `ValidateIngressClass`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::text;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::Value;

/// **Upstream**: `maxLenIngressClassController`.
const MAX_CONTROLLER: usize = 250;

/// The strategy of IngressClasses.
pub(crate) struct IngressClass(Resource);

impl IngressClass {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("ingressclasses", "ingressclass");
        Self(Resource::new(super::GROUP, "v1", "IngressClass", plural, singular, Scope::Cluster))
    }
}

fn check_parameters(errors: &mut ErrorList, path: &Path, parameters: &Value) {
    if !parameters.is_object() {
        return;
    }
    check::required(errors, &path.child("kind"), &parameters["kind"]);
    check::required(errors, &path.child("name"), &parameters["name"]);
    check::optional_name(errors, &path.child("apiGroup"), &parameters["apiGroup"], check::subdomain);
    let (scope, namespace, at) =
        (text(parameters, "scope"), &parameters["namespace"], path.child("namespace"));
    check::one_of(errors, &path.child("scope"), &parameters["scope"], &["Cluster", "Namespace"]);
    if scope == "Namespace" && namespace.as_str().unwrap_or("").is_empty() {
        errors.push(Error::required(&at, "`parameters.scope` is set to 'Namespace'"));
    } else if scope == "Cluster" && !namespace.is_null() {
        errors.push(Error::forbidden(&at, "`parameters.scope` is set to 'Cluster'"));
    } else {
        check::optional_name(errors, &at, namespace, check::label);
    }
}

fn parameters_cell(parameters: &Value) -> Cell {
    if !parameters.is_object() {
        return cells::NONE.into();
    }
    let group = text(parameters, "apiGroup");
    let dot = if group.is_empty() { "" } else { "." };
    format!("{}{dot}{group}/{}", text(parameters, "kind"), text(parameters, "name")).into()
}

impl Strategy for IngressClass {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        if let Some(parameters) =
            edit::child_or_new(object, "spec").and_then(|spec| edit::child(spec, "parameters"))
        {
            edit::set_default(parameters, "scope", "Cluster");
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let (controller, at) = (text(spec, "controller"), path.child("controller"));
        if controller.len() > MAX_CONTROLLER {
            errors.push(Error::too_long(&at, MAX_CONTROLLER));
        }
        if controller.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !controller.contains('/') {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(Error::invalid(&at, controller, detail));
        } else {
            check::invalid(&mut errors, &at, &controller.into(), names::qualified_name(controller));
        }
        check_parameters(&mut errors, &path.child("parameters"), &spec["parameters"]);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let path = Path::new("spec").child("controller");
        check::immutable(&mut errors, &path, &object["spec"]["controller"], &old["spec"]["controller"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Controller", "string")
                    .text("Controller that is responsible for handling this class"),
                Column::new("Parameters", "string")
                    .text("A reference to a resource with additional parameters"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        let parameters = parameters_cell(&spec["parameters"]);
        vec![cells::name(object), text(spec, "controller").into(), parameters, cells::age(object, now)]
    }
}
