//! `namespaces/finalize`: takes finalizers of the namespace's contents away; with the last one the namespace goes.
//!
//! **Upstream**: `pkg/registry/core/namespace/storage` (`FinalizeREST`).

use super::{Facts, Subresource, dry_run};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::decode;
use crate::handlers::options;
use crate::registry::{Tracking, UpdateOptions, WriteOptions};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::{negotiate, respond};
use api::kind::GroupVersionKind;
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
        let encoding = negotiate::plain(request.headers())?;
        let manager = options::field_manager(&info.query, request.headers(), user);
        let wanted = decode::object_of(request, "v1", "Namespace").await?;
        let store = super::store(server, "", "namespaces")?;
        let mut options = WriteOptions {
            admission: Some((&server.admission, &*server.registry)),
            dry_run: dry_run(info)?,
            subresource: "finalize",
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
        Ok(respond::object(200, &updated.object.to_value(), encoding))
    }
}
