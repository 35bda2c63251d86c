//! Aggregated ClusterRoles have the rules of the roles that they select.
//!
//! **Contract**: rules are written by server-side apply, so labels and annotations of a role stay its author's.
//! **Upstream**: `pkg/controller/clusterroleaggregation`.

mod plan;

use crate::error::code;
use crate::{Error, Manager};
use client::{Action, Informer, Key, Queue, controller};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// As upstream calls it.
pub const NAME: &str = "clusterrole-aggregation-controller";

/// Roles worked on at a time (`--concurrent-cluster-role-aggregation-syncs`, 5).
const WORKERS: usize = 5;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let roles = manager.informers.of::<ClusterRole>();
    // Any role may be part of any aggregated one.
    let known = roles.clone();
    roles.feed(&manager.context, &queue, move |_| {
        let aggregated = known.list().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregated.map(|role| Key::of(role.as_ref())).collect::<Vec<_>>()
    });
    roles.synced().await;
    let (context, client) = (manager.context, manager.client);
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let (client, roles) = (client.clone(), roles.clone());
        async move { reconcile(client, &roles, &key.name).await }
    })
    .await;
}

async fn reconcile(client: kube::Client, roles: &Informer<ClusterRole>, name: &str) -> Result<Action, Error> {
    let Some(role) = roles.get("", name) else { return Ok(Action::Done) };
    let Some(rules) = plan::rules(&role, &roles.list()) else { return Ok(Action::Done) };
    let config = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name}, "rules": rules,
    });
    let params = PatchParams::apply(NAME).force();
    match Api::<ClusterRole>::all(client).patch(name, &params, &Patch::Apply(config)).await {
        Err(error) if code(&error) != 404 => {
            Err(Error::request("apply", format!("cluster role {name}"))(error))
        }
        _ => Ok(Action::Done),
    }
}
