//! Which claims may have access to devices that others use, and who may write which part of a claim's status.
//!
//! **Contract**: what is wrong is told as validation tells it. Who may take devices back may also take back what their
//! drivers have said of them.
//! **Upstream**: `pkg/registry/resource/utils.go`, where this is a part of the kinds' validation.

use super::{Attributes, Operation, Plugin, Sent};
use crate::auth::{Action, Authorizer, UserInfo, forbidden, is_on};
use crate::resources::edit::{items, same, text};
use crate::resources::resource::is_deallocated;
use api::field::{Error, ErrorList, Path};
use api::status::Status;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

const GROUP: &str = "resource.k8s.io";
const CLAIMS: &str = "resourceclaims";
/// **Upstream**: `DRAAdminNamespaceLabelKey`.
const ADMIN_ACCESS: &str = "resource.kubernetes.io/admin-access";

/// The plugin.
pub(super) struct ResourceClaims(pub(super) Arc<dyn Authorizer>);

impl Plugin for ResourceClaims {
    fn name(&self) -> &'static str {
        "ResourceClaims"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object.filter(|_| attributes.resource.group == GROUP) else { return Ok(()) };
        let errors = match (&*attributes.resource.plural, attributes.operation, attributes.subresource) {
            (CLAIMS, Operation::Create, "") => check_spec(attributes, &object["spec"]),
            ("resourceclaimtemplates", Operation::Create, "") => {
                check_spec(attributes, &object["spec"]["spec"])
            }
            (CLAIMS, Operation::Update, "status") => {
                let old = attributes.old.map_or(&Value::Null, |old| &old["status"]);
                self.check_status(attributes, &object["status"], old)
            }
            _ => return Ok(()),
        };
        if errors.is_empty() {
            return Ok(());
        }
        let name = match api::meta::name(object) {
            "" => api::meta::generate_name(object),
            name => name,
        };
        Err(Status::invalid(GROUP, &attributes.resource.kind, name, &errors))
    }
}

/// Access as an administrator, if the namespace is not one of administrators.
fn check_admin(attributes: &Attributes<'_>, path: &Path) -> ErrorList {
    let namespace = attributes.lookup.get("", "namespaces", "", attributes.namespace);
    if namespace.is_some_and(|namespace| namespace["metadata"]["labels"][ADMIN_ACCESS] == "true") {
        return ErrorList::new();
    }
    let detail = format!(
        "admin access to devices requires the `{ADMIN_ACCESS}: true` label on the containing namespace"
    );
    vec![Error::forbidden(path, &detail)]
}

/// The path is a claim's for templates too, as upstream has it.
fn check_spec(attributes: &Attributes<'_>, spec: &Value) -> ErrorList {
    let requests = items(&spec["devices"], "requests");
    match requests.iter().position(|request| request["exactly"]["adminAccess"] == true) {
        Some(i) => {
            let path = Path::new("spec").child("devices").child("requests").index(i).child("adminAccess");
            check_admin(attributes, &path)
        }
        None => ErrorList::new(),
    }
}

fn admin_result(status: &Value) -> Option<usize> {
    let results = items(&status["allocation"]["devices"], "results");
    results.iter().position(|result| result["adminAccess"] == true)
}

impl ResourceClaims {
    fn check_status(&self, attributes: &Attributes<'_>, status: &Value, old: &Value) -> ErrorList {
        let (mut errors, path) = (ErrorList::new(), Path::new("status"));
        if let Some(i) = admin_result(status).filter(|_| admin_result(old).is_none()) {
            let path = path.child("allocation").child("devices").child("results").index(i);
            errors.extend(check_admin(attributes, &path.child("adminAccess")));
        }
        let verb = match attributes.sent {
            Sent::Write { verb, .. } => verb,
            Sent::Nothing | Sent::Delete(_) => "update",
        };
        let may = |action: Action<'_>| {
            let decision = self.0.authorize(&action);
            if decision.allowed { Ok(()) } else { Err(forbidden(&action, &decision.reason).message) }
        };
        if !["allocation", "reservedFor"].into_iter().all(|field| same(&status[field], &old[field]))
            && let Err(why) = may(on(attributes.user, verb, "binding"))
        {
            let detail = format!(
                "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {why}"
            );
            errors.push(Error::forbidden(&path, &detail));
        }
        let mut verbs = vec![format!("arbitrary-node:{verb}")];
        if allocated_node(status).is_some_and(|node| is_on(attributes.user, node)) {
            verbs.insert(0, format!("associated-node:{verb}"));
        }
        for driver in changed_drivers(status, old) {
            let namespace = attributes.namespace;
            let asked = |verb| Action { name: driver, namespace, ..on(attributes.user, verb, "driver") };
            let refused: Vec<String> = verbs.iter().map_while(|verb| may(asked(verb)).err()).collect();
            if let Some(why) = refused.first().filter(|_| refused.len() == verbs.len()) {
                let detail = format!(
                    "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {why}",
                    verbs.join(" ")
                );
                errors.push(Error::forbidden(&path.child("devices"), &detail));
            }
        }
        errors
    }
}

/// A part of claims' status, as if it were a subresource.
fn on<'a>(user: &'a UserInfo, verb: &'a str, subresource: &'a str) -> Action<'a> {
    Action { subresource, ..Action::on(user, verb, GROUP, CLAIMS) }
}

/// The drivers of whose devices something else is said than before.
fn changed_drivers<'a>(status: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let key = |device: &'a Value| ["driver", "pool", "device", "shareID"].map(|field| text(device, field));
    let (new, before) = (items(status, "devices"), items(old, "devices"));
    let changed = new.iter().filter(|device| {
        let known = before.iter().find(|known| key(known) == key(device));
        known.is_none_or(|known| !same(known, device))
    });
    let gone = before.iter().filter(|known| new.iter().all(|device| key(device) != key(known)));
    changed
        .chain(gone.filter(|device| !is_deallocated(device, status, old)))
        .map(|device| text(device, "driver"))
        .collect()
}

/// The one node that can use what was allocated.
fn allocated_node(status: &Value) -> Option<&str> {
    let [term] = items(&status["allocation"]["nodeSelector"], "nodeSelectorTerms") else { return None };
    let [field] = items(term, "matchFields") else { return None };
    let [name] = items(field, "values") else { return None };
    let is_name = text(field, "key") == "metadata.name" && text(field, "operator") == "In";
    name.as_str().filter(|_| is_name && items(term, "matchExpressions").is_empty())
}

#[cfg(test)]
mod tests;
