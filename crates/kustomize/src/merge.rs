//! Strategic merge as kustomize does it: what a patch adds to a list comes first.
//!
//! **Contract.** Lists whose items have keys are merged by the schema of built-in kinds; other lists are replaced. `null`
//! takes a field away; `$patch` (`delete`, `replace`, `merge`) is understood in maps and in lists, and no other directive.
//! **Upstream.** `kyaml/yaml/merge2` (behaviour), which differs from the API server's strategic merge in the order of lists.

use api::schema::{Field, Schema, Type};
use serde_json::{Map, Value};

use crate::resource::gvk;
use crate::{Error, invalid};

/// The word that says what to do with a map or a list.
const DIRECTIVE: &str = "$patch";

enum Directive {
    Merge,
    Replace,
    Delete,
}

/// Merges a patch into an object; `None` where the patch deletes it.
pub(crate) fn merge(object: Value, patch: &Value) -> Result<Option<Value>, Error> {
    let kind = gvk(&object);
    let ty = Schema::get().type_by_gvk(&kind.group, &kind.version, &kind.kind);
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => Ok(map(object, patch, ty)?.map(Value::Object)),
        (object, _) => Ok(Some(object)),
    }
}

fn map(
    mut object: Map<String, Value>,
    patch: &Map<String, Value>,
    ty: Option<&Type>,
) -> Result<Option<Map<String, Value>>, Error> {
    match directive(patch)? {
        Directive::Delete => return Ok(None),
        Directive::Replace => object.clear(),
        Directive::Merge => {}
    }
    for (name, wanted) in patch {
        if name == DIRECTIVE {
            continue;
        }
        if name.starts_with('$') {
            return invalid(format!("directive {name:?} of a strategic merge patch is not supported"));
        }
        let field = ty.and_then(|ty| ty.field(name));
        let old = object.get_mut(name).map(Value::take).unwrap_or(Value::Null);
        let new = match (old, wanted) {
            (_, Value::Null) => None,
            (old, Value::Object(wanted)) => {
                let old = if let Value::Object(old) = old { old } else { Map::new() };
                map(old, wanted, field.and_then(|field| field.ty.named()))?.map(Value::Object)
            }
            (old, Value::Array(wanted)) => {
                let old = if let Value::Array(old) = old { old } else { Vec::new() };
                list(old, wanted, field)?.map(Value::Array)
            }
            (_, wanted) => Some(wanted.clone()),
        };
        match new {
            Some(value) => object.insert(name.clone(), value),
            None => object.shift_remove(name),
        };
    }
    Ok(Some(object))
}

/// Merges lists; `None` where nothing is left of them.
fn list(old: Vec<Value>, wanted: &[Value], field: Option<&Field>) -> Result<Option<Vec<Value>>, Error> {
    let Some(field) = field.filter(|field| field.patch_merges()) else {
        return Ok(Some(wanted.to_vec()));
    };
    let is_directive =
        |item: &&Value| item.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(DIRECTIVE));
    if let Some(item) = wanted.iter().find(is_directive).and_then(Value::as_object) {
        match directive(item)? {
            Directive::Delete => return Ok(None),
            Directive::Replace => {
                return Ok(Some(wanted.iter().filter(|item| !is_directive(item)).cloned().collect()));
            }
            Directive::Merge => {}
        }
    }
    let item_type = field.ty.named_item();
    let keys: Vec<&str> = match (&*field.list_map_keys, field.patch_merge_key) {
        ([], Some(key)) => vec![key],
        (keys, _) => keys.to_vec(),
    };
    let mut old: Vec<Option<Value>> = old.into_iter().map(Some).collect();
    let mut merged: Vec<Value> = Vec::new();
    for item in wanted.iter().filter(|item| !is_directive(item)) {
        let found = old.iter_mut().find(|other| other.as_ref().is_some_and(|other| same(other, item, &keys)));
        let Value::Object(item) = item else {
            // A set of plain values.
            if let Some(found) = found {
                *found = None;
            }
            merged.push(item.clone());
            continue;
        };
        let before = found.and_then(Option::take).and_then(|value| match value {
            Value::Object(map) => Some(map),
            _ => None,
        });
        merged.extend(map(before.unwrap_or_default(), item, item_type)?.map(Value::Object));
    }
    merged.extend(old.into_iter().flatten());
    Ok(Some(merged))
}

/// Whether two items are the same by these keys: one that either leaves out does not tell them apart, unless all do.
fn same(one: &Value, other: &Value, keys: &[&str]) -> bool {
    if keys.is_empty() {
        return one == other;
    }
    let mut equal = false;
    for key in keys {
        match (one.get(key), other.get(key)) {
            (Some(one), Some(other)) if one == other => equal = true,
            (Some(_), Some(_)) => return false,
            _ => {}
        }
    }
    equal
}

fn directive(patch: &Map<String, Value>) -> Result<Directive, Error> {
    match patch.get(DIRECTIVE) {
        None => Ok(Directive::Merge),
        Some(value) => match value.as_str() {
            Some("merge") => Ok(Directive::Merge),
            Some("replace") => Ok(Directive::Replace),
            Some("delete") => Ok(Directive::Delete),
            _ => {
                invalid(format!("unknown patch strategy '{}'", value.as_str().unwrap_or(&value.to_string())))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn directives_and_orders_are_those_of_kustomize() {
        let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "spec": spec});
        let before = pod(
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}], "nodeSelector": {"x": "y"}}),
        );
        let table = [
            (
                json!({"containers": [{"name": "c"}]}),
                Some(json!([{"name": "c"}, {"name": "a", "image": "1"}, {"name": "b"}])),
            ),
            (
                json!({"containers": [{"name": "b", "$patch": "delete"}]}),
                Some(json!([{"name": "a", "image": "1"}])),
            ),
            (json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}), Some(json!([{"name": "z"}]))),
            (json!({"containers": null}), None),
        ];
        for (patch, wanted) in table {
            let merged = merge(before.clone(), &pod(patch.clone())).unwrap().unwrap();
            assert_eq!(merged["spec"].get("containers").cloned(), wanted, "{patch}");
            assert_eq!(merged["spec"]["nodeSelector"], json!({"x": "y"}));
        }
        assert!(merge(before.clone(), &json!({"$patch": "delete"})).unwrap().is_none());
        assert!(merge(before.clone(), &json!({"$patch": "nonsense"})).is_err());
        assert!(merge(before, &json!({"$setElementOrder/x": []})).is_err());
    }
}
