//! Every pod runs as a service account, which must exist.
//!
//! **Contract**: the account `default` is made by a controller as soon as its namespace is, so a pod that follows close
//! upon its namespace waits for it (upstream: ten tries of 100 ms).
//! **Not here**: what the volume with the account's token looks like (`service_account_token`).
//! **Upstream**: `plugin/pkg/admission/serviceaccount`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Awaited, Lookup, Operation, Plugin, service_account_token};
use api::kind::Resource;
use api::status::Status;
use serde_json::{Value, json};

const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The plugin.
pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn awaits(
        &self,
        lookup: &dyn Lookup,
        resource: &Resource,
        namespace: &str,
        pod: &Value,
    ) -> Option<Awaited> {
        let is_pod = resource.group.is_empty() && resource.plural == "pods";
        let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if !is_pod || !matches!(name, "" | DEFAULT) || !pod["metadata"]["annotations"][MIRROR].is_null() {
            return None;
        }
        let is_missing = lookup.get("", "serviceaccounts", namespace, DEFAULT).is_none();
        let comes = lookup.get("", "namespaces", "", namespace)?["status"]["phase"] != "Terminating";
        (is_missing && comes).then(|| Awaited {
            group: "",
            plural: "serviceaccounts",
            namespace: namespace.to_owned(),
            name: DEFAULT.to_owned(),
        })
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !is_about(attributes, "", "pods") {
            return Ok(());
        }
        if !pod["metadata"]["annotations"][MIRROR].is_null() {
            return match pod["spec"]["serviceAccountName"].as_str().unwrap_or_default() {
                "" => Ok(()),
                _ => Err(forbidden(attributes, Some(pod), "a mirror pod may not reference service accounts")),
            };
        }
        if !pod["spec"].is_object() {
            return Ok(()); // validation will say so
        }
        let name = match pod["spec"]["serviceAccountName"].as_str().unwrap_or_default() {
            "" => DEFAULT.to_owned(),
            name => name.to_owned(),
        };
        let namespace = attributes.namespace;
        let Some(account) = attributes.lookup.get("", "serviceaccounts", namespace, &name) else {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            );
            return Err(forbidden(attributes, Some(pod), &why));
        };
        pod["spec"]["serviceAccountName"] = json!(name);
        pod["spec"]["serviceAccount"] = json!(name);
        let has_secrets = pod["spec"]["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty());
        if !has_secrets
            && let Some(secrets) = account["imagePullSecrets"].as_array().filter(|s| !s.is_empty())
        {
            pod["spec"]["imagePullSecrets"] = json!(secrets);
        }
        if service_account_token::is_wanted(pod, &account) {
            service_account_token::mount(pod, attributes.rng);
        }
        Ok(())
    }
}
