//! Every pod runs as a service account, which must exist.
//!
//! **Not here**: the projected volume with the account's token. It comes when the kubelet can mount projected volumes;
//! until then a pod would only fail to start because of it.
//! **Upstream**: `plugin/pkg/admission/serviceaccount`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Operation, Plugin};
use api::status::Status;
use serde_json::{Value, json};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// The plugin.
pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
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
            "" => "default".to_owned(),
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
        Ok(())
    }
}
