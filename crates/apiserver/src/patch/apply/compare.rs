//! What changed between two objects, and which fields an object names.
//!
//! **Contract**: pure. What nobody owns is left out: identity, version, and what the server alone writes.
//! **Upstream**: `sigs.k8s.io/structured-merge-diff/typed` (`Compare`, `ToFieldSet`), `managedfields/stripmeta.go`.

use super::set::{FieldSet, SELF, member};
use super::shape::{Shape, is_implied};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Fields of `metadata` that nobody owns.
const UNOWNED: [&str; 10] = [
    "f:name",
    "f:namespace",
    "f:creationTimestamp",
    "f:selfLink",
    "f:uid",
    "f:clusterName",
    "f:generation",
    "f:managedFields",
    "f:resourceVersion",
    SELF,
];

/// A node of a set of fields; `None`: nothing.
type Node = Option<Map<String, Value>>;

/// How an object differs from an older one.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Fields that are new or have another value.
    pub changed: FieldSet,
    /// Fields that are gone.
    pub removed: FieldSet,
}

/// Compares two objects; null is an object without anything.
pub fn compare(old: &Value, new: &Value, shape: Shape<'_>) -> Changes {
    let empty = Value::Object(Map::new());
    let old = if old.is_null() { &empty } else { old };
    let difference = differ(Some(old), Some(new), shape, false);
    let set = |node| {
        let mut set = FieldSet::of_node(node);
        strip(&mut set);
        set
    };
    Changes { changed: set(difference.changed), removed: set(difference.removed) }
}

/// The fields that an object names.
pub fn fields(object: &Value, shape: Shape<'_>) -> FieldSet {
    let mut set = all_fields(object, shape);
    strip(&mut set);
    set
}

/// The same with those that nobody owns.
pub(super) fn all_fields(object: &Value, shape: Shape<'_>) -> FieldSet {
    FieldSet::of_node(collect(object, shape))
}

fn strip(set: &mut FieldSet) {
    let root = set.root_mut();
    root.retain(|name, _| !matches!(name.as_str(), "f:apiVersion" | "f:kind" | SELF));
    if let Some(Value::Object(metadata)) = root.get_mut("f:metadata") {
        metadata.retain(|name, _| !UNOWNED.contains(&name.as_str()));
        if metadata.is_empty() {
            root.shift_remove("f:metadata");
        }
    }
}

#[derive(Default)]
struct Difference {
    changed: Node,
    removed: Node,
}

impl Difference {
    fn changed() -> Self {
        Self { changed: Some(Map::new()), removed: None }
    }

    fn removed() -> Self {
        Self { changed: None, removed: Some(Map::new()) }
    }

    fn add(&mut self, name: &str, child: Self) {
        for (node, child) in [(&mut self.changed, child.changed), (&mut self.removed, child.removed)] {
            if let Some(child) = child {
                node.get_or_insert_default().insert(name.to_owned(), Value::Object(child));
            }
        }
    }
}

/// `implied`: the field is always there, so its coming or going is nobody's doing.
fn differ(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>, implied: bool) -> Difference {
    let empty = Value::Object(Map::new());
    let stand_in = (implied && matches!(shape, Shape::Struct(_))).then_some(&empty);
    let old = old.filter(|v| !v.is_null()).or(stand_in);
    let new = new.filter(|v| !v.is_null()).or(stand_in);
    let undivided = |value: Option<&Value>| value.is_some_and(|v| !shape.divides(v));
    if undivided(old) || undivided(new) || (is_void(old) && is_void(new)) {
        return match (old, new) {
            (None, None) => Difference::default(),
            _ if implied && is_void(old) && is_void(new) => Difference::default(),
            (None, Some(_)) => Difference::changed(),
            (Some(_), None) => Difference::removed(),
            (Some(old), Some(new)) if old == new => Difference::default(),
            _ => Difference::changed(),
        };
    }
    if old == new {
        return Difference::default();
    }
    let mut difference = match old.or(new) {
        Some(Value::Array(_)) => differ_items(list(old), list(new), shape),
        _ => differ_members(old, new, shape),
    };
    if !implied {
        if old.is_none() {
            difference.changed = Some(member(difference.changed.take()));
        }
        if new.is_none() {
            difference.removed = Some(member(difference.removed.take()));
        }
    }
    difference
}

/// Absent, or with nothing in it.
fn is_void(value: Option<&Value>) -> bool {
    match value {
        None => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn differ_members(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>) -> Difference {
    let mut difference = Difference::default();
    let implied = |name: &str| match shape {
        // Where the whole is new, so is each part.
        Shape::Struct(ty) => old.is_some() && new.is_some() && is_implied(ty, name),
        _ => false,
    };
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    for (name, value) in new.into_iter().flatten() {
        let before = old.and_then(|old| old.get(name));
        let shape = shape.member(name).unwrap_or(Shape::Unknown);
        let child = differ(before, Some(value), shape, implied(name));
        difference.add(&format!("f:{name}"), child);
    }
    for (name, value) in old.into_iter().flatten() {
        if new.is_none_or(|new| !new.contains_key(name)) {
            let shape = shape.member(name).unwrap_or(Shape::Unknown);
            let child = differ(Some(value), None, shape, implied(name));
            difference.add(&format!("f:{name}"), child);
        }
    }
    difference
}

fn differ_items(old: &[Value], new: &[Value], shape: Shape<'_>) -> Difference {
    let mut difference = Difference::default();
    let (old, new) = (index(old, shape), index(new, shape));
    for (element, items) in &new {
        let child = match (old.get(element).map(Vec::as_slice), items.as_slice()) {
            (None, [item]) => differ(None, Some(item), shape.item(), false),
            (Some([before]), [item]) => differ(Some(before), Some(item), shape.item(), false),
            // Items with the same keys are owned together.
            (before, items) if before == Some(items) => Difference::default(),
            _ => Difference::changed(),
        };
        difference.add(element, child);
    }
    for (element, items) in &old {
        if !new.contains_key(element) {
            let child = match items.as_slice() {
                [item] => differ(Some(item), None, shape.item(), false),
                _ => Difference::removed(),
            };
            difference.add(element, child);
        }
    }
    difference
}

fn index<'a>(items: &'a [Value], shape: Shape<'_>) -> HashMap<String, Vec<&'a Value>> {
    let mut index: HashMap<String, Vec<&Value>> = HashMap::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        index.entry(shape.element(at, item)).or_default().push(item);
    }
    index
}

fn collect(value: &Value, shape: Shape<'_>) -> Node {
    if !shape.divides(value) {
        return Some(Map::new());
    }
    let mut node = Map::new();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                let child = collect(value, shape.member(name).unwrap_or(Shape::Leaf));
                let child = match shape {
                    shape if shape.has_field(name) && !empty => child,
                    _ => Some(member(child)),
                };
                if let Some(child) = child {
                    node.insert(format!("f:{name}"), Value::Object(child));
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let child = member(collect(item, shape.item()));
                node.insert(shape.element(at, item), Value::Object(child));
            }
        }
        _ => {}
    }
    (!node.is_empty()).then_some(node)
}
