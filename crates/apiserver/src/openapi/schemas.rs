//! Types of the schema table as JSON schemas, in the two dialects.

use std::collections::BTreeSet;

use api::schema::descriptions::{Descriptions, OfType};
use api::schema::enums::{Enumeration, Enums};
use api::schema::{Any, Field, FieldType, IntegerFormat, Schema, SchemaOr, Type, TypeRef};
use serde_json::{Map, Value, json};

use super::ResourceFacts;

/// Which version of OpenAPI a schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

/// Types that have a definition but no fields in the table.
const SCALARS: &[(&str, FieldType)] = &[
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", FieldType::Any(Any::Json)),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        FieldType::SchemaOr(SchemaOr::Array),
    ),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        FieldType::SchemaOr(SchemaOr::Bool),
    ),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
        FieldType::SchemaOr(SchemaOr::StringArray),
    ),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", FieldType::Quantity),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", FieldType::Any(Any::Fields)),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", FieldType::MicroTime),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", FieldType::Time),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", FieldType::Any(Any::Raw)),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", FieldType::IntOrString),
];

/// A definition that other definitions refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Definition {
    Struct(TypeRef),
    Scalar(usize),
}

/// The definitions of these types and of all that they refer to, by name.
pub(super) fn definitions(roots: impl IntoIterator<Item = TypeRef>, dialect: Dialect) -> Map<String, Value> {
    let (descriptions, enums) = (Descriptions::load(), Enums::load());
    let mut seen = BTreeSet::new();
    let mut open: Vec<Definition> = roots.into_iter().map(Definition::Struct).collect();
    let mut out = Vec::new();
    while let Some(next) = open.pop() {
        if !seen.insert(next) {
            continue;
        }
        match next {
            Definition::Scalar(index) => {
                let (name, ty) = &SCALARS[index];
                let mut schema = scalar(ty, dialect);
                if let (Some(text), Some(schema)) = (descriptions.of(name).text(), schema.as_object_mut()) {
                    schema.insert("description".into(), text.into());
                }
                out.push((*name, schema));
            }
            Definition::Struct(reference) => {
                let ty = reference.resolve();
                open.extend(ty.fields.iter().filter_map(|f| definition_of(&f.ty)));
                out.push((ty.name, object(ty, &descriptions.of(ty.name), &enums, dialect)));
            }
        }
    }
    out.sort_by_key(|(name, _)| *name);
    out.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// The definitions of kinds that were added at run time.
pub(super) fn custom<'a>(
    facts: impl Iterator<Item = &'a ResourceFacts>,
    dialect: Dialect,
) -> impl Iterator<Item = (String, Value)> {
    facts.filter_map(|facts| facts.published.as_ref()).flat_map(move |published| {
        let reference = |name: &str| match dialect {
            Dialect::V2 => reference(name, dialect),
            // What stands next to a reference does not count.
            Dialect::V3 => json!({"allOf": [reference(name, dialect)]}),
        };
        [
            (published.name(), published.object(dialect == Dialect::V2, reference)),
            (published.list_name(), published.list(reference)),
        ]
    })
}

/// What the definitions of such kinds refer to.
pub(super) fn custom_roots() -> impl Iterator<Item = TypeRef> {
    let names = ["ObjectMeta", "ListMeta"].map(|name| format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"));
    names.into_iter().filter_map(|name| Some(Schema::get().type_by_name(&name)?.reference()))
}

/// A reference to a definition.
pub(super) fn reference(name: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

fn definition_of(ty: &FieldType) -> Option<Definition> {
    match ty {
        FieldType::Ref(ty) => Some(Definition::Struct(*ty)),
        FieldType::Array(item) | FieldType::Map(item) => definition_of(item),
        ty => SCALARS.iter().position(|(_, scalar)| scalar == ty).map(Definition::Scalar),
    }
}

fn object(ty: &Type, words: &OfType<'_>, enums: &Enums, dialect: Dialect) -> Value {
    let mut schema = Map::new();
    if let Some(text) = words.text() {
        schema.insert("description".into(), text.into());
    }
    schema.insert("type".into(), "object".into());
    let required: Vec<&str> = ty.fields.iter().filter(|f| f.required).map(|f| f.json_name).collect();
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    if !ty.fields.is_empty() {
        let properties = ty.fields.iter().map(|f| {
            let allowed = enums.of(ty.name, f.json_name);
            (f.json_name.to_owned(), property(f, words, allowed, dialect))
        });
        schema.insert("properties".into(), Value::Object(properties.collect()));
    }
    if ty.atomic {
        schema.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if !ty.gvks.is_empty() {
        let gvks = ty.gvks.iter().map(|g| json!({"group": g.group, "kind": g.kind, "version": g.version}));
        schema.insert("x-kubernetes-group-version-kind".into(), gvks.collect());
    }
    if !ty.unions.is_empty() {
        let unions = ty.unions.iter().map(|union| {
            let members: Map<String, Value> =
                union.fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
            match union.discriminator {
                Some(name) => json!({"discriminator": name, "fields-to-discriminateBy": members}),
                None => json!({"fields-to-discriminateBy": members}),
            }
        });
        schema.insert("x-kubernetes-unions".into(), unions.collect());
    }
    Value::Object(schema)
}

fn property(field: &Field, words: &OfType<'_>, allowed: Option<&Enumeration>, dialect: Dialect) -> Value {
    let mut extras = Map::new();
    let text = words.field(field.json_name);
    if text.is_some() || allowed.is_some() {
        let values = allowed.map(Enumeration::description).unwrap_or_default();
        extras.insert("description".into(), format!("{}{values}", text.unwrap_or_default()).into());
    }
    if let Some(default) = field.default.filter(|_| dialect == Dialect::V3) {
        extras
            .insert("default".into(), serde_json::from_str(default).expect("the table's defaults are JSON"));
    }
    if let Some(list_type) = field.list_type {
        if !field.list_map_keys.is_empty() {
            extras.insert("x-kubernetes-list-map-keys".into(), field.list_map_keys.to_vec().into());
        }
        extras.insert("x-kubernetes-list-type".into(), list_type.as_str().into());
    }
    if let Some(map_type) = field.map_type {
        extras.insert("x-kubernetes-map-type".into(), map_type.as_str().into());
    }
    if let Some(key) = field.patch_merge_key {
        extras.insert("x-kubernetes-patch-merge-key".into(), key.into());
    }
    if let Some(strategy) = field.patch_strategy {
        extras.insert("x-kubernetes-patch-strategy".into(), strategy.into());
    }
    let mut schema = value(&field.ty, dialect);
    if let Some(allowed) = allowed {
        restrict(&mut schema, allowed);
    }
    match schema {
        // Version 3 ignores what stands next to a reference.
        Value::Object(inner)
            if inner.contains_key("$ref") && dialect == Dialect::V3 && !extras.is_empty() =>
        {
            extras.insert("allOf".into(), json!([inner]));
            Value::Object(extras)
        }
        Value::Object(mut inner) => {
            inner.extend(extras);
            Value::Object(inner)
        }
        other => other,
    }
}

/// Allows a text, or each text of a list or map, these values only.
fn restrict(schema: &mut Value, allowed: &Enumeration) {
    let inner = ["items", "additionalProperties"].into_iter().find(|name| schema.get(name).is_some());
    match inner {
        Some(name) => restrict(&mut schema[name], allowed),
        None => schema["enum"] = allowed.values().into(),
    }
}

fn value(ty: &FieldType, dialect: Dialect) -> Value {
    match ty {
        FieldType::Ref(ty) => reference(ty.name(), dialect),
        FieldType::Array(item) => json!({"type": "array", "items": value(item, dialect)}),
        FieldType::Map(item) => json!({"type": "object", "additionalProperties": value(item, dialect)}),
        ty => match SCALARS.iter().find(|(_, scalar)| scalar == ty) {
            Some((name, _)) => reference(name, dialect),
            None => scalar(ty, dialect),
        },
    }
}

fn scalar(ty: &FieldType, dialect: Dialect) -> Value {
    match (ty, dialect) {
        (FieldType::String, _) | (FieldType::Quantity, Dialect::V2) => json!({"type": "string"}),
        (FieldType::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (FieldType::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        (FieldType::IntOrString, Dialect::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        (FieldType::Integer(IntegerFormat::Int32), _) => json!({"type": "integer", "format": "int32"}),
        (FieldType::Integer(IntegerFormat::Int64), _) => json!({"type": "integer", "format": "int64"}),
        (FieldType::Number, _) => json!({"type": "number", "format": "double"}),
        (FieldType::Boolean, _) => json!({"type": "boolean"}),
        (FieldType::Bytes, _) => json!({"type": "string", "format": "byte"}),
        (FieldType::Time | FieldType::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
        (FieldType::Any(Any::Fields | Any::Raw), _) => json!({"type": "object"}),
        _ => json!({}),
    }
}
