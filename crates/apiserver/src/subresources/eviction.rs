//! `pods/eviction`: a deletion that asks first.
//!
//! **Not here**: disruption budgets; no controller keeps their status yet, so nothing blocks an eviction.
//! **Upstream**: `pkg/registry/core/pod/storage/eviction.go`.

use super::{Facts, Subresource, dry_run, success};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::decode::{self, text};
use crate::negotiate;
use crate::registry::{DeleteOptions, WriteOptions};
use crate::request::RequestInfo;
use crate::server::Server;
use api::kind::GroupVersionKind;
use api::status::Status;
use async_trait::async_trait;
use std::sync::Arc;

/// The subresource.
pub(super) struct Eviction;

#[async_trait]
impl Subresource for Eviction {
    fn facts(&self) -> Facts {
        Facts {
            group: "",
            version: "v1",
            plural: "pods",
            name: "eviction",
            namespaced: true,
            kind: GroupVersionKind::new("policy", "v1", "Eviction"),
            verbs: &["create"],
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
        let eviction = decode::object(request).await?;
        let version = text(&eviction["apiVersion"]);
        if text(&eviction["kind"]) != "Eviction" || !matches!(version, "policy/v1" | "policy/v1beta1") {
            return Err(Status::bad_request("the body must be an Eviction of policy/v1"));
        }
        let named = text(&eviction["metadata"]["name"]);
        if !named.is_empty() && named != info.name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let delete = &eviction["deleteOptions"];
        let owned = |field: &str| delete["preconditions"][field].as_str().map(str::to_owned);
        let wanted = DeleteOptions {
            grace_period_seconds: delete["gracePeriodSeconds"].as_i64(),
            uid: owned("uid"),
            resource_version: owned("resourceVersion"),
            propagation_policy: delete["propagationPolicy"].as_str().map(str::to_owned),
            orphan_dependents: delete["orphanDependents"].as_bool(),
        };
        let asks_dry_run = delete["dryRun"].as_array().is_some_and(|list| !list.is_empty());
        let mut options = WriteOptions {
            admission: Some((&server.admission, &*server.registry)),
            dry_run: dry_run(info)? || asks_dry_run,
            ..WriteOptions::new(user)
        };
        super::store(server, "", "pods")?.delete(&mut options, &info.namespace, &info.name, &wanted).await?;
        Ok(success(201, encoding))
    }
}
