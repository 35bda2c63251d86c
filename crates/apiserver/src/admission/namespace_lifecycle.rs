//! Nothing is created in a namespace that does not exist or is going; three namespaces never go.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Operation, Plugin};
use api::kind::{Resource, Scope};
use api::status::Status;
use serde_json::Value;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The plugin.
pub(super) struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        check(attributes, Some(object))
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        // A creation was checked before it was changed; a deletion is only seen here.
        if attributes.operation == Operation::Delete { check(attributes, object) } else { Ok(()) }
    }
}

fn check(attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
    if is_about(attributes, "", "namespaces") {
        if attributes.operation == Operation::Delete && IMMORTAL.contains(&attributes.name) {
            return Err(forbidden(attributes, object, "this namespace may not be deleted"));
        }
        return Ok(());
    }
    if attributes.namespace.is_empty()
        || !matches!(attributes.operation, Operation::Create | Operation::Update)
        || !attributes.resource.namespaced()
        || attributes.resource.plural == "localsubjectaccessreviews"
    {
        return Ok(());
    }
    let name = attributes.namespace;
    let Some(namespace) = attributes.lookup.get("", "namespaces", "", name) else {
        let resource = Resource::new("", "v1", "Namespace", "namespaces", "namespace", Scope::Cluster);
        return Err(Status::not_found(&resource, name));
    };
    let terminating = namespace["status"]["phase"] == "Terminating"
        || !namespace["metadata"]["deletionTimestamp"].is_null();
    if attributes.operation == Operation::Create && terminating {
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let message = format!("namespace {name} is being terminated");
        return Err(forbidden(attributes, object, &why).with_cause(
            "NamespaceTerminating",
            &message,
            "metadata.namespace",
        ));
    }
    Ok(())
}
