//! The patch that `apply` sends: what the manifest says and the server has not, and what an earlier manifest said and
//! this one no longer does.
//!
//! **Contract.** With a type the patch is a strategic merge patch, by the schema's merge keys; without one it is a merge
//! patch. Fields that nobody applied are left alone. An empty patch means that there is nothing to do.
//! **Upstream.** `apimachinery/pkg/util/strategicpatch` (behaviour).

use api::schema::{Field, Type};
use serde_json::{Map, Value, json};

/// The patch that brings `current` to `modified`, where `original` was applied before.
pub(crate) fn patch(original: &Value, modified: &Value, current: &Value, ty: Option<&Type>) -> Value {
    Value::Object(object(original, modified, current, ty))
}

/// What both the patch and somebody else have changed since `original` was applied, if they do not agree: the patch and the
/// other's changes.
pub(crate) fn conflict(
    original: &Value,
    modified: &Value,
    current: &Value,
    ty: Option<&Type>,
) -> Option<(Value, Value)> {
    let ours = patch(original, modified, current, ty);
    let theirs = patch(&json!({}), current, original, ty);
    differ(&ours, &theirs).then_some((ours, theirs))
}

/// Whether two patches set one field to different values. **Upstream**: `mergingMapFieldsHaveConflicts`.
fn differ(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => ours
            .iter()
            .filter(|(name, _)| !name.starts_with('$'))
            .any(|(name, value)| theirs.get(name).is_some_and(|other| differ(value, other))),
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).any(|(one, other)| differ(one, other))
        }
        (ours, theirs) => ours != theirs,
    }
}

fn object(original: &Value, modified: &Value, current: &Value, ty: Option<&Type>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (name, wanted) in modified.as_object().into_iter().flatten() {
        let (now, before) = (&current[name], &original[name]);
        let field = ty.and_then(|ty| ty.field(name));
        if wanted.is_null() {
            if !now.is_null() {
                patch.insert(name.clone(), Value::Null);
            }
            continue;
        }
        match (wanted, now) {
            (Value::Object(_), Value::Object(_)) if !field.is_some_and(Field::is_atomic) => {
                let mut inner = object(before, wanted, now, field.and_then(|field| field.ty.named()));
                if inner.is_empty() {
                    continue;
                }
                if field.is_some_and(Field::patch_retains_keys) {
                    retain(&mut inner, wanted);
                }
                patch.insert(name.clone(), Value::Object(inner));
            }
            (Value::Array(wanted), Value::Array(now)) if field.is_some_and(Field::patch_merges) => {
                let field = field.expect("the guard asked for a field");
                let before = before.as_array().map_or(&[][..], Vec::as_slice);
                list(&mut patch, field, before, wanted, now);
            }
            _ if wanted == now => {}
            _ => {
                patch.insert(name.clone(), wanted.clone());
            }
        }
    }
    for (name, _) in original.as_object().into_iter().flatten() {
        if modified.get(name).is_none() && !current[name].is_null() {
            patch.insert(name.clone(), Value::Null);
        }
    }
    patch
}

/// A list whose items merge: by their key, or as a set of plain values.
fn list(patch: &mut Map<String, Value>, field: &Field, before: &[Value], wanted: &[Value], now: &[Value]) {
    let name = field.json_name;
    let Some(key) = field.patch_merge_key else {
        let added: Vec<Value> = wanted.iter().filter(|one| !now.contains(one)).cloned().collect();
        let gone: Vec<Value> =
            before.iter().filter(|one| !wanted.contains(one) && now.contains(one)).cloned().collect();
        if !gone.is_empty() {
            patch.insert(format!("$deleteFromPrimitiveList/{name}"), Value::Array(gone));
        }
        if !added.is_empty() {
            patch.insert(name.to_owned(), Value::Array(added));
        }
        return;
    };
    let by_key = |list: &[Value], item: &Value| list.iter().find(|one| one[key] == item[key]).cloned();
    let item_type = field.ty.named_item();
    let mut changes = Vec::new();
    for item in wanted {
        let Some(old) = by_key(now, item) else {
            changes.push(item.clone());
            continue;
        };
        let mut inner = object(&by_key(before, item).unwrap_or(Value::Null), item, &old, item_type);
        if inner.is_empty() {
            continue;
        }
        inner.insert(key.to_owned(), item[key].clone());
        if field.patch_retains_keys() {
            retain(&mut inner, item);
        }
        changes.push(Value::Object(inner));
    }
    for item in before {
        if by_key(wanted, item).is_none() && by_key(now, item).is_some() {
            changes.push(json!({"$patch": "delete", key: item[key]}));
        }
    }
    if changes.is_empty() {
        return;
    }
    let order = wanted.iter().map(|item| json!({key: item[key]})).collect();
    patch.insert(format!("$setElementOrder/{name}"), Value::Array(order));
    patch.insert(name.to_owned(), Value::Array(changes));
}

/// Fields of a one-of that the manifest does not name go.
fn retain(patch: &mut Map<String, Value>, wanted: &Value) {
    let mut keys: Vec<&String> = wanted
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, _)| key)
        .collect();
    keys.sort();
    patch.retain(|_, value| !value.is_null());
    patch.insert("$retainKeys".to_owned(), json!(keys));
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::schema::Schema;

    #[test]
    fn what_others_have_changed_conflicts_unless_it_is_the_same() {
        let ty = Schema::get().type_by_gvk("", "v1", "ConfigMap");
        let data = |value: &str| json!({"data": {"a": value, "b": "1"}});
        for (original, modified, current, conflicts) in [
            (data("1"), data("2"), data("1"), false),
            (data("1"), data("2"), data("2"), false),
            (data("1"), data("2"), data("3"), true),
            (data("1"), data("1"), data("3"), true),
            (data("1"), json!({"data": {"a": "2"}}), data("1"), false),
        ] {
            let found = conflict(&original, &modified, &current, ty).is_some();
            assert_eq!(found, conflicts, "{original} {modified} {current}");
        }
    }

    fn pod(original: Value, modified: Value, current: Value) -> Value {
        patch(&original, &modified, &current, Schema::get().type_by_gvk("", "v1", "Pod"))
    }

    #[test]
    fn leaves_alone_what_nobody_applied() {
        let current = json!({"metadata": {"name": "a", "labels": {"x": "1", "other": "2"}}, "status": {"phase": "Running"}});
        let manifest = json!({"metadata": {"name": "a", "labels": {"x": "1"}}});
        assert_eq!(pod(manifest.clone(), manifest, current), json!({}));
    }

    #[test]
    fn takes_away_what_was_applied_before() {
        let current = json!({"metadata": {"labels": {"x": "1", "y": "2", "other": "2"}}});
        let original = json!({"metadata": {"labels": {"x": "1", "y": "2", "gone": "already"}}});
        let modified = json!({"metadata": {"labels": {"x": "3"}}});
        assert_eq!(pod(original, modified, current), json!({"metadata": {"labels": {"x": "3", "y": null}}}));
    }

    #[test]
    fn merges_lists_by_their_key() {
        let current = json!({"spec": {"containers": [
            {"name": "a", "image": "a:1", "imagePullPolicy": "Always"}, {"name": "b", "image": "b:1"}]}});
        let original =
            json!({"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}});
        let modified =
            json!({"spec": {"containers": [{"name": "a", "image": "a:2"}, {"name": "c", "image": "c"}]}});
        assert_eq!(
            pod(original, modified, current),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
                "containers": [
                    {"image": "a:2", "name": "a"},
                    {"name": "c", "image": "c"},
                    {"$patch": "delete", "name": "b"},
                ],
            }})
        );
    }

    #[test]
    fn sets_of_plain_values_and_volumes() {
        let current = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let original =
            json!({"metadata": {"finalizers": ["a"]}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let modified = json!({"metadata": {"finalizers": ["c"]}, "spec": {"volumes": [{"name": "v", "configMap": {"name": "m"}}]}});
        assert_eq!(
            pod(original, modified, current),
            json!({
                "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
                "spec": {
                    "$setElementOrder/volumes": [{"name": "v"}],
                    "volumes": [{"$retainKeys": ["configMap", "name"], "configMap": {"name": "m"}, "name": "v"}],
                },
            })
        );
    }

    #[test]
    fn without_a_type_lists_are_replaced() {
        let (old, new) =
            (json!({"spec": {"list": [{"name": "a"}]}}), json!({"spec": {"list": [{"name": "b"}]}}));
        assert_eq!(patch(&old, &new, &old, None), new);
    }
}
