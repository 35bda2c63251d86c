//! `namespaces/finalize`: takes finalizers of the namespace's contents away; with the last one the namespace goes.
//!
//! **Upstream**: `pkg/registry/core/namespace/storage` (`FinalizeREST`).

use super::{Facts, Subresource, dry_run};
use crate::admission::Sent;
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::decode;
use crate::handlers::options;
use crate::registry::{Tracking, UpdateOptions, WriteOptions};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::{negotiate, respond};
use api::field::{Error, ErrorList, Path};
use api::kind::GroupVersionKind;
use api::names;
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

/// The subresource.
pub(super) struct Finalize;

#[async_trait]
impl Subresource for Finalize {
    fn facts(&self) -> Facts {
        Facts {
            group: "",
            version: "v1",
            plural: "namespaces",
            name: "finalize",
            namespaced: false,
            kind: GroupVersionKind::new("", "v1", "Namespace"),
            verbs: &["update"],
        }
    }

    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        user: &UserInfo,
        request: Request,
    ) -> Result<Response, Status> {
        let form = negotiate::routed(request.headers(), info.query.optional_flag("pretty"))?;
        let manager = options::field_manager(&info.query, request.headers(), user);
        let wanted = decode::object_of(request, "v1", "Namespace").await?;
        let store = super::store(server, "", "namespaces")?;
        check(&wanted, &info.name)?;
        let mut options = WriteOptions {
            admission: Some((&server.admission, &*server.registry)),
            dry_run: dry_run(info)?,
            subresource: "finalize",
            sent: Sent::of(info),
            tracking: Tracking::Update(&manager),
            ..WriteOptions::new(user)
        };
        let mut change = |old: Option<&Value>| {
            let mut object = old.cloned().ok_or_else(|| Status::not_found(store.resource(), &info.name))?;
            if !object["spec"].is_object() {
                object["spec"] = json!({});
            }
            match wanted["spec"]["finalizers"].as_array().filter(|list| !list.is_empty()) {
                Some(finalizers) => object["spec"]["finalizers"] = json!(finalizers),
                None => drop(object["spec"].as_object_mut().map(|spec| spec.shift_remove("finalizers"))),
            }
            // What the writer says about identity and version is what the store checks.
            for field in ["uid", "resourceVersion"] {
                if let Some(value) = wanted["metadata"].get(field) {
                    object["metadata"][field] = value.clone();
                }
            }
            Ok(object)
        };
        let updated = store.update(&mut options, "", &info.name, UpdateOptions::Raw, &mut change).await?;
        Ok(respond::object(200, &updated.object.to_value(), form))
    }
}

/// The name must be the path's; finalizers are `kubernetes`, another of upstream's, or qualified.
fn check(wanted: &Value, name: &str) -> Result<(), Status> {
    let said = decode::text(&wanted["metadata"]["name"]);
    if !said.is_empty() && said != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        )));
    }
    let path = Path::new("spec").child("finalizers");
    let mut errors = ErrorList::new();
    for (index, finalizer) in wanted["spec"]["finalizers"].as_array().into_iter().flatten().enumerate() {
        let path = path.index(index);
        let text = decode::text(finalizer);
        for problem in names::qualified_name(text) {
            errors.push(Error::invalid(&path, finalizer.clone(), &problem));
        }
        if !text.contains('/') && !matches!(text, "kubernetes" | "orphan" | "foregroundDeletion") {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path, finalizer.clone(), detail));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "Namespace", name, &errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_another_name_and_finalizers_that_nobody_owns() {
        let body = |name: &str, finalizers: Value| json!({"metadata": {"name": name}, "spec": {"finalizers": finalizers}});
        for (wanted, code) in [
            (body("a", json!(["kubernetes", "example.com/x"])), None),
            (json!({}), None),
            (body("b", json!([])), Some(400)),
            (body("a", json!(["bad"])), Some(422)),
            (body("a", json!([5])), Some(422)),
        ] {
            assert_eq!(check(&wanted, "a").err().map(|status| status.code), code, "{wanted}");
        }
    }
}
