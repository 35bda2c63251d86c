//! `pods/binding`: the scheduler's decision, taken over once and never again.
//!
//! **Upstream**: `pkg/registry/core/pod/storage` (`BindingREST`).

use super::{Facts, Subresource, dry_run, success};
use crate::admission::{Operation, Part};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::decode::{self, text};
use crate::negotiate;
use crate::registry::{UpdateOptions, WriteOptions};
use crate::request::RequestInfo;
use crate::server::Server;
use api::field::{Error as FieldError, ErrorList, Path};
use api::kind::{GroupVersionKind, Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

/// The subresource.
pub(super) struct Binding;

#[async_trait]
impl Subresource for Binding {
    fn facts(&self) -> Facts {
        Facts {
            group: "",
            version: "v1",
            plural: "pods",
            name: "binding",
            namespaced: true,
            kind: GroupVersionKind::new("", "v1", "Binding"),
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
        let mut binding = decode::object_of(request, "v1", "Binding").await?;
        let pods = super::store(server, "", "pods")?;
        // Others are asked about the binding; plugins about the pod that it makes.
        let (what, dry) = ((Operation::Create, Part::Outsiders), dry_run(info)?);
        super::admit_as(server, info, user, what, pods.resource(), dry, &mut binding).await?;
        bind(server, user, (&info.namespace, &info.name), &binding, dry).await?;
        Ok(success(201, form))
    }
}

/// Puts the pod of this namespace and name on the node that the binding names.
pub(crate) async fn bind(
    server: &Server,
    user: &UserInfo,
    (namespace, name): (&str, &str),
    binding: &Value,
    dry_run: bool,
) -> Result<(), Status> {
    validate(name, binding)?;
    let store = super::store(server, "", "pods")?;
    let now = api::time::format(server.context.clock.now());
    let mut options = WriteOptions {
        admission: Some((&server.admission, &*server.registry)),
        part: Part::Plugins,
        dry_run,
        subresource: "binding",
        ..WriteOptions::new(user)
    };
    let mut change = |old: Option<&Value>| bound(old, name, binding, &now);
    store.update(&mut options, namespace, name, UpdateOptions::Raw, &mut change).await?;
    Ok(())
}

fn validate(name: &str, binding: &Value) -> Result<(), Status> {
    let named = text(&binding["metadata"]["name"]);
    if !named.is_empty() && named != name {
        return Err(Status::bad_request(format!(
            "name in URL does not match name in Binding object: {named}"
        )));
    }
    let mut errors = ErrorList::new();
    let target = Path::new("target");
    let kind = text(&binding["target"]["kind"]);
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(&target.child("kind"), kind, &["Node", "<empty>"]));
    }
    if text(&binding["target"]["name"]).is_empty() {
        errors.push(FieldError::required(&target.child("name"), ""));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "Binding", name, &errors)) }
}

/// The pod on its node.
fn bound(pod: Option<&Value>, name: &str, binding: &Value, now: &str) -> Result<Value, Status> {
    let resource = Resource::new("", "v1", "Binding", "pods/binding", "binding", Scope::Namespaced);
    let conflict = |why: String| Err(Status::conflict(&resource, name, &why));
    let mut pod = pod.cloned().ok_or_else(|| Status::not_found(&resource, name))?;
    let uid = text(&binding["metadata"]["uid"]);
    if !uid.is_empty() && pod["metadata"]["uid"] != uid {
        let have = text(&pod["metadata"]["uid"]);
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {have}"
        ));
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = text(&pod["spec"]["nodeName"]);
    if !node.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            if !pod["metadata"][field].is_object() {
                pod["metadata"][field] = json!({});
            }
            pod["metadata"][field][key] = value.clone();
        }
    }
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    let mut scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    });
    if let Some(generation) = pod["metadata"]["generation"].as_i64() {
        scheduled["observedGeneration"] = json!(generation);
    }
    conditions.push(scheduled);
    pod["status"]["conditions"] = Value::Array(conditions);
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Value {
        json!({ "metadata": { "annotations": { "a": "1" } }, "target": { "kind": "Node", "name": "n" } })
    }

    #[test]
    fn binds_once() {
        let pod = json!({ "metadata": { "name": "p" }, "spec": {}, "status": { "phase": "Pending" } });
        let pod = bound(Some(&pod), "p", &binding(), "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(pod["spec"]["nodeName"], "n");
        assert_eq!(pod["metadata"]["annotations"]["a"], "1");
        assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
        let again = bound(Some(&pod), "p", &binding(), "").unwrap_err();
        assert_eq!(again.code, 409);
        assert_eq!(
            again.message,
            r#"Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n""#
        );
    }

    #[test]
    fn names_what_is_wrong_with_the_target() {
        let status = validate("p", &json!({ "target": { "kind": "Pod" } })).unwrap_err();
        assert_eq!(status.details.unwrap().causes.len(), 2);
    }
}
