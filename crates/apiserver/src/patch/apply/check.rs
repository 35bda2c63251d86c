//! What a configuration must be before it can be merged.
//!
//! **Upstream**: the errors of `sigs.k8s.io/structured-merge-diff/typed` for a patch object, which answer 500.

use super::shape::Shape;
use api::kind::Resource;
use api::meta;
use api::status::Status;
use serde_json::Value;
use std::collections::HashSet;

/// Refuses what is no configuration for objects of this resource.
pub(super) fn check(resource: &Resource, config: &Value, shape: Shape<'_>) -> Result<(), Status> {
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let text = |field: &str| config[field].as_str().unwrap_or("");
    if (text("kind"), text("apiVersion")) != (&*resource.kind, resource.api_version().as_str()) {
        let (kind, version) = (text("kind"), text("apiVersion"));
        if kind.is_empty() {
            return Err(Status::bad_request("Object 'Kind' is missing"));
        }
        return Err(Status::bad_request(format!("invalid object type: {}", printed(version, kind))));
    }
    let mut path = String::new();
    walk(config, shape, &mut path).map_err(|why| {
        let (namespace, name) = (meta::namespace(config), meta::name(config));
        let kind = printed(&resource.api_version(), &resource.kind);
        let message =
            format!("failed to create typed patch object ({namespace}/{name}; {kind}): {path}: {why}");
        Status::new(500, "", message)
    })
}

/// A kind as Go prints it: `apps/v1, Kind=Deployment`, and `/v1, Kind=Pod` where the group has no name.
fn printed(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// The first thing that is wrong; `path` then says where.
fn walk(value: &Value, shape: Shape<'_>, path: &mut String) -> Result<(), String> {
    let length = path.len();
    match (shape, value) {
        (_, Value::Null) | (Shape::Leaf | Shape::Unknown, _) => {}
        (shape, Value::Object(fields)) if shape.is_map() => {
            for (name, value) in fields {
                path.push('.');
                path.push_str(name);
                let root = length == 0 && matches!(name.as_str(), "kind" | "apiVersion");
                match shape.member(name) {
                    Some(shape) => walk(value, shape, path)?,
                    None if root => {}
                    None => return Err("field not declared in schema".to_owned()),
                }
                path.truncate(length);
            }
        }
        (shape, _) if shape.is_map() => return Err("expected map".to_owned()),
        (shape, Value::Array(items)) => {
            let mut seen = HashSet::with_capacity(items.len());
            for (at, item) in items.iter().enumerate() {
                let element = shape.element(at, item);
                let printed = super::set::printed(&element);
                if element.starts_with("i:") {
                    let keys = shape.list_keys().join(", ");
                    return Err(format!(
                        "element {at}: associative list with keys has an element that omits key field {keys:?} \
                         (and doesn't have default value)"
                    ));
                }
                if !seen.insert(element) {
                    return Err(format!("duplicate entries for key {printed}"));
                }
                path.push_str(&printed);
                walk(item, shape.item(), path)?;
                path.truncate(length);
            }
        }
        _ => return Err("expected list".to_owned()),
    }
    Ok(())
}
