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
        answered(&self.0, server, user, ErrorList::new(), review).await
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
        let (subject, errors) = subject(&review["spec"]);
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
        let asked = text(&review["spec"]["resourceAttributes"]["namespace"]);
        if !asked.is_empty() && asked != namespace {
            let why = format!(
                "spec.resourceAttributes.namespace must match namespace: {asked:?} is not {namespace:?}"
            );
            return Err(Status::bad_request(why));
        }
        if review["spec"]["resourceAttributes"].is_object() {
            review["spec"]["resourceAttributes"]["namespace"] = json!(namespace);
        }
        review["metadata"]["namespace"] = json!(namespace);
        let (subject, mut errors) = subject(&review["spec"]);
        if !review["spec"]["nonResourceAttributes"].is_null() {
            let path = Path::new("spec").child("nonResourceAttributes");
            errors.push(FieldError::forbidden(&path, "disallowed on this kind of request"));
        }
        answered(&self.0, server, &subject, errors, review).await
    }
}

fn subject(spec: &Value) -> (UserInfo, ErrorList) {
    let extra = spec["extra"].as_object().into_iter().flatten();
    let subject = UserInfo {
        name: text(&spec["user"]).to_owned(),
        uid: text(&spec["uid"]).to_owned(),
        groups: strings(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
    };
    let mut errors = ErrorList::new();
    if subject.name.is_empty() && subject.groups.is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(FieldError::invalid(&path, "", "at least one of user or group must be specified"));
    }
    (subject, errors)
}

async fn answered(
    resource: &Resource,
    server: &Server,
    subject: &UserInfo,
    mut errors: ErrorList,
    mut review: Value,
) -> Result<Value, Status> {
    let spec = &review["spec"];
    let (about, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let field = Path::new("spec").child("resourceAttributes");
    if about.is_null() && path.is_null() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid(&field, Value::Null, why));
    } else if !about.is_null() && !path.is_null() {
        let field = Path::new("spec").child("nonResourceAttributes");
        let why = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid(&field, path.clone(), why));
    }
    for name in ["fieldSelector", "labelSelector"] {
        selector::check(&mut errors, &field.child(name), &about[name]);
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&resource.group, &resource.kind, "", &errors));
    }
    let fields = selector::query(&about["fieldSelector"], selector::Kind::Field);
    let labels = selector::query(&about["labelSelector"], selector::Kind::Label);
    let action = if about.is_null() {
        Action::path(subject, text(&path["verb"]), text(&path["path"]))
    } else {
        Action {
            version: text(&about["version"]),
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
