//! The variables that expressions about a request have.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/cel`.

use super::request::{self, AdmissionRequest};
use super::{Attributes, Form};
use crate::auth::Authorizer;
use crate::cel::{self, Context, Environment};
use serde_json::Value;
use std::sync::Arc;

/// What expressions about any request may refer to.
const VARIABLES: [&str; 5] = ["object", "oldObject", "request", "authorizer", "authorizer.requestResource"];

/// The variables of a webhook's conditions.
pub(crate) fn environment() -> Environment {
    Environment::of(&VARIABLES)
}

/// A request's object in one form.
pub(super) struct Seen<'a> {
    pub(super) requested: &'a Form,
    pub(super) form: &'a Form,
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
}

/// The variables of a request.
pub(super) fn context(
    attributes: &Attributes<'_>,
    seen: &Seen<'_>,
    authorizer: &Arc<dyn Authorizer>,
) -> Context<'static> {
    let mut context = cel::context();
    let value = |object: Option<&Value>| object.map_or(cel::Value::Null, cel::from_json);
    context.add_variable_from_value("object", value(seen.object));
    context.add_variable_from_value("oldObject", value(seen.old));
    let request = AdmissionRequest::new(attributes, seen.requested, seen.form, "");
    let request = serde_json::to_value(&request).unwrap_or_default();
    context.add_variable_from_value("request", cel::from_json(&request));
    context.add_variable_from_value("authorizer", cel::authorizer::begun(authorizer, attributes.user));
    let resource = (&*attributes.resource.group, &*attributes.resource.plural, attributes.subresource);
    let place = (request::namespace(attributes), attributes.name);
    let own = cel::authorizer::of_request(authorizer, attributes.user, resource, place);
    context.add_variable_from_value("authorizer.requestResource", own);
    context
}
