//! Strategic merge patch: a merge patch that knows which lists are sets or maps, from the kind's schema.
//!
//! **Contract**: fields without a schema (extensions, labels) merge as in RFC 7386; lists are replaced unless the
//! schema says `merge`. Directives: `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/f`, `$setElementOrder/f`.
//! A merged list has the items that the patch names in the patch's order, and the others among them where they
//! were; an item that was not there comes before those that the patch does not name.
//! **Upstream**: `k8s.io/apimachinery/pkg/util/strategicpatch`, whose errors these are; the ones that upstream
//! answers with 500 (a wrong directive, a missing merge key) are 400 here.

#[cfg(test)]
mod tests;

use crate::schema::{Field, FieldType, Type};
use crate::status::Status;
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
        return Err(Status::bad_request("invalid JSON document"));
    };
    merge_map(fields, patch, Some(ty))
}

fn merge_map(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    ty: Option<&'static Type>,
) -> Result<(), Status> {
    match patch.get(PATCH) {
        None => {}
        Some(directive) => match directive.as_str() {
            Some("merge") => {}
            Some("replace") => {
                *object = stripped(patch);
                return Ok(());
            }
            Some("delete") => {
                object.clear();
                return Ok(());
            }
            _ => return Err(bad_directive(directive, patch)),
        },
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain(object, patch, keys)?;
    }
    let ordered: Vec<(&str, &Value, Vec<Value>)> = patch
        .iter()
        .filter_map(|(name, order)| Some((name.strip_prefix(ORDER)?, order)))
        .map(|(field, order)| (field, order, object.get(field).and_then(Value::as_array).cloned()))
        .map(|(field, order, before)| (field, order, before.unwrap_or_default()))
        .collect();
    for (name, value) in patch {
        if let Some(field) = name.strip_prefix(DELETE_FROM) {
            let gone = value
                .as_array()
                .ok_or_else(|| Status::bad_request("invalid patch format of primitive list"))?;
            if let Some(Value::Array(items)) = object.get_mut(field) {
                items.retain(|item| !gone.contains(item));
            }
        }
    }
    for (name, value) in patch.iter().filter(|(name, _)| !is_directive(name)) {
        let field = ty.and_then(|ty| ty.field(name));
        merge_field(object, name, value, field)?;
    }
    for (name, order, before) in ordered {
        let key = ty.and_then(|ty| ty.field(name)).and_then(|f| f.patch_merge_key);
        let order = order
            .as_array()
            .ok_or_else(|| Status::bad_request("invalid patch format of setElementOrder list"))?;
        let patched = patch.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        check_order(patched, order, key)?;
        if let Some(Value::Array(items)) = object.get_mut(name) {
            sort(items, order, &before, key);
        }
    }
    Ok(())
}

/// `$retainKeys`: every other field goes; the patch may not set one that would.
fn retain(object: &mut Map<String, Value>, patch: &Map<String, Value>, keys: &Value) -> Result<(), Status> {
    let malformed = || Status::bad_request("invalid patch format of retainKeys");
    let keys = keys.as_array().ok_or_else(malformed)?;
    let kept = |name: &str| keys.iter().any(|key| key == name);
    if patch.iter().any(|(name, value)| !value.is_null() && !is_directive(name) && !kept(name)) {
        return Err(malformed());
    }
    object.retain(|name, _| kept(name));
    Ok(())
}

fn merge_field(
    object: &mut Map<String, Value>,
    name: &str,
    patch: &Value,
    field: Option<&Field>,
) -> Result<(), Status> {
    let strategy = field.and_then(|f| f.patch_strategy).unwrap_or("");
    match (object.get_mut(name), patch) {
        (_, Value::Null) => drop(object.shift_remove(name)),
        (Some(Value::Object(old)), Value::Object(patch)) if !strategy.split(',').any(|s| s == "replace") => {
            // What a field's map holds (labels) has no fields of its own.
            let ty = match field.map(|f| &f.ty) {
                Some(FieldType::Ref(ty)) => Some(ty.resolve()),
                _ => None,
            };
            merge_map(old, patch, ty)?;
        }
        (Some(Value::Array(old)), Value::Array(patch)) if field.is_some_and(Field::patch_merges) => {
            merge_list(old, patch, field.expect("it merges"))?;
        }
        (_, patch) => drop(object.insert(name.to_owned(), strip(patch))),
    }
    Ok(())
}

fn merge_list(old: &mut Vec<Value>, patch: &[Value], field: &Field) -> Result<(), Status> {
    let before = old.clone();
    if old.iter().chain(patch).any(Value::is_array) {
        return Err(Status::new(422, "Invalid", "lists of lists are not supported"));
    }
    let Some(key) = field.patch_merge_key else {
        for value in patch {
            if !old.contains(value) {
                old.push(value.clone());
            }
        }
        sort(old, patch, &before, None);
        return Ok(());
    };
    let mut changes = Vec::with_capacity(patch.len());
    let mut replaces = false;
    for item in patch {
        let fields = item
            .as_object()
            .ok_or_else(|| Status::bad_request("invalid patch format of a list of objects: no object"))?;
        match fields.get(PATCH) {
            None => changes.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    let id = merge_key(fields, key)?;
                    old.retain(|o| o[key] != *id);
                }
                Some("replace") => replaces = true,
                Some("merge") => {
                    return Err(Status::bad_request("merging lists cannot yet be specified in the patch"));
                }
                _ => return Err(bad_directive(directive, fields)),
            },
        }
    }
    if replaces {
        *old = changes.into_iter().map(strip).collect();
        return Ok(());
    }
    for item in changes {
        let fields = item.as_object().expect("checked above");
        let id = merge_key(fields, key)?;
        match old.iter_mut().find(|o| o[key] == *id) {
            Some(Value::Object(found)) => merge_map(found, fields, item_type(&field.ty))?,
            _ => old.push(strip(item)),
        }
    }
    sort(old, patch, &before, Some(key));
    Ok(())
}

fn merge_key<'a>(item: &'a Map<String, Value>, key: &str) -> Result<&'a Value, Status> {
    item.get(key).filter(|id| !id.is_null()).ok_or_else(|| {
        let item = Value::Object(item.clone());
        Status::bad_request(format!("map: {item} does not contain declared merge key: {key}"))
    })
}

/// The type of the objects in a list.
fn item_type(ty: &FieldType) -> Option<&'static Type> {
    match ty {
        FieldType::Ref(ty) => Some(ty.resolve()),
        FieldType::Array(item) => item_type(item),
        _ => None,
    }
}

/// What a patch changes in a list must be in the order that it asks for.
fn check_order(patched: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Status> {
    let mut rest = order.iter();
    for item in patched.iter().filter(|item| item[PATCH].is_null()) {
        if !rest.any(|o| same(o, item, key)) {
            let (patched, order) = (Value::from(patched), Value::from(order));
            return Err(Status::bad_request(format!(
                "The order in patch list:\n{patched}\n doesn't match {} list:\n{order}\n",
                ORDER.trim_end_matches('/')
            )));
        }
    }
    Ok(())
}

fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a[key] == b[key],
        None => a == b,
    }
}

/// Puts items in the order that the patch asks for; items that it does not name keep their place among the old ones.
fn sort(items: &mut Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) {
    let rank = |item: &Value| order.iter().position(|o| same(o, item, key));
    let place = |item: &Value| before.iter().position(|o| same(o, item, key));
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

fn is_directive(name: &str) -> bool {
    matches!(name, PATCH | RETAIN_KEYS) || name.starts_with(DELETE_FROM) || name.starts_with(ORDER)
}

fn bad_directive(directive: &Value, patch: &Map<String, Value>) -> Status {
    let patch = Value::Object(patch.clone());
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    Status::bad_request(format!("unknown patch type: {directive} in map: {patch}"))
}

/// A new value: without directives, and without the nulls that would remove something.
fn strip(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(stripped(fields)),
        Value::Array(items) => {
            let directs = |item: &Value| matches!(item[PATCH].as_str(), Some("delete" | "replace"));
            items.iter().filter(|item| !directs(item)).map(strip).collect()
        }
        other => other.clone(),
    }
}

fn stripped(fields: &Map<String, Value>) -> Map<String, Value> {
    fields
        .iter()
        .filter(|(name, value)| !value.is_null() && !is_directive(name))
        .map(|(name, value)| (name.clone(), strip(value)))
        .collect()
}
