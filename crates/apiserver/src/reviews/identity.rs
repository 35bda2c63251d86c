//! "Who am I?" and "Whose token is this?"

use super::ReviewKind;
use super::access::with_metadata;
use crate::auth::UserInfo;
use crate::decode::{strings, text};
use crate::server::Server;
use api::kind::{Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

const GROUP: &str = "authentication.k8s.io";

/// Who am I?
pub(super) struct SelfSubjectReview(Resource);

impl SelfSubjectReview {
    pub(super) fn new() -> Self {
        let (plural, singular) = ("selfsubjectreviews", "selfsubjectreview");
        Self(Resource::new(GROUP, "v1", "SelfSubjectReview", plural, singular, Scope::Cluster))
    }
}

#[async_trait]
impl ReviewKind for SelfSubjectReview {
    fn resource(&self) -> &Resource {
        &self.0
    }

    async fn answer(
        &self,
        server: &Server,
        user: &UserInfo,
        _: &str,
        mut review: Value,
        _: &mut Vec<String>,
    ) -> Result<Value, Status> {
        review = with_metadata(review);
        review["metadata"]["creationTimestamp"] = json!(api::time::format(server.context.clock.now()));
        review["status"] = json!({ "userInfo": user_json(user) });
        Ok(review)
    }
}

/// Whose token is this?
pub(super) struct TokenReview(Resource);

impl TokenReview {
    pub(super) fn new() -> Self {
        Self(Resource::new(GROUP, "v1", "TokenReview", "tokenreviews", "tokenreview", Scope::Cluster))
    }
}

#[async_trait]
impl ReviewKind for TokenReview {
    fn resource(&self) -> &Resource {
        &self.0
    }

    async fn answer(
        &self,
        server: &Server,
        _: &UserInfo,
        _: &str,
        mut review: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, Status> {
        let token = text(&review["spec"]["token"]);
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let mut audiences = strings(&review["spec"]["audiences"]);
        if audiences.is_empty() {
            audiences.push(server.authenticator.tokens().issuer().to_owned());
        }
        review["status"] = match server.authenticator.identify(token, &audiences, warnings).await {
            Ok(Some((user, fitting))) => {
                json!({ "authenticated": true, "user": user_json(&user), "audiences": fitting })
            }
            Ok(None) => json!({ "user": {}, "error": "invalid bearer token" }),
            Err(why) => json!({ "user": {}, "error": format!("[invalid bearer token, {why}]") }),
        };
        Ok(with_metadata(review))
    }
}

fn user_json(user: &UserInfo) -> Value {
    let mut object = json!({ "username": user.name });
    if !user.uid.is_empty() {
        object["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        object["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        object["extra"] = json!(user.extra);
    }
    object
}
