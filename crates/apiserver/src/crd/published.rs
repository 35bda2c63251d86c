//! The schema of a version as OpenAPI publishes it.
//!
//! **Upstream**: `apiextensions-apiserver/pkg/controller/openapi/{builder,v2}`.

use super::declared::Seen;
use super::definition::Definition;
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
        json!({
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
        })
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
            return json!({"type": "object",
                "x-kubernetes-group-version-kind": self.gvk(&self.definition.accepted.kind)});
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

/// Leaves out what the older version of OpenAPI, or its readers, cannot say.
fn widen(schema: &mut Value) {
    each(schema, &mut |fields| {
        for name in ["allOf", "anyOf", "oneOf", "not", "default", "x-kubernetes-validations"] {
            fields.shift_remove(name);
        }
        let is = |fields: &Map<String, Value>, name: &str| fields.get(name) == Some(&true.into());
        let nullable = is(fields, "nullable");
        let preserves = is(fields, "x-kubernetes-preserve-unknown-fields");
        if nullable || preserves {
            for name in ["items", "properties", "additionalProperties", "required"] {
                fields.shift_remove(name);
            }
        }
        if nullable || is(fields, "x-kubernetes-int-or-string") {
            for name in ["nullable", "type", "format", "pattern", "enum"] {
                fields.shift_remove(name);
            }
        }
    });
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
        properties["apiVersion"] = api_version();
        properties["kind"] = kind();
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
