//! Objects that the launcher makes in the cluster: what its own components need, as add-ons of upstream bring it along.
//!
//! **Contract**: server-side apply under our name, so what people add to the objects stays.
//! **Upstream**: `cmd/kubeadm/app/phases/addons`.

use client::Backoff;
use component_base::Context;
use component_base::logging::chain;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use std::time::Duration;

/// Whose fields they are.
pub(super) const MANAGER: &str = "minik";
/// The groups of add-ons' accounts.
pub(super) const GROUPS: &[&str] = &["system:serviceaccounts", "system:serviceaccounts:kube-system"];
const NAMESPACE: &str = "kube-system";
/// After a write that failed.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// The user that an add-on's account is.
pub(super) fn user(account: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{account}")
}

/// An account, and a role of these rules that it has.
pub(super) fn rights(account: &str, role: &str, rules: Value) -> Vec<Value> {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    vec![
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": NAMESPACE},
        }),
        json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules}),
        json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}],
        }),
    ]
}

/// Makes the objects, however long it takes.
pub(super) async fn make(context: &Context, client: &kube::Client, objects: &[Value]) {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY, LAST_RETRY * 2);
    while let Err(error) = apply(client, objects.iter()).await {
        tracing::warn!("make the objects of an add-on, will retry: {}", chain(&error));
        context.clock.sleep(backoff.next(context.clock.instant(), &context.rng)).await;
    }
}

/// Makes the objects as given, and leaves what others have added.
///
/// # Errors
/// With the first that cannot be written.
pub(super) async fn apply(
    client: &kube::Client,
    objects: impl Iterator<Item = &Value>,
) -> Result<(), kube::Error> {
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&text(&object["metadata"]["name"]), &params, &Patch::Apply(object)).await?;
    }
    Ok(())
}

/// Whether an object has all that another has.
pub(super) fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .filter(|(key, _)| !["apiVersion", "kind"].contains(&key.as_str()))
            .all(|(key, wanted)| found.get(key).is_some_and(|found| covers(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_add_is_no_reason_to_write() {
        let wanted = json!({"kind": "Service", "metadata": {"name": "n"}, "ports": [{"port": 1}]});
        for (found, covered) in [
            (
                json!({"metadata": {"name": "n", "labels": {"a": "b"}}, "ports": [{"port": 1, "more": 2}]}),
                true,
            ),
            (json!({"metadata": {"name": "n"}, "ports": [{"port": 2}]}), false),
            (json!({"metadata": {"name": "n"}, "ports": [{"port": 1}, {"port": 2}]}), false),
            (json!(null), false),
        ] {
            assert_eq!(covers(&found, &wanted), covered, "{found}");
        }
    }
}
