//! Merging an applied configuration into an object, and removing what its applier no longer names.
//!
//! **Contract**: pure. In lists the applied order decides; items that the configuration does not name stay where they
//! are among the others.
//! **Upstream**: `sigs.k8s.io/structured-merge-diff` (`typed.Merge`, `merge.Updater.prune`).

use super::set::{FieldSet, is_member};
use super::shape::Shape;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// The object with the configuration merged in.
pub(super) fn merge(live: &mut Value, applied: &Value, shape: Shape<'_>) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if shape.is_map() => {
            for (name, value) in applied {
                match live.get_mut(name) {
                    Some(old) => merge(old, value, shape.member(name).unwrap_or(Shape::Unknown)),
                    None => drop(live.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(live), Value::Array(applied)) if shape.is_list() => {
            *live = merge_items(std::mem::take(live), applied, shape);
        }
        (live, applied) => *live = applied.clone(),
    }
}

/// The paths of a configuration's lists, maps and structs that only change as a whole.
pub(super) fn atomics(config: &Value, shape: Shape<'_>, path: &str, found: &mut Vec<String>) {
    match config {
        Value::Object(_) | Value::Array(_) if !shape.divides(config) => found.push(path.to_owned()),
        Value::Object(fields) => {
            for (name, value) in fields {
                let member = shape.member(name).unwrap_or(Shape::Unknown);
                atomics(value, member, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                // An item of a set is one thing, whatever it is.
                if !matches!(shape, Shape::Set) {
                    atomics(item, shape.item(), &format!("{path}[{index}]"), found);
                }
            }
        }
        _ => {}
    }
}

fn merge_items(live: Vec<Value>, applied: &[Value], shape: Shape<'_>) -> Vec<Value> {
    let elements = |items: &[Value]| -> Vec<String> {
        items.iter().enumerate().map(|(at, item)| shape.element(at, item)).collect()
    };
    let (live_elements, applied_elements) = (elements(&live), elements(applied));
    let named: HashSet<&str> = applied_elements.iter().map(String::as_str).collect();
    let mut merged = Vec::with_capacity(live.len() + applied.len());
    // Items that the configuration does not name, in order; the others by element, unless there are several.
    let mut shared: HashMap<&str, Option<Value>> = HashMap::new();
    let mut others: Vec<(usize, Option<Value>)> = Vec::new();
    for (at, item) in live.into_iter().enumerate() {
        let element = live_elements[at].as_str();
        if named.contains(element) {
            shared.entry(element).and_modify(|old| *old = None).or_insert(Some(item));
        } else {
            others.push((at, Some(item)));
        }
    }
    // Each of the others comes before the next shared item that the applied order has not left behind.
    let mut cursor = 0;
    let mut other = others.iter_mut().peekable();
    for (at, item) in applied.iter().enumerate() {
        let next = applied_elements[at..].iter().find(|e| shared.contains_key(e.as_str()));
        let stop = next
            .and_then(|next| live_elements[cursor..].iter().position(|e| e == next))
            .map_or(if next.is_some() { cursor } else { live_elements.len() }, |ahead| cursor + ahead);
        while let Some((_, item)) = other.next_if(|(place, _)| *place < stop) {
            merged.extend(item.take());
        }
        cursor = cursor.max(stop);
        let element = applied_elements[at].as_str();
        match shared.remove(element).flatten() {
            Some(mut old) => {
                merge(&mut old, item, shape.item());
                merged.push(old);
            }
            None => merged.push(item.clone()),
        }
    }
    for (_, item) in other {
        merged.extend(item.take());
    }
    merged
}

/// Removes what is in `last` and in nobody's present set. What becomes empty thereby goes too.
pub(super) fn prune(object: &mut Value, last: &FieldSet, owned: &FieldSet, shape: Shape<'_>) {
    prune_node(object, last.root(), Some(owned.root()), shape);
}

fn child<'a>(node: Option<&'a Map<String, Value>>, element: &str) -> Option<&'a Map<String, Value>> {
    node?.get(element)?.as_object()
}

/// Whether everything in the value went.
fn prune_node(
    value: &mut Value,
    last: &Map<String, Value>,
    owned: Option<&Map<String, Value>>,
    shape: Shape<'_>,
) -> bool {
    if !shape.divides(value) {
        return false;
    }
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|name, value| {
                let element = format!("f:{name}");
                let Some(last) = child(Some(last), &element) else { return true };
                match child(owned, &element) {
                    None => false,
                    Some(owned) => {
                        let shape = shape.member(name).unwrap_or(Shape::Unknown);
                        !prune_node(value, last, Some(owned), shape) || is_member(owned)
                    }
                }
            });
            fields.is_empty() && before > 0
        }
        Value::Array(items) => {
            let before = items.len();
            let mut at = 0;
            items.retain_mut(|item| {
                let element = shape.element(at, item);
                at += 1;
                let Some(last) = child(Some(last), &element) else { return true };
                let owned = child(owned, &element);
                if is_member(last) && !owned.is_some_and(is_member) {
                    return false;
                }
                prune_node(item, last, owned, shape.item());
                true
            });
            items.is_empty() && before > 0
        }
        _ => false,
    }
}
