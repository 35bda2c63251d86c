//! Reads the wheel's JSON schemas and undoes what the wheel changed in upstream's definitions:
//! `type: [x, "null"]`, `enum` on kind and apiVersion, `oneOf` for IntOrString and Quantity.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A type as OpenAPI describes it, in the table's notation.
#[derive(Debug, Default)]
pub(super) struct Definition {
    pub(super) fields: BTreeMap<String, Field>,
    pub(super) atomic: bool,
    pub(super) unpublished: bool,
    pub(super) unions: Vec<String>,
    /// `group/version/kind`.
    pub(super) gvks: Vec<String>,
}

/// A field as OpenAPI describes it.
#[derive(Debug, Default)]
pub(super) struct Field {
    /// In the table's notation, with full names of types.
    pub(super) ty: String,
    pub(super) required: bool,
    /// `list=…`, `atomic`, `granular`, `merge=…`, `strategy=…`.
    pub(super) attributes: Vec<String>,
}

/// Types that the table writes as scalars.
pub(super) const SCALARS: &[(&str, &str)] = &[
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "json"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "schema-or-array"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "schema-or-bool"),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
        "schema-or-strings",
    ),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "fields"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "microtime"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "time"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "raw"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "intstr"),
];

/// Every definition by its name.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Definition>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let document: Value = serde_json::from_slice(&text)?;
    let all = document["$defs"].as_object().context("no $defs")?;
    let mut definitions = BTreeMap::new();
    for (name, schema) in all {
        if SCALARS.iter().all(|(scalar, _)| scalar != name) {
            definitions.insert(name.clone(), definition(schema).with_context(|| name.clone())?);
        }
    }
    Ok(definitions)
}

fn definition(schema: &Value) -> Result<Definition> {
    let required: Vec<&str> = strings(&schema["required"]).collect();
    let mut out = Definition { atomic: schema["x-kubernetes-map-type"] == "atomic", ..Definition::default() };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let ty = field_type(field).with_context(|| name.clone())?;
        let attributes = attributes(field);
        out.fields
            .insert(name.clone(), Field { ty, required: required.contains(&name.as_str()), attributes });
    }
    for union in schema["x-kubernetes-unions"].as_array().into_iter().flatten() {
        let members = union["fields-to-discriminateBy"].as_object().into_iter().flatten();
        let members: Vec<String> =
            members.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
        out.unions.push(format!(
            "{}:{}",
            union["discriminator"].as_str().unwrap_or_default(),
            members.join(",")
        ));
    }
    for gvk in schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
        let part = |name: &str| gvk[name].as_str().unwrap_or_default().to_owned();
        out.gvks.push(format!("{}/{}/{}", part("group"), part("version"), part("kind")));
    }
    out.gvks.sort();
    Ok(out)
}

fn attributes(field: &Value) -> Vec<String> {
    let mut out = Vec::new();
    match field["x-kubernetes-list-type"].as_str() {
        Some("map") => {
            let keys: Vec<&str> = strings(&field["x-kubernetes-list-map-keys"]).collect();
            out.push(format!("list=map({})", keys.join(",")));
        }
        Some(kind) => out.push(format!("list={kind}")),
        None => {}
    }
    if let Some(map_type) = field["x-kubernetes-map-type"].as_str() {
        out.push(map_type.to_owned());
    }
    if let Some(key) = field["x-kubernetes-patch-merge-key"].as_str() {
        out.push(format!("merge={key}"));
    }
    if let Some(strategy) = field["x-kubernetes-patch-strategy"].as_str() {
        out.push(format!("strategy={strategy}"));
    }
    out
}

fn field_type(schema: &Value) -> Result<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        let scalar = SCALARS.iter().find(|(scalar, _)| *scalar == name);
        return Ok(scalar.map_or(name, |(_, short)| short).to_owned());
    }
    let ty = match &schema["type"] {
        Value::Array(types) => types.iter().find(|t| *t != "null").unwrap_or(&Value::Null),
        ty => ty,
    };
    Ok(match (ty.as_str(), schema["format"].as_str()) {
        (Some("string"), None) => "string".into(),
        (Some("string"), Some("byte")) => "bytes".into(),
        (Some("string"), Some("date-time")) => "time".into(),
        (Some("integer"), Some(format @ ("int32" | "int64"))) => format.into(),
        (Some("integer"), None) => "int64".into(),
        (Some("number"), _) => "double".into(),
        (Some("boolean"), None) => "bool".into(),
        (Some("array"), _) => format!("[{}]", field_type(&schema["items"])?),
        (Some("object"), _) => format!("{{{}}}", field_type(&schema["additionalProperties"])?),
        other => bail!("unexpected type {other:?}"),
    })
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
