//! A pod that a controller sends away: it is told why, then deleted.
//!
//! **Not here**: which pods go, and what event they get (the controller).

use super::target::conditions;
use crate::error::code;
use crate::{Error, Manager};
use client::Key;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

/// Writes the condition and deletes the pod, unless it is gone or another has its name.
pub(in crate::controllers) async fn delete(
    manager: &Manager,
    pod: &Pod,
    reason: &str,
    message: &str,
) -> Result<(), Error> {
    let Key { namespace, name } = Key::of(pod);
    let api = Api::<Pod>::namespaced(manager.client.clone(), &namespace);
    let conditions = conditions(pod, reason, message, manager.context.clock.now());
    let change = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": conditions } });
    match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(change)).await {
        Err(error) if [404, 409].contains(&code(&error)) => return Ok(()),
        Err(error) => {
            return Err(Error::request("update the status of", format!("pod {namespace}/{name}"))(error));
        }
        Ok(_) => {}
    }
    let same = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
    match api.delete(&name, &params).await {
        Err(error) if ![404, 409].contains(&code(&error)) => {
            Err(Error::request("delete", format!("pod {namespace}/{name}"))(error))
        }
        _ => Ok(()),
    }
}
