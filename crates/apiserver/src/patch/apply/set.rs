//! Sets of fields, in the form in which they are stored and sent: `FieldsV1`.
//!
//! **Contract**: a node is a JSON object whose names are path elements (`f:name`, `k:{"name":"a"}`, `v:"x"`, `i:0`).
//! An empty node, or one that has `.`, is a member; a node that is no member and has no children does not exist.
//! **Upstream**: `sigs.k8s.io/structured-merge-diff/fieldpath`, `serialize.go`.

use serde_json::{Map, Value};

/// What makes a node with children a member.
pub(crate) const SELF: &str = ".";

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(Map<String, Value>);

impl FieldSet {
    /// A set that a client or the storage brings; `None` if it is not one.
    pub fn from_value(value: &Value) -> Option<Self> {
        fn well_formed(fields: &Map<String, Value>) -> bool {
            fields.iter().all(|(name, child)| {
                let named = name == SELF || matches!(name.get(..2), Some("f:" | "k:" | "v:" | "i:"));
                named && child.as_object().is_some_and(well_formed)
            })
        }
        let fields = value.as_object()?;
        well_formed(fields).then(|| Self(fields.clone()))
    }

    /// The set of this node's children.
    pub(crate) fn of_node(node: Option<Map<String, Value>>) -> Self {
        Self(node.unwrap_or_default())
    }

    /// As it is stored, in order.
    pub fn into_value(mut self) -> Value {
        fn sort(fields: &mut Map<String, Value>) {
            if !fields.keys().is_sorted() {
                fields.sort_keys();
            }
            fields.values_mut().filter_map(Value::as_object_mut).for_each(sort);
        }
        sort(&mut self.0);
        Value::Object(self.0)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The children of the root.
    pub(crate) fn root(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The same, to change it.
    pub(crate) fn root_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    /// Adds what is in the other.
    pub fn unite(&mut self, other: &Self) {
        unite(&mut self.0, &other.0);
    }

    /// Takes away what is in the other.
    pub fn subtract(&mut self, other: &Self) {
        subtract(&mut self.0, &other.0);
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(intersection(&self.0, &other.0))
    }

    /// The paths of the members, in order, as upstream prints them: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        fn walk(node: &Map<String, Value>, path: &mut String, paths: &mut Vec<String>) {
            let mut children: Vec<_> = node.iter().filter(|(name, _)| *name != SELF).collect();
            children.sort_by_key(|(name, _)| *name);
            for (name, child) in children {
                let Some(child) = child.as_object() else { continue };
                let length = path.len();
                print(name, path);
                if is_member(child) {
                    paths.push(path.clone());
                }
                walk(child, path, paths);
                path.truncate(length);
            }
        }
        let mut paths = Vec::new();
        walk(&self.0, &mut String::new(), &mut paths);
        paths
    }
}

/// Whether a node itself is in the set.
pub(crate) fn is_member(node: &Map<String, Value>) -> bool {
    node.is_empty() || node.contains_key(SELF)
}

/// A node that is a member.
pub(crate) fn member(children: Option<Map<String, Value>>) -> Map<String, Value> {
    let mut node = children.unwrap_or_default();
    if !node.is_empty() {
        node.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    node
}

fn unite(into: &mut Map<String, Value>, other: &Map<String, Value>) {
    for (name, child) in other {
        match (into.get_mut(name), child) {
            (Some(Value::Object(mine)), Value::Object(theirs)) => {
                let both = is_member(mine) || is_member(theirs);
                unite(mine, theirs);
                if both && !is_member(mine) {
                    mine.insert(SELF.to_owned(), Value::Object(Map::new()));
                }
            }
            _ => drop(into.insert(name.clone(), child.clone())),
        }
    }
}

fn subtract(from: &mut Map<String, Value>, other: &Map<String, Value>) {
    from.retain(|name, child| {
        if name == SELF {
            // Decided by the parent, which knows what an empty node means.
            return true;
        }
        let (Value::Object(mine), Some(Value::Object(theirs))) = (child, other.get(name)) else {
            return true;
        };
        let stays = is_member(mine) && !is_member(theirs);
        mine.shift_remove(SELF);
        subtract(mine, theirs);
        match (stays, mine.is_empty()) {
            (true, false) => drop(mine.insert(SELF.to_owned(), Value::Object(Map::new()))),
            (false, true) => return false,
            _ => {}
        }
        true
    });
}

fn intersection(one: &Map<String, Value>, other: &Map<String, Value>) -> Map<String, Value> {
    let mut both = Map::new();
    for (name, mine) in one.iter().filter(|(name, _)| *name != SELF) {
        let (Value::Object(mine), Some(Value::Object(theirs))) = (mine, other.get(name)) else { continue };
        let children = intersection(mine, theirs);
        if is_member(mine) && is_member(theirs) {
            both.insert(name.clone(), Value::Object(member(Some(children))));
        } else if !children.is_empty() {
            both.insert(name.clone(), Value::Object(children));
        }
    }
    both
}

/// A path element as upstream prints it.
pub(crate) fn printed(element: &str) -> String {
    let mut text = String::new();
    print(element, &mut text);
    text
}

/// Appends one.
fn print(element: &str, path: &mut String) {
    let (kind, rest) = element.split_at_checked(2).unwrap_or((element, ""));
    match kind {
        "f:" => {
            path.push('.');
            path.push_str(rest);
        }
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            path.push_str(&format!("[{}]", keys.join(",")));
        }
        "v:" => path.push_str(&format!("[={rest}]")),
        _ => path.push_str(&format!("[{rest}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: Value) -> FieldSet {
        FieldSet::from_value(&value).unwrap()
    }

    #[test]
    fn unites_subtracts_and_intersects() {
        let a = json!({"f:m": {".": {}, "f:x": {}, "f:y": {}}, "f:n": {}});
        let b = json!({"f:m": {"f:x": {}, "f:z": {}}, "f:o": {}});
        let mut united = set(a.clone());
        united.unite(&set(b.clone()));
        assert_eq!(
            united.into_value(),
            json!({"f:m": {".": {}, "f:x": {}, "f:y": {}, "f:z": {}}, "f:n": {}, "f:o": {}})
        );
        let mut rest = set(a.clone());
        rest.subtract(&set(b.clone()));
        assert_eq!(rest.clone().into_value(), json!({"f:m": {".": {}, "f:y": {}}, "f:n": {}}));
        rest.subtract(&set(a.clone()));
        assert!(rest.is_empty());
        // A member without its children, and children without the member.
        let mut rest = set(a.clone());
        rest.subtract(&set(json!({"f:m": {}})));
        assert_eq!(rest.into_value(), json!({"f:m": {"f:x": {}, "f:y": {}}, "f:n": {}}));
        let mut rest = set(json!({"f:m": {".": {}, "f:x": {}}}));
        rest.subtract(&set(json!({"f:m": {"f:x": {}}})));
        assert_eq!(rest.into_value(), json!({"f:m": {}}));
        assert_eq!(set(a).intersection(&set(b)).into_value(), json!({"f:m": {"f:x": {}}}));
    }

    #[test]
    fn prints_paths() {
        let fields = set(json!({"f:spec": {
            "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}},
            "f:finalizers": {"v:\"x\"": {}},
        }}));
        let paths = [
            ".spec.containers[name=\"a\"]",
            ".spec.containers[name=\"a\"].image",
            ".spec.finalizers[=\"x\"]",
        ];
        assert_eq!(fields.paths(), paths);
        assert!(FieldSet::from_value(&json!({"spec": {}})).is_none());
        assert!(FieldSet::from_value(&json!({"f:spec": 1})).is_none());
    }
}
