//! `pods/eviction`: a deletion that asks the pod's disruption budget first.
//!
//! **Contract**: the budget is spent before the pod is deleted, each in a transaction of its own; a budget that another
//! eviction has spent meanwhile is read again. A dry run asks and changes nothing.
//! **Not here**: who keeps the status of budgets (the disruption controller).
//! **Upstream**: `pkg/registry/core/pod/storage/eviction.go`.

mod budget;
#[cfg(test)]
mod tests;

use super::{Facts, Subresource, admit, dry_run, success};
use crate::admission::{Lookup, Operation};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::decode::{self, text};
use crate::negotiate;
use crate::registry::{DeleteOptions, UpdateOptions, WriteOptions, check_preconditions};
use crate::request::RequestInfo;
use crate::server::Server;
use api::kind::GroupVersionKind;
use api::meta;
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

/// Tries to evict a pod that keeps changing. **Upstream**: `EvictionsRetry`.
const TRIES: usize = 20;

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
        let form = negotiate::routed(request.headers(), info.query.optional_flag("pretty"))?;
        let mut eviction = decode::object(request).await?;
        // What is not said follows from the path; kube-rs leaves it out.
        let (version, kind) = (text(&eviction["apiVersion"]), text(&eviction["kind"]));
        if !matches!(kind, "" | "Eviction") || !matches!(version, "" | "policy/v1" | "policy/v1beta1") {
            return Err(Status::bad_request("the body must be an Eviction of policy/v1"));
        }
        if text(&eviction["metadata"]["name"]) != info.name {
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
        let dry_run = dry_run(info)? || asks_dry_run;
        (eviction["kind"], eviction["apiVersion"]) = ("Eviction".into(), "policy/v1".into());
        admit(server, info, user, Operation::Create, dry_run, &mut eviction).await?;
        let evicting = Evicting { server, user, namespace: &info.namespace, name: &info.name, dry_run };
        evicting.evict(&wanted).await?;
        Ok(success(201, form))
    }
}

/// One eviction under way.
struct Evicting<'a> {
    server: &'a Arc<Server>,
    user: &'a UserInfo,
    namespace: &'a str,
    name: &'a str,
    dry_run: bool,
}

impl Evicting<'_> {
    async fn evict(&self, wanted: &DeleteOptions) -> Result<(), Status> {
        let pods = super::store(self.server, "", "pods")?;
        let may_retry = wanted.resource_version.is_none();
        let mut tries = 0..TRIES;
        let pod = loop {
            let pod = pods.get(self.namespace, self.name).await?.to_value();
            if !budget::is_ignored(&pod) {
                break pod;
            }
            // A pod that may yet become ready must still be what it is now.
            let delete = if budget::is_ending(&pod) { wanted.clone() } else { held(wanted, &pod) };
            tries.next();
            match self.delete(delete).await {
                Err(status) if status.reason == "Conflict" && may_retry && !tries.is_empty() => {}
                done => return done,
            }
        };
        let budgets = self.server.registry.list("policy", "poddisruptionbudgets", self.namespace);
        let Some(covering) = budget::covering(&budgets, &pod)? else {
            return self.delete(wanted.clone()).await;
        };
        let name = meta::name(&covering);
        if !budget::is_uncounted(&pod, &covering) {
            self.spend(name).await?;
            return self.delete(wanted.clone()).await;
        }
        match self.delete(held(wanted, &pod)).await {
            // It may have become ready meanwhile: the client is to ask again.
            Err(status) if status.reason == "Conflict" && may_retry => Err(budget::still_processing(name)),
            done => done,
        }
    }

    /// Takes one disruption from the budget.
    async fn spend(&self, name: &str) -> Result<(), Status> {
        let budgets = super::store(self.server, "policy", "poddisruptionbudgets")?;
        let now = api::time::format(self.server.context.clock.now());
        let mut change = |old: Option<&Value>| {
            let old = old.ok_or_else(|| Status::not_found(budgets.resource(), name))?;
            budget::spend(old, self.name, &now)
        };
        let mut options = self.options();
        budgets.update(&mut options, self.namespace, name, UpdateOptions::Status, &mut change).await?;
        Ok(())
    }

    /// Says in the pod's status why it goes, and deletes it.
    async fn delete(&self, mut delete: DeleteOptions) -> Result<(), Status> {
        let pods = super::store(self.server, "", "pods")?;
        if !self.dry_run {
            let now = api::time::format(self.server.context.clock.now());
            let mut change = |old: Option<&Value>| {
                let old = old.ok_or_else(|| Status::not_found(pods.resource(), self.name))?;
                check_preconditions(pods.resource(), old, &delete)?;
                Ok(disrupted(old, &now))
            };
            let mut options = self.options();
            let status = UpdateOptions::Status;
            let updated = pods.update(&mut options, self.namespace, self.name, status, &mut change).await?;
            if delete.resource_version.is_some() {
                delete.resource_version = Some(updated.object.revision().to_string());
            }
        }
        pods.delete(&mut self.options(), self.namespace, self.name, &delete).await?;
        Ok(())
    }

    fn options(&self) -> WriteOptions<'_> {
        WriteOptions { dry_run: self.dry_run, ..WriteOptions::new(self.user) }
    }
}

/// The same deletion, of the pod as it is now.
fn held(wanted: &DeleteOptions, pod: &Value) -> DeleteOptions {
    let now = || meta::resource_version(pod).to_owned();
    DeleteOptions {
        resource_version: Some(wanted.resource_version.clone().unwrap_or_else(now)),
        ..wanted.clone()
    }
}

/// The pod with the condition that tells why it ends.
fn disrupted(pod: &Value, now: &str) -> Value {
    let mut pod = pod.clone();
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let mut condition = json!({"type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now, "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"});
    if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
        match conditions.iter_mut().find(|c| c["type"] == "DisruptionTarget") {
            Some(old) => {
                if old["status"] == "True" {
                    condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
                }
                *old = condition;
            }
            None => conditions.push(condition),
        }
    }
    pod
}
