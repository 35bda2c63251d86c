//! THE LIST: kinds that are questions, or orders. They are created, answered at once, and never stored.
//!
//! **Contract**: discovery lists them with the one verb `create`; who may ask is the authorizer's matter.
//! **Upstream**: `pkg/registry/authorization`, `pkg/registry/authentication`.

mod access;
mod binding;
mod identity;
mod rules;
#[cfg(test)]
mod tests;

use crate::admission::{Operation, Part};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::{decode, dispatch, negotiate, respond, subresources};
use api::kind::Resource;
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// One kind of question.
#[async_trait]
pub trait ReviewKind: Send + Sync {
    /// The facts that discovery publishes.
    fn resource(&self) -> &Resource;

    /// Does what is asked, if that is more than an answer.
    async fn carry_out(
        &self,
        _server: &Server,
        _user: &UserInfo,
        _namespace: &str,
        _question: &Value,
        _dry_run: bool,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Fills in the answer, `status`, and adds to the warnings of the response. `namespace` is that of the request's
    /// path.
    async fn answer(
        &self,
        server: &Server,
        user: &UserInfo,
        namespace: &str,
        question: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, Status>;
}

/// Every kind of question.
pub fn all() -> Vec<Arc<dyn ReviewKind>> {
    vec![
        Arc::new(binding::Binding::new()),
        Arc::new(access::SelfSubjectAccessReview::new()),
        Arc::new(access::SubjectAccessReview::new()),
        Arc::new(access::LocalSubjectAccessReview::new()),
        Arc::new(rules::SelfSubjectRulesReview::new()),
        Arc::new(identity::SelfSubjectReview::new()),
        Arc::new(identity::TokenReview::new()),
    ]
}

/// The verbs of every question.
pub const VERBS: &[&str] = &["create"];

/// Serves an authorized request.
pub(crate) async fn serve(
    server: &Arc<Server>,
    review: &dyn ReviewKind,
    info: &RequestInfo,
    user: &UserInfo,
    request: Request,
) -> Result<Response, Status> {
    if info.verb != "create" || !info.name.is_empty() {
        return Err(dispatch::method_not_allowed());
    }
    // Questions have no table form; whoever takes nothing else gets 406.
    let form = negotiate::routed(request.headers(), info.query.optional_flag("pretty"))?;
    let resource = review.resource();
    let mut question = decode::object_of(request, &resource.api_version(), &resource.kind).await?;
    let dry_run = subresources::dry_run(info)?;
    let what = (Operation::Create, Part::Outsiders);
    subresources::admit_as(server, info, user, what, resource, dry_run, &mut question).await?;
    review.carry_out(server, user, &info.namespace, &question, dry_run).await?;
    let mut warnings = Vec::new();
    let answer = review.answer(server, user, &info.namespace, question, &mut warnings).await?;
    let mut response = respond::object(201, &answer, form);
    respond::add_warnings(response.headers_mut(), &warnings);
    Ok(response)
}
