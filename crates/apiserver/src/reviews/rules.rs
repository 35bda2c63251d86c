//! "What may I do in this namespace?"

use super::ReviewKind;
use super::access::with_metadata;
use crate::auth::UserInfo;
use crate::decode::text;
use crate::server::Server;
use api::kind::{Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

/// About whoever asks.
pub(super) struct SelfSubjectRulesReview(Resource);

impl SelfSubjectRulesReview {
    pub(super) fn new() -> Self {
        Self(Resource::new(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            "selfsubjectrulesreview",
            Scope::Cluster,
        ))
    }
}

#[async_trait]
impl ReviewKind for SelfSubjectRulesReview {
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
        let namespace = text(&review["spec"]["namespace"]).to_owned();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let rules = server.authorizer.rules_for(user, &namespace);
        let (resources, paths): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.paths.is_empty());
        let list = |rules: Vec<&crate::auth::rbac::PolicyRule>| -> Value {
            rules.into_iter().map(crate::auth::rbac::PolicyRule::to_json).collect()
        };
        review["status"] = json!({
            "resourceRules": list(resources),
            "nonResourceRules": list(paths),
            "incomplete": false,
        });
        if let Some(why) = server.authorizer.untold_rules(user) {
            review["status"]["incomplete"] = json!(true);
            review["status"]["evaluationError"] = json!(why);
        }
        Ok(with_metadata(review))
    }
}
