//! The schema of a version as OpenAPI publishes it.
//!
//! **Upstream**: `apiextensions-apiserver/pkg/controller/openapi/{builder,v2}`.

use super::declared::Seen;
use super::definition::{Definition, SelectableField};
use super::{flag, walk};
use crate::cel::{Declared, Objects};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What is published of a version; two are equal if the same is.
#[derive(Clone)]
pub struct Published {
    definition: Arc<Definition>,
    version: usize,
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Definition { uid, generation, .. } = &*self.definition;
        write!(f, "{uid}/{generation}/{}", self.version)
    }
}

impl PartialEq for Published {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Published {}

impl std::hash::Hash for Published {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl Published {
    pub(super) fn new(definition: &Arc<Definition>, version: usize) -> Self {
        Self { definition: Arc::clone(definition), version }
    }

    fn identity(&self) -> (&str, i64, usize) {
        (&self.definition.uid, self.definition.generation, self.version)
    }

    /// The name of a kind's definition in the documents: `com.example.v1.Widget`.
    fn named(&self, kind: &str) -> String {
        let group: Vec<&str> = self.definition.group.split('.').rev().collect();
        format!("{}.{}.{kind}", group.join("."), self.definition.versions[self.version].name)
    }

    /// The name of its objects' definition.
    pub fn name(&self) -> String {
        self.named(&self.definition.accepted.kind)
    }

    /// The name of its lists' definition.
    pub fn list_name(&self) -> String {
        self.named(&self.definition.accepted.list_kind)
    }

    /// What its schema declares to expressions: the objects, whose type is given this name, and the fields of everything in
    /// them.
    pub(crate) fn declared(&self, name: &str) -> Option<(Arc<Declared>, Box<dyn Objects>)> {
        let schema = self.definition.written_schema(&self.definition.versions[self.version].name);
        let open = flag(&schema, "x-kubernetes-preserve-unknown-fields");
        Seen::named(name, &schema, true).filter(|_| !open).map(Seen::into_parts)
    }

    /// The definition of a list. `reference` makes a reference of a name.
    pub fn list(&self, reference: impl Fn(&str) -> Value) -> Value {
        let names = &self.definition.accepted;
        let more =
            "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
        let mut metadata = reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
        metadata["description"] = format!("Standard list metadata. {more}#types-kinds").into();
        let mut list = json!({
            "description": format!("{} is a list of {}", names.list_kind, names.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": api_version(),
                "items": {"description": format!("List of {}. {more}", self.definition.plural), "type": "array",
                    "items": reference(&self.name())},
                "kind": kind(),
                "metadata": metadata,
            },
            "x-kubernetes-group-version-kind": self.gvk(&names.list_kind),
        });
        self.add_selectable_fields(&mut list);
        list
    }

    /// Says by which fields the objects can be selected.
    fn add_selectable_fields(&self, schema: &mut Value) {
        let fields = &self.definition.versions[self.version].selectable_fields;
        if !fields.is_empty() {
            let path =
                |field: &SelectableField| json!({"fieldPath": field.json_path.trim_start_matches('.')});
            schema["x-kubernetes-selectable-fields"] = fields.iter().map(path).collect();
        }
    }

    fn gvk(&self, kind: &str) -> Value {
        let version = &self.definition.versions[self.version].name;
        json!([{"group": self.definition.group, "kind": kind, "version": version}])
    }

    /// The definition of an object. `open`: for readers to whom a field that is not named does not exist, so what is
    /// said must not be less than what there may be.
    pub fn object(&self, open: bool, reference: impl Fn(&str) -> Value) -> Value {
        let mut schema = self.definition.written_schema(&self.definition.versions[self.version].name);
        if !schema.is_object() || open && flag(&schema, "x-kubernetes-preserve-unknown-fields") {
            let mut any = json!({"type": "object",
                "x-kubernetes-group-version-kind": self.gvk(&self.definition.accepted.kind)});
            self.add_selectable_fields(&mut any);
            return any;
        }
        if open {
            widen(&mut schema);
        } else {
            unfold(&mut schema);
        }
        let metadata = || {
            let mut metadata = reference("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
            metadata["description"] = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata".into();
            metadata
        };
        add_embedded(&mut schema, open, &metadata);
        schema["properties"]["apiVersion"] = api_version();
        schema["properties"]["kind"] = kind();
        schema["properties"]["metadata"] = metadata();
        schema["x-kubernetes-group-version-kind"] = self.gvk(&self.definition.accepted.kind);
        self.add_selectable_fields(&mut schema);
        schema
    }
}

fn api_version() -> Value {
    json!({"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object. \
        Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More \
        info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"})
}

fn kind() -> Value {
    json!({"type": "string", "description": "Kind is a string value representing the REST resource this object represents. \
        Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More \
        info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"})
}

/// Every schema inside a schema, to be changed, the innermost first.
fn each(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(fields) = schema.as_object_mut() else { return };
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name) {
            each(inner, change);
        }
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| each(property, change));
    }
    change(fields);
}

/// Says in OpenAPI's own words what a number or string is.
fn unfold(schema: &mut Value) {
    each(schema, &mut |fields| {
        let both = json!([{"type": "integer"}, {"type": "string"}]);
        let told = |fields: &Map<String, Value>| {
            fields.get("anyOf") == Some(&both)
                || fields.get("allOf").and_then(|all| all.get(0)).is_some_and(|first| first["anyOf"] == both)
        };
        if fields.get("x-kubernetes-int-or-string") == Some(&true.into()) && !told(fields) {
            match fields.get_mut("anyOf") {
                Some(any) => {
                    let any = any.take();
                    fields.shift_remove("anyOf");
                    let all = fields.entry("allOf").or_insert_with(|| json!([]));
                    if let Some(all) = all.as_array_mut() {
                        all.insert(0, json!({"anyOf": any}));
                        all.insert(0, json!({"anyOf": both}));
                    }
                }
                None => drop(fields.insert("anyOf".to_owned(), both)),
            }
        }
    });
}

/// Leaves out what the older version of OpenAPI, or its readers, cannot say: what may be null is of no type, and where
/// fields may be that nobody names, none is named.
///
/// **Upstream**: `ToStructuralOpenAPIV2`, `PruneDefaults`.
fn widen(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    let remove = |fields: &mut Map<String, Value>, names: &[&str]| {
        names.iter().for_each(|name| drop(fields.shift_remove(*name)));
    };
    remove(fields, &["allOf", "anyOf", "oneOf", "not", "default"]);
    let is = |fields: &Map<String, Value>, name: &str| fields.get(name) == Some(&true.into());
    let preserves = is(fields, "x-kubernetes-preserve-unknown-fields");
    if is(fields, "nullable") {
        remove(fields, &["type", "nullable", "items", "properties"]);
    }
    if preserves {
        remove(fields, &["items", "properties"]);
    }
    let of_type = fields.get("type").and_then(Value::as_str);
    if of_type == Some("array") && !fields.contains_key("items") || of_type == Some("object") && preserves {
        remove(fields, &["type"]);
    }
    let nullable = |inner: Option<&Value>| inner.is_some_and(|inner| flag(inner, "nullable"));
    let properties = fields.get("properties").cloned().unwrap_or_default();
    if let Some(required) = fields.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !nullable(name.as_str().and_then(|name| properties.get(name))));
        if required.is_empty() {
            remove(fields, &["required"]);
        }
    }
    if nullable(fields.get("additionalProperties")) {
        remove(fields, &["required"]);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name) {
            widen(inner);
        }
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(widen);
    }
}

/// What every object has that is embedded in another.
fn add_embedded(schema: &mut Value, open: bool, metadata: &dyn Fn() -> Value) {
    let mut any = false;
    walk(schema, &mut |inner| any |= flag(inner, "x-kubernetes-embedded-resource"));
    if !any {
        return;
    }
    each(schema, &mut |fields| {
        let is = |name: &str| fields.get(name) == Some(&true.into());
        if !is("x-kubernetes-embedded-resource") || open && is("x-kubernetes-preserve-unknown-fields") {
            return;
        }
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        properties["apiVersion"] = json!({"type": "string", "description": "apiVersion defines the versioned schema of \
            this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/\
            api-conventions.md#resources"});
        properties["kind"] = json!({"type": "string", "description": "kind is a string value representing the type of \
            this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/\
            api-conventions.md#types-kinds"});
        properties["metadata"] = metadata();
        let required = fields.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            for name in ["kind", "apiVersion"] {
                if !required.iter().any(|known| known == name) {
                    required.push(name.into());
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_document_leaves_out_what_it_cannot_say() {
        let any = json!([{"type": "integer"}, {"type": "string"}]);
        for (schema, expected) in [
            (
                json!({"type": "string", "default": "a", "pattern": "^a", "oneOf": [{"format": "x"}], "allOf": [], "not": {}}),
                json!({"type": "string", "pattern": "^a"}),
            ),
            (
                json!({"x-kubernetes-int-or-string": true, "anyOf": any, "pattern": "^[0-9]+$"}),
                json!({"x-kubernetes-int-or-string": true, "pattern": "^[0-9]+$"}),
            ),
            (
                json!({"type": "object", "nullable": true, "properties": {"a": {}}, "description": "d"}),
                json!({"description": "d"}),
            ),
            (
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}}),
                json!({"x-kubernetes-preserve-unknown-fields": true}),
            ),
            (
                json!({"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {"type": "string"}}),
                json!({"x-kubernetes-preserve-unknown-fields": true}),
            ),
            (
                json!({"type": "object", "required": ["a", "b"], "x-kubernetes-validations": [{"rule": "true"}],
                    "properties": {"a": {"type": "string", "nullable": true}, "b": {"type": "array", "items": {"not": {}}}}}),
                json!({"type": "object", "required": ["b"], "x-kubernetes-validations": [{"rule": "true"}],
                    "properties": {"a": {}, "b": {"type": "array", "items": {}}}}),
            ),
            (
                json!({"type": "object", "required": ["a"], "additionalProperties": {"type": "string", "nullable": true}}),
                json!({"type": "object", "additionalProperties": {}}),
            ),
        ] {
            let mut widened = schema.clone();
            widen(&mut widened);
            assert_eq!(widened, expected, "{schema}");
        }
    }
}
