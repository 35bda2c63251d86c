//! Strategic merge patch: a merge patch that knows which lists are sets or maps, from the kind's schema.
//!
//! **Contract**: fields without a schema (extensions, labels) merge as in RFC 7386; lists are replaced unless the
//! schema says `merge`. Directives: `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/f`, `$setElementOrder/f`.
//! **Upstream**: `k8s.io/apimachinery/pkg/util/strategicpatch`.

use api::schema::{Field, FieldType, Type};
use api::status::Status;
use serde_json::{Map, Value};

/// Its media type.
pub const CONTENT_TYPE: &str = "application/strategic-merge-patch+json";

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Changes an object of this type.
pub fn apply(patch: &Value, object: &mut Value, ty: &'static Type) -> Result<(), Status> {
    let (Value::Object(patch), Value::Object(fields)) = (patch, object) else {
        return Err(invalid("a patch and its object must be objects"));
    };
    merge_map(fields, patch, Some(ty))
}

fn invalid(why: &str) -> Status {
    Status::bad_request(format!("invalid strategic merge patch: {why}"))
}

/// The type of an object that a field holds (itself, in a map, or in a list), if it has one.
fn inner(ty: &FieldType) -> Option<&'static Type> {
    match ty {
        FieldType::Ref(ty) => Some(ty.resolve()),
        FieldType::Array(item) | FieldType::Map(item) => inner(item),
        _ => None,
    }
}

fn merge_map(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    ty: Option<&'static Type>,
) -> Result<(), Status> {
    match patch.get(PATCH).map(|v| v.as_str().unwrap_or("")) {
        None | Some("merge") => {}
        Some("replace") => {
            *object = stripped(patch);
            return Ok(());
        }
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        Some(other) => return Err(invalid(&format!("unknown patch type: {other}"))),
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        let keys = keys.as_array().ok_or_else(|| invalid("$retainKeys must be a list"))?;
        object.retain(|name, _| keys.iter().any(|key| key == name));
    }
    for (name, gone) in patch {
        if let Some(field) = name.strip_prefix(DELETE_FROM)
            && let (Some(Value::Array(items)), Some(gone)) = (object.get_mut(field), gone.as_array())
        {
            items.retain(|item| !gone.contains(item));
        }
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let field = ty.and_then(|ty| ty.field(name));
        merge_field(object, name, value, field, patch.get(&format!("{ORDER}{name}")))?;
    }
    // An order may come without a change of its list.
    for (name, order) in patch {
        if let Some(name) = name.strip_prefix(ORDER)
            && !patch.contains_key(name)
            && let (Some(Value::Array(items)), Some(order)) = (object.get_mut(name), order.as_array())
        {
            let key = ty.and_then(|ty| ty.field(name)).and_then(|f| f.patch_merge_key);
            let before = items.clone();
            sort(items, order, &before, key);
        }
    }
    Ok(())
}

fn merge_field(
    object: &mut Map<String, Value>,
    name: &str,
    patch: &Value,
    field: Option<&Field>,
    order: Option<&Value>,
) -> Result<(), Status> {
    let merges = field.is_some_and(Field::patch_merges);
    let replaces =
        field.is_some_and(|f| f.patch_strategy.is_some_and(|s| s.split(',').any(|p| p == "replace")));
    match (object.get_mut(name), patch) {
        (_, Value::Null) => drop(object.shift_remove(name)),
        (Some(Value::Object(old)), Value::Object(patch)) if !replaces => {
            // What a field's map holds (labels) has no fields of its own.
            let ty =
                field.and_then(|f| if let FieldType::Ref(ty) = &f.ty { Some(ty.resolve()) } else { None });
            merge_map(old, patch, ty)?;
        }
        (Some(Value::Array(old)), Value::Array(patch)) if merges => {
            let key = field.and_then(|f| f.patch_merge_key);
            let before = old.clone();
            merge_list(old, patch, key, field.and_then(|f| inner(&f.ty)))?;
            if let Some(order) = order.and_then(Value::as_array) {
                sort(old, order, &before, key);
            }
        }
        (_, patch) => drop(object.insert(name.to_owned(), strip(patch))),
    }
    Ok(())
}

fn merge_list(
    old: &mut Vec<Value>,
    patch: &[Value],
    key: Option<&str>,
    ty: Option<&'static Type>,
) -> Result<(), Status> {
    let Some(key) = key else {
        for value in patch {
            if !old.contains(value) {
                old.push(value.clone());
            }
        }
        return Ok(());
    };
    if patch.iter().any(|item| item[PATCH] == "replace") {
        *old = patch.iter().filter(|item| item[PATCH] != "replace").map(strip).collect();
        return Ok(());
    }
    for item in patch {
        let Value::Object(fields) = item else {
            return Err(invalid("an item of a list of objects must be an object"));
        };
        let Some(id) = fields.get(key).filter(|id| !id.is_null()) else {
            return Err(invalid(&format!("map does not contain declared merge key: {key}")));
        };
        if item[PATCH] == "delete" {
            old.retain(|o| o[key] != *id);
            continue;
        }
        match old.iter_mut().find(|o| o[key] == *id) {
            Some(Value::Object(found)) => merge_map(found, fields, ty)?,
            _ => old.push(strip(item)),
        }
    }
    Ok(())
}

/// Puts items in the order that the patch asks for; items that it does not name keep their place among the old ones.
fn sort(items: &mut Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) {
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a[key] == b[key],
        None => a == b,
    };
    let rank = |item: &Value| order.iter().position(|o| same(o, item));
    let place = |item: &Value| before.iter().position(|o| same(o, item));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        items.drain(..).partition(|item| rank(item).is_some());
    named.sort_by_key(|item| rank(item));
    let mut others = others.into_iter().peekable();
    for item in named {
        while let Some(other) = others.peek() {
            match (place(other), place(&item)) {
                (Some(left), Some(right)) if left < right => items.extend(others.next()),
                _ => break,
            }
        }
        items.push(item);
    }
    items.extend(others);
}

/// A new value: without directives, and without the nulls that would remove something.
fn strip(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(stripped(fields)),
        Value::Array(items) => items.iter().filter(|item| item[PATCH] != "delete").map(strip).collect(),
        other => other.clone(),
    }
}

fn stripped(fields: &Map<String, Value>) -> Map<String, Value> {
    let directive = |name: &str| {
        matches!(name, PATCH | RETAIN_KEYS) || name.starts_with(DELETE_FROM) || name.starts_with(ORDER)
    };
    fields
        .iter()
        .filter(|(name, value)| !value.is_null() && !directive(name))
        .map(|(name, value)| (name.clone(), strip(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::schema::Schema;
    use serde_json::json;

    #[test]
    fn merges_by_the_schemas_keys() {
        let pod = Schema::get().type_by_gvk("", "v1", "Pod").unwrap();
        let before = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x/a", "x/b"]},
            "spec": {
                "containers": [{"name": "a", "image": "i:1", "args": ["1"]}, {"name": "b", "image": "j"}],
                "nodeSelector": {"k": "v"},
            },
        });
        let containers = |list: Value| json!({"spec": {"containers": list}});
        let table = [
            // Maps merge, null removes.
            (
                json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
                "/metadata/labels",
                json!({"b": "2", "c": "3"}),
            ),
            // Lists of objects merge by key, lists of scalars inside are replaced.
            (
                containers(json!([{"name": "a", "image": "i:2", "args": ["2"]}, {"name": "c"}])),
                "/spec/containers",
                json!([{"name": "a", "image": "i:2", "args": ["2"]}, {"name": "b", "image": "j"}, {"name": "c"}]),
            ),
            (
                containers(json!([{"name": "a", "$patch": "delete"}])),
                "/spec/containers",
                json!([{"name": "b", "image": "j"}]),
            ),
            (
                containers(json!([{"$patch": "replace"}, {"name": "z"}])),
                "/spec/containers",
                json!([{"name": "z"}]),
            ),
            (
                json!({"spec": {
                    "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
                    "containers": [{"name": "c", "image": "n"}],
                }}),
                "/spec/containers",
                json!([{"name": "c", "image": "n"}, {"name": "b", "image": "j"},
                    {"name": "a", "image": "i:1", "args": ["1"]}]),
            ),
            // Sets of scalars unite.
            (
                json!({"metadata": {"finalizers": ["x/c", "x/a"]}}),
                "/metadata/finalizers",
                json!(["x/a", "x/b", "x/c"]),
            ),
            (
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}),
                "/metadata/finalizers",
                json!(["x/b"]),
            ),
            (
                json!({"spec": {"nodeSelector": {"$patch": "replace", "n": "w"}}}),
                "/spec/nodeSelector",
                json!({"n": "w"}),
            ),
            (
                json!({"spec": {"$retainKeys": ["nodeSelector"], "nodeSelector": {}}}),
                "/spec",
                json!({"nodeSelector": {"k": "v"}}),
            ),
        ];
        for (patch, pointer, expected) in table {
            let mut object = before.clone();
            apply(&patch, &mut object, pod).unwrap();
            assert_eq!(object.pointer(pointer), Some(&expected), "{patch}");
        }
        let mut object = before;
        let error = apply(&containers(json!([{"image": "x"}])), &mut object, pod).unwrap_err();
        assert!(error.message.contains("map does not contain declared merge key: name"), "{error}");
    }
}
