//! "May I (or somebody) do this?"

use super::ReviewKind;
use crate::auth::{Action, UserInfo, selector};
use crate::decode::{strings, text};
use crate::server::Server;
use api::field::{Error as FieldError, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

const GROUP: &str = "authorization.k8s.io";

/// About whoever asks.
pub(super) struct SelfSubjectAccessReview(Resource);

impl SelfSubjectAccessReview {
    pub(super) fn new() -> Self {
        Self(Resource::new(
            GROUP,
            "v1",
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            "selfsubjectaccessreview",
            Scope::Cluster,
        ))
    }
}

#[async_trait]
impl ReviewKind for SelfSubjectAccessReview {
    fn resource(&self) -> &Resource {
        &self.0
    }

    async fn answer(
        &self,
        server: &Server,
        user: &UserInfo,
        _: &str,
        review: Value,
        _: &mut Vec<String>,
    ) -> Result<Value, Status> {
        let mut errors = check_spec(&review["spec"], None);
        check_metadata(&mut errors, &review["metadata"], "must be empty");
        answered(&self.0, server, user, errors, review).await
    }
}

/// About anybody.
pub(super) struct SubjectAccessReview(Resource);

impl SubjectAccessReview {
    pub(super) fn new() -> Self {
        Self(Resource::new(
            GROUP,
            "v1",
            "SubjectAccessReview",
            "subjectaccessreviews",
            "subjectaccessreview",
            Scope::Cluster,
        ))
    }
}

#[async_trait]
impl ReviewKind for SubjectAccessReview {
    fn resource(&self) -> &Resource {
        &self.0
    }

    async fn answer(
        &self,
        server: &Server,
        _: &UserInfo,
        _: &str,
        review: Value,
        _: &mut Vec<String>,
    ) -> Result<Value, Status> {
        let subject = subject(&review["spec"]);
        let mut errors = check_spec(&review["spec"], Some(&subject));
        check_metadata(&mut errors, &review["metadata"], "must be empty");
        answered(&self.0, server, &subject, errors, review).await
    }
}

/// About anybody, in one namespace: what a namespace's administrator may ask.
pub(super) struct LocalSubjectAccessReview(Resource);

impl LocalSubjectAccessReview {
    pub(super) fn new() -> Self {
        Self(Resource::new(
            GROUP,
            "v1",
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
            Scope::Namespaced,
        ))
    }
}

#[async_trait]
impl ReviewKind for LocalSubjectAccessReview {
    fn resource(&self) -> &Resource {
        &self.0
    }

    async fn answer(
        &self,
        server: &Server,
        _: &UserInfo,
        namespace: &str,
        mut review: Value,
        _: &mut Vec<String>,
    ) -> Result<Value, Status> {
        let given = text(&review["metadata"]["namespace"]);
        if !given.is_empty() && given != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        review["metadata"]["namespace"] = json!(namespace);
        let subject = subject(&review["spec"]);
        let errors = check_local(&review, &subject, namespace);
        answered(&self.0, server, &subject, errors, review).await
    }
}

fn subject(spec: &Value) -> UserInfo {
    let extra = spec["extra"].as_object().into_iter().flatten();
    UserInfo {
        name: text(&spec["user"]).to_owned(),
        uid: text(&spec["uid"]).to_owned(),
        groups: strings(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
    }
}

/// What is wrong with a question; `subject`: about whom, if it says so.
fn check_spec(spec: &Value, subject: Option<&UserInfo>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (about, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let root = Path::new("spec");
    let field = root.child("resourceAttributes");
    if about.is_null() && path.is_null() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid(&field, Value::Null, why));
    } else if !about.is_null() && !path.is_null() {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid(&root.child("nonResourceAttributes"), path.clone(), why));
    }
    if subject.is_some_and(|subject| subject.name.is_empty() && subject.groups.is_empty()) {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid(&root.child("user"), "", why));
    }
    for name in ["fieldSelector", "labelSelector"] {
        selector::check(&mut errors, &field.child(name), &about[name]);
    }
    errors
}

/// A question is no object that could have a name.
fn check_metadata(errors: &mut ErrorList, metadata: &Value, why: &str) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    let given = |(name, value): (&String, &Value)| {
        !is_empty(value) && name != "managedFields" && (name != "namespace" || why == "must be empty")
    };
    if metadata.as_object().into_iter().flatten().any(given) {
        errors.push(FieldError::invalid(&Path::new("metadata"), metadata.clone(), why));
    }
}

/// What is wrong with a question in a namespace.
fn check_local(review: &Value, subject: &UserInfo, namespace: &str) -> ErrorList {
    let spec = &review["spec"];
    let mut errors = check_spec(spec, Some(subject));
    check_metadata(&mut errors, &review["metadata"], "must be empty except for namespace");
    let (about, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let root = Path::new("spec");
    if about.is_object() && text(&about["namespace"]) != namespace {
        let field = root.child("resourceAttributes").child("namespace");
        errors.push(FieldError::invalid(&field, text(&about["namespace"]), "must match metadata.namespace"));
    }
    if !path.is_null() {
        let field = root.child("nonResourceAttributes");
        errors.push(FieldError::invalid(&field, path.clone(), "disallowed on this kind of request"));
    }
    errors
}

async fn answered(
    resource: &Resource,
    server: &Server,
    subject: &UserInfo,
    errors: ErrorList,
    mut review: Value,
) -> Result<Value, Status> {
    if !errors.is_empty() {
        return Err(Status::invalid(&resource.group, &resource.kind, "", &errors));
    }
    let spec = &review["spec"];
    let (about, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut ignored = Vec::new();
    let mut query = |name: &str, kind| {
        let query = selector::query(&about[name], kind);
        if selector::is_readable(&query, kind) {
            return query;
        }
        ignored.push(format!("spec.resourceAttributes.{name} ignored due to parse error"));
        String::new()
    };
    let fields = query("fieldSelector", selector::Kind::Field);
    let labels = query("labelSelector", selector::Kind::Label);
    let action = if about.is_null() {
        Action::path(subject, text(&path["verb"]), text(&path["path"]))
    } else {
        Action {
            version: Some(text(&about["version"])).filter(|version| !version.is_empty()).unwrap_or("*"),
            subresource: text(&about["subresource"]),
            namespace: text(&about["namespace"]),
            name: text(&about["name"]),
            field_selector: &fields,
            label_selector: &labels,
            ..Action::on(subject, text(&about["verb"]), text(&about["group"]), text(&about["resource"]))
        }
    };
    let decision = server.authorizer.decide(&action).await;
    let mut status = json!({ "allowed": decision.allowed });
    if decision.denied {
        status["denied"] = json!(true);
    }
    if !decision.reason.is_empty() {
        status["reason"] = json!(decision.reason);
    }
    if !ignored.is_empty() {
        status["evaluationError"] = json!(ignored.join("; "));
    }
    review["status"] = status;
    Ok(with_metadata(review))
}

/// Answers always carry `metadata`.
pub(super) fn with_metadata(mut review: Value) -> Value {
    if !review["metadata"].is_object() {
        review["metadata"] = json!({});
    }
    review
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_question_about_somebody_says_what_and_who_and_has_no_name() {
        let about = json!({ "verb": "get", "resource": "pods" });
        for (review, expected) in [
            (json!({ "spec": { "user": "u", "resourceAttributes": about } }), &[][..]),
            (
                json!({ "metadata": { "creationTimestamp": null }, "spec": { "groups": ["g"], "resourceAttributes": about } }),
                &[],
            ),
            (
                json!({ "metadata": { "name": "x" }, "spec": {} }),
                &[
                    "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
                    "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                    "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
                ],
            ),
            (
                json!({ "metadata": { "namespace": "n" }, "spec": { "user": "u", "resourceAttributes": about, "nonResourceAttributes": { "path": "/" } } }),
                &[
                    "spec.nonResourceAttributes: Invalid value: {\"path\":\"/\"}: cannot be specified in combination with resourceAttributes",
                    "metadata: Invalid value: {\"namespace\":\"n\"}: must be empty",
                ],
            ),
        ] {
            let mut errors = check_spec(&review["spec"], Some(&subject(&review["spec"])));
            check_metadata(&mut errors, &review["metadata"], "must be empty");
            assert_eq!(texts(&errors), expected, "{review}");
        }
    }

    #[test]
    fn a_question_in_a_namespace_is_about_it() {
        let review = |spec: Value| json!({ "metadata": { "namespace": "n" }, "spec": spec });
        for (spec, expected) in [
            (json!({ "user": "u", "resourceAttributes": { "namespace": "n" } }), &[][..]),
            (
                json!({ "user": "u", "resourceAttributes": { "namespace": "m" } }),
                &["spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace"],
            ),
            (
                json!({ "user": "u", "resourceAttributes": {} }),
                &["spec.resourceAttributes.namespace: Invalid value: \"\": must match metadata.namespace"],
            ),
            (
                json!({ "user": "u", "nonResourceAttributes": { "path": "/" } }),
                &[
                    "spec.nonResourceAttributes: Invalid value: {\"path\":\"/\"}: disallowed on this kind of request",
                ],
            ),
        ] {
            let review = review(spec);
            assert_eq!(texts(&check_local(&review, &subject(&review["spec"]), "n")), expected, "{review}");
        }
    }
}
