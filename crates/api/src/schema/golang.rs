//! How Go names types and values in the errors of its JSON decoder, which clients know by heart.
//!
//! Named strings (`v1.Protocol`) are not in the table and print as `string`.
//! **Upstream**: `sigs.k8s.io/json`, a copy of Go's `encoding/json`.

use super::types::{Any, FieldType, IntegerFormat, SchemaOr, Type};

/// Go's name of a value's type: `[]v1.Container`, `map[string]string`, `int32`.
pub(super) fn type_name(ty: &FieldType) -> String {
    let plain = match ty {
        FieldType::String => "string",
        FieldType::Integer(IntegerFormat::Int32) => "int32",
        FieldType::Integer(IntegerFormat::Int64) => "int64",
        FieldType::Number => "float64",
        FieldType::Boolean => "bool",
        FieldType::Bytes => "[]uint8",
        FieldType::Time => "v1.Time",
        FieldType::MicroTime => "v1.MicroTime",
        FieldType::Quantity => "resource.Quantity",
        FieldType::IntOrString => "intstr.IntOrString",
        FieldType::Any(Any::Fields) => "v1.FieldsV1",
        FieldType::Any(Any::Raw) => "runtime.RawExtension",
        FieldType::Any(Any::Json) => "v1.JSON",
        FieldType::SchemaOr(SchemaOr::Array) => "v1.JSONSchemaPropsOrArray",
        FieldType::SchemaOr(SchemaOr::Bool) => "v1.JSONSchemaPropsOrBool",
        FieldType::SchemaOr(SchemaOr::StringArray) => "v1.JSONSchemaPropsOrStringArray",
        FieldType::Ref(ty) => ty.resolve().go_name(),
        FieldType::Map(item) if **item == FieldType::Quantity => "v1.ResourceList",
        FieldType::Array(item) => return format!("[]{}", type_name(item)),
        FieldType::Map(item) => return format!("map[string]{}", type_name(item)),
    };
    plain.to_owned()
}

/// `json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container`.
pub(super) fn mismatch(value: &str, holder: Option<&Type>, path: &[&str], ty: &FieldType) -> String {
    let ty = type_name(ty);
    match holder {
        Some(holder) => {
            let (holder, path) = (holder.short_name(), path.join("."));
            format!("json: cannot unmarshal {value} into Go struct field {holder}.{path} of type {ty}")
        }
        None => format!("json: cannot unmarshal {value} into Go value of type {ty}"),
    }
}
