//! What the store sees to in `metadata` before an object is written, for every kind alike.
//!
//! **Contract**: pure, but for generated names and identities, which come from the context's randomness.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/rest` (`BeforeCreate`, `BeforeUpdate`).

use super::{Strategy, Version, metadata};
use api::meta;
use api::schema::{Schema, defaults};
use component_base::Rng;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Letters of a generated name that its creator chooses. **Upstream**: `maxGeneratedNameLength`.
const MAX_GENERATE_NAME: usize = 58;
/// Letters that follow.
const SUFFIX: usize = 5;

/// Fills what the API defines as default; `version`: in which the object is written, if it is not the stored one.
pub(super) fn default_in(strategy: &dyn Strategy, version: Option<&Version>, object: &mut Value) {
    if !version.is_some_and(|version| version.default_alone(object)) {
        default(strategy, object);
    }
}

/// The same for an object in the stored version.
pub(super) fn default(strategy: &dyn Strategy, object: &mut Value) {
    let resource = strategy.resource();
    if let Some(ty) = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind) {
        defaults::apply(object, ty);
    }
    strategy.default(object);
}

/// Gives an object without a name the one that it asks for; tells whether it did.
fn generate_name(object: &mut Value, rng: &Rng) -> bool {
    let base = meta::generate_name(object);
    if base.is_empty() || !meta::name(object).is_empty() {
        return false;
    }
    let mut end = base.len().min(MAX_GENERATE_NAME);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let name = format!("{}{}", &base[..end], rng.suffix(SUFFIX));
    metadata::of(object).insert("name".to_owned(), name.into());
    true
}

/// Drops what a creator may not choose, and puts the object into the namespace of the request.
pub(super) fn create(strategy: &dyn Strategy, object: &mut Value, namespace: &str) {
    let namespaced = strategy.resource().namespaced();
    let metadata = metadata::of(object);
    for field in [
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "selfLink",
        "managedFields",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        metadata.shift_remove(field);
    }
    if namespaced {
        metadata.insert("namespace".to_owned(), namespace.into());
    } else {
        metadata.shift_remove("namespace");
    }
    tidy(object);
}

/// Sets what the server chooses, after others have had their say about the rest. Tells whether it chose the name.
pub(super) fn identify(
    strategy: &dyn Strategy,
    object: &mut Value,
    namespace: &str,
    rng: &Rng,
    now: Timestamp,
) -> bool {
    let generated = generate_name(object, rng);
    let managed = metadata::of(object).shift_remove("managedFields");
    create(strategy, object, namespace);
    let metadata = metadata::of(object);
    metadata.insert("uid".to_owned(), rng.uuid().into());
    metadata.insert("creationTimestamp".to_owned(), api::time::format(now).into());
    if strategy.has_generation() {
        metadata.insert("generation".to_owned(), 1.into());
    }
    metadata.extend(managed.map(|entries| ("managedFields".to_owned(), entries)));
    generated
}

/// Carries over what an updater may leave out, and drops what nobody stores.
pub(super) fn update(strategy: &dyn Strategy, object: &mut Value, old: &Value) {
    let metadata = metadata::of(object);
    if !strategy.resource().namespaced() {
        metadata.shift_remove("namespace");
    }
    for field in ["resourceVersion", "selfLink", "managedFields"] {
        metadata.shift_remove(field);
    }
    let old = &old["metadata"];
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace"]
    {
        if metadata.get(field).is_none_or(|v| v.is_null() || v == "") {
            carry(metadata, old, field);
        }
    }
    carry(metadata, old, "generation");
    tidy(object);
}

/// Makes of a status writer's object one that differs from the old in status and harmless metadata only.
pub(super) fn status_update(object: &mut Value, old: &Value) {
    let mut merged = old.clone();
    let metadata = std::mem::take(metadata::of(object));
    let fields = merged.as_object_mut().expect("a stored object is an object");
    match object.get_mut("status") {
        Some(status) => drop(fields.insert("status".to_owned(), status.take())),
        None => drop(fields.shift_remove("status")),
    }
    *metadata::of(&mut merged) = metadata;
    carry(metadata::of(&mut merged), &old["metadata"], "ownerReferences");
    *object = merged;
}

/// Makes an object's writer leave its status alone.
pub(super) fn keep_status(object: &mut Value, old: &Value) {
    let Some(fields) = object.as_object_mut() else { return };
    match old.get("status") {
        Some(status) => drop(fields.insert("status".to_owned(), status.clone())),
        None => drop(fields.shift_remove("status")),
    }
}

/// Counts a change of what the object's author wishes: of everything but metadata and status.
pub(super) fn bump_generation(object: &mut Value, old: &Value) {
    let wishes = |value: &Value| -> Map<String, Value> {
        let fields = value.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion" | "metadata" | "status"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    if wishes(object) != wishes(old) {
        let generation = meta::generation(old) + 1;
        metadata::of(object).insert("generation".to_owned(), generation.into());
    }
}

fn carry(metadata: &mut Map<String, Value>, old: &Value, field: &str) {
    match &old[field] {
        Value::Null => drop(metadata.shift_remove(field)),
        value => drop(metadata.insert(field.to_owned(), value.clone())),
    }
}

/// Leaves out of `metadata` what is empty, as upstream's encoder does.
fn tidy(object: &mut Value) {
    metadata::of(object).retain(|_, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    });
}
