//! What every kind has in common: the rules of `metadata`.
//!
//! **Contract**: pure. All errors are found, in upstream's words and order.
//! **Upstream**: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use crate::registry::Strategy;
use api::field::{Error, ErrorList, Path};
use api::kind::Resource;
use api::schema::Schema;
use api::{meta, names};
use serde_json::{Map, Value};

/// Bytes of all annotations, keys and values.
const MAX_ANNOTATIONS: usize = 256 << 10;
const IMMUTABLE: &str = "field is immutable";
/// Finalizers of Kubernetes' own.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// Resources that upstream stores under older names. **Upstream**: `SpecialDefaultResourcePrefixes`.
const STORED_AS: [(&str, &str, &str); 5] = [
    ("", "endpoints", "services/endpoints"),
    ("", "nodes", "minions"),
    ("", "replicationcontrollers", "controllers"),
    ("", "services", "services/specs"),
    ("networking.k8s.io", "ingresses", "ingress"),
];
/// Kinds that may own nothing.
const BANNED_OWNERS: [(&str, &str); 1] = [("v1", "Event")];

/// The `metadata` of an object; made if it is missing.
pub fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().expect("made an object above")
}

/// The finalizers of an object.
pub fn finalizers(object: &Value) -> Vec<String> {
    meta::finalizers(object).map(str::to_owned).collect()
}

/// Sets finalizers; an empty list is left out.
pub fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        of(object).shift_remove("finalizers");
    } else {
        of(object).insert("finalizers".to_owned(), finalizers.into());
    }
}

/// Where upstream stores an object: what its messages call it by.
pub(super) fn upstream_key(resource: &Resource, object: &Value) -> String {
    let (group, plural) = (&*resource.group, &*resource.plural);
    let is_built_in = Schema::get().type_by_gvk(group, &resource.version, &resource.kind).is_some()
        && !is_of_others(resource);
    let folder = match STORED_AS.iter().find(|stored| (stored.0, stored.1) == (group, plural)) {
        Some((_, _, folder)) => (*folder).to_owned(),
        None if is_built_in => plural.to_owned(),
        None => format!("{group}/{plural}"),
    };
    match meta::namespace(object) {
        "" => format!("/registry/{folder}/{}", meta::name(object)),
        namespace => format!("/registry/{folder}/{namespace}/{}", meta::name(object)),
    }
}

/// Whether upstream serves a kind from another server than most.
fn is_of_others(resource: &Resource) -> bool {
    matches!(&*resource.group, "apiextensions.k8s.io" | "apiregistration.k8s.io")
}

/// All errors of a new object's metadata.
pub fn validate(strategy: &dyn Strategy, object: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    let (name, generate_name) = (meta::name(object), meta::generate_name(object));
    if !generate_name.is_empty() {
        for message in strategy.validate_name(generate_name, true) {
            errors.push(Error::invalid(&path.child("generateName"), generate_name, &message));
        }
    }
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        for message in strategy.validate_name(name, false) {
            errors.push(Error::invalid(&path.child("name"), name, &message));
        }
    }
    let namespace = meta::namespace(object);
    if strategy.resource().namespaced() {
        if namespace.is_empty() {
            errors.push(Error::required(&path.child("namespace"), ""));
        } else {
            for message in names::dns_label(namespace, false) {
                errors.push(Error::invalid(&path.child("namespace"), namespace, &message));
            }
        }
    } else if !namespace.is_empty() {
        errors.push(Error::forbidden(&path.child("namespace"), "not allowed on this type"));
    }
    errors.extend(validate_collections(object, &path));
    errors.extend(validate_finalizers(strategy.resource(), object, &path.child("finalizers")));
    errors
}

/// All errors of a changed object's metadata.
pub fn validate_update(resource: &Resource, object: &Value, old: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    if meta::deletion_timestamp(old).is_some() {
        let added: Vec<&str> =
            meta::finalizers(object).filter(|f| !meta::finalizers(old).any(|o| o == *f)).collect();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
            errors.push(Error::forbidden(
                &path.child("finalizers"),
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    list.join(", ")
                ),
            ));
        }
    }
    if meta::generation(object) < meta::generation(old) {
        errors.push(Error::invalid(
            &path.child("generation"),
            meta::generation(object),
            "must not be decremented",
        ));
    }
    for field in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let (new, old) = (&object["metadata"][field], &old["metadata"][field]);
        if new != old {
            errors.push(Error::invalid(&path.child(field), new.clone(), IMMUTABLE));
        }
    }
    errors.extend(validate_collections(object, &path));
    errors.extend(validate_finalizers(resource, object, &path.child("finalizers")));
    errors
}

/// Finalizers of kinds of Kubernetes itself are its own, or say whose they are.
/// **Upstream**: `validateKubeFinalizerName`, which servers of other kinds do not call.
fn validate_finalizers(resource: &Resource, object: &Value, path: &Path) -> ErrorList {
    let is_known = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind).is_some();
    if !is_known || is_of_others(resource) {
        return ErrorList::new();
    }
    let known = |name: &str| name.contains('/') || STANDARD_FINALIZERS.contains(&name);
    let wrong = meta::finalizers(object).enumerate().filter(|(_, name)| !known(name));
    let detail = "name is neither a standard finalizer name nor is it fully qualified";
    wrong.map(|(i, name)| Error::invalid(&path.index(i), name, detail)).collect()
}

pub(crate) fn validate_collections(object: &Value, path: &Path) -> ErrorList {
    let mut errors = validate_labels(&object["metadata"]["labels"], &path.child("labels"));
    errors.extend(validate_annotations(&object["metadata"]["annotations"], &path.child("annotations")));
    errors.extend(validate_owners(meta::owner_references(object), &path.child("ownerReferences")));
    let path = path.child("finalizers");
    for finalizer in meta::finalizers(object) {
        errors.extend(names::qualified_name(finalizer).iter().map(|m| Error::invalid(&path, finalizer, m)));
    }
    let has = |name: &str| meta::finalizers(object).any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        let message = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(Error::invalid(&path, object["metadata"]["finalizers"].clone(), message));
    }
    errors
}

/// All errors of a map of labels.
pub fn validate_labels(labels: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        errors.extend(names::qualified_name(key).iter().map(|m| Error::invalid(path, key.as_str(), m)));
        let text = value.as_str().unwrap_or("");
        errors.extend(names::label_value(text).iter().map(|m| Error::invalid(path, text, m)));
    }
    errors
}

/// All errors of a map of annotations.
pub fn validate_annotations(annotations: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Upstream compares keys without regard to case.
        let messages = names::qualified_name(&key.to_lowercase());
        errors.extend(messages.iter().map(|m| Error::invalid(path, key.as_str(), m)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS {
        errors.push(Error::too_long(path, MAX_ANNOTATIONS));
    }
    errors
}

fn validate_owners(owners: &[Value], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut controller: Option<&str> = None;
    for owner in owners {
        let text = |field: &str| owner[field].as_str().unwrap_or("");
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.split('/').next_back().unwrap_or("").is_empty() {
            errors.push(Error::invalid(&path.child("apiVersion"), api_version, "version must not be empty"));
        }
        if kind.is_empty() {
            errors.push(Error::invalid(&path.child("kind"), kind, "must not be empty"));
        }
        if text("name").is_empty() {
            errors.push(Error::invalid(&path.child("name"), text("name"), "must not be empty"));
        }
        if text("uid").is_empty() {
            errors.push(Error::invalid(&path.child("uid"), text("uid"), "must not be empty"));
        }
        if BANNED_OWNERS.contains(&(api_version, kind)) {
            let message = format!("{api_version}, Kind={kind} is disallowed from being an owner");
            errors.push(Error::invalid(path, owner.clone(), &message));
        }
        if owner["controller"] == true {
            match controller {
                Some(first) => errors.push(Error::invalid(
                    path,
                    Value::Array(owners.to_vec()),
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                        text("name")
                    ),
                )),
                None => controller = Some(owner["name"].as_str().unwrap_or("")),
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kind::Scope;
    use serde_json::json;

    type Names = (&'static str, &'static str, &'static str, &'static str);

    fn resource((group, version, kind, plural): Names) -> Resource {
        Resource::new(group, version, kind, plural, "x", Scope::Namespaced)
    }

    #[test]
    fn upstreams_keys_have_no_group_but_those_of_other_servers() {
        let crd = ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
        for (names, namespace, key) in [
            (("", "v1", "ConfigMap", "configmaps"), "n", "/registry/configmaps/n/x"),
            (("apps", "v1", "Deployment", "deployments"), "n", "/registry/deployments/n/x"),
            (("", "v1", "Node", "nodes"), "", "/registry/minions/x"),
            (("", "v1", "Service", "services"), "n", "/registry/services/specs/n/x"),
            (("networking.k8s.io", "v1", "Ingress", "ingresses"), "n", "/registry/ingress/n/x"),
            (crd, "", "/registry/apiextensions.k8s.io/customresourcedefinitions/x"),
            (("example.com", "v1", "Foo", "foos"), "n", "/registry/example.com/foos/n/x"),
        ] {
            let object = json!({ "metadata": { "name": "x", "namespace": namespace } });
            assert_eq!(upstream_key(&resource(names), &object), key);
        }
    }

    #[test]
    fn finalizers_of_kinds_of_kubernetes_say_whose_they_are() {
        let object = json!({ "metadata": { "finalizers": ["orphan", "a.io/b", "mine"] } });
        for (names, expected) in [
            (
                ("", "v1", "ConfigMap", "configmaps"),
                &[
                    "finalizers[2]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
                ][..],
            ),
            (("example.com", "v1", "Foo", "foos"), &[]),
        ] {
            let errors = validate_finalizers(&resource(names), &object, &Path::new("finalizers"));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{names:?}");
        }
    }
}
