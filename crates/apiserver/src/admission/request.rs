//! What others are told of a request besides its object: `AdmissionRequest`.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/webhook/request/admissionreview.go`.

use super::{Attributes, Form};
use crate::auth::UserInfo;
use crate::registry::DeleteOptions;
use crate::request::RequestInfo;
use api::kind::GroupVersionKind;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The options that came with a request.
#[derive(Clone, Copy, Debug, Default)]
pub enum Sent<'a> {
    /// Of a connection, which has none: they are its object.
    #[default]
    Nothing,
    /// Of a creation, update or patch.
    Write {
        /// The verb of the request: an update may be a `patch`.
        verb: &'a str,
        /// `fieldManager`, as sent.
        manager: &'a str,
        /// `fieldValidation`, as sent.
        validation: &'a str,
    },
    /// Of a deletion.
    Delete(&'a DeleteOptions),
}

impl<'a> Sent<'a> {
    /// Those of a write.
    pub(crate) fn of(info: &'a RequestInfo) -> Self {
        let text = |name| info.query.text(name);
        Self::Write { verb: info.verb, manager: text("fieldManager"), validation: text("fieldValidation") }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl<'a> Kind<'a> {
    fn of(kind: &'a GroupVersionKind) -> Self {
        Self { group: &kind.group, version: &kind.version, kind: &kind.kind }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct ResourceName<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
}

impl<'a> ResourceName<'a> {
    fn of(form: &'a Form) -> Self {
        Self { group: &form.group, version: &form.version, resource: &form.plural }
    }
}

#[derive(Debug, Serialize)]
struct User<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

impl<'a> User<'a> {
    fn of(user: &'a UserInfo) -> Self {
        Self { username: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra }
    }
}

/// `AdmissionRequest` without its objects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdmissionRequest<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    kind: Kind<'a>,
    resource: ResourceName<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub_resource: &'a str,
    request_kind: Kind<'a>,
    request_resource: ResourceName<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_sub_resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    operation: &'static str,
    user_info: User<'a>,
    dry_run: bool,
    options: Value,
}

impl<'a> AdmissionRequest<'a> {
    /// The request in a form that somebody has asked for.
    pub(super) fn new(
        attributes: &'a Attributes<'_>,
        requested: &'a Form,
        form: &'a Form,
        uid: &'a str,
    ) -> Self {
        Self {
            uid,
            kind: Kind::of(&form.kind),
            resource: ResourceName::of(form),
            sub_resource: attributes.subresource,
            request_kind: Kind::of(&requested.kind),
            request_resource: ResourceName::of(requested),
            request_sub_resource: attributes.subresource,
            name: attributes.name,
            namespace: namespace(attributes),
            operation: attributes.operation.name(),
            user_info: User::of(attributes.user),
            dry_run: attributes.dry_run,
            options: options(attributes),
        }
    }
}

/// The namespace of a request; a namespace is in itself.
pub(super) fn namespace<'a>(attributes: &'a Attributes<'_>) -> &'a str {
    let resource = attributes.resource;
    if resource.group.is_empty() && resource.plural == "namespaces" {
        attributes.name
    } else {
        attributes.namespace
    }
}

/// `CreateOptions`, `UpdateOptions`, `DeleteOptions`, or null.
fn options(attributes: &Attributes<'_>) -> Value {
    let kind = match (&attributes.sent, attributes.operation) {
        (Sent::Nothing, _) => return Value::Null,
        (Sent::Delete(_), _) => "DeleteOptions",
        (Sent::Write { .. }, super::Operation::Update) => "UpdateOptions",
        (Sent::Write { .. }, _) => "CreateOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            options[field] = value;
        }
    };
    let text = |text: &str| (!text.is_empty()).then(|| json!(text));
    set("dryRun", attributes.dry_run.then(|| json!(["All"])));
    match attributes.sent {
        Sent::Nothing => {}
        Sent::Write { manager, validation, .. } => {
            set("fieldManager", text(manager));
            set("fieldValidation", text(validation));
        }
        Sent::Delete(delete) => {
            let conditions = [("uid", &delete.uid), ("resourceVersion", &delete.resource_version)];
            let conditions: serde_json::Map<String, Value> = conditions
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))))
                .collect();
            set("gracePeriodSeconds", delete.grace_period_seconds.map(Into::into));
            set("preconditions", (!conditions.is_empty()).then(|| conditions.into()));
            set("orphanDependents", delete.orphan_dependents.map(Into::into));
            set("propagationPolicy", delete.propagation_policy.as_deref().and_then(text));
        }
    }
    options
}
