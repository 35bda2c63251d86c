//! Static defaults: the values that upstream's types declare with `+default`.
//!
//! **Contract**: fills what is absent, never changes what is there; applying twice changes nothing.
//! **Not here**: defaults that upstream computes in functions (`restartPolicy`, `terminationMessagePath`, …),
//! which the strategies of the kinds write.

use serde_json::Value;

use super::types::{FieldType, Type};

/// Fills the defaults of `value`, an object of type `ty`, and of everything inside it.
pub fn apply(value: &mut Value, ty: &Type) {
    let Value::Object(object) = value else { return };
    for field in ty.fields.iter().filter(|f| f.default_written) {
        let Some(default) = field.default else { continue };
        if object.get(field.json_name).is_none_or(Value::is_null) {
            let default = serde_json::from_str(default).expect("the table's defaults are JSON");
            object.insert(field.json_name.to_owned(), default);
        }
    }
    for (name, value) in object.iter_mut().filter(|(_, v)| v.is_object() || v.is_array()) {
        if let Some(field) = ty.field(name) {
            apply_inside(value, &field.ty);
        }
    }
}

fn apply_inside(value: &mut Value, ty: &FieldType) {
    match (ty, value) {
        (FieldType::Ref(ty), value) => apply(value, ty.resolve()),
        (FieldType::Array(item), Value::Array(items)) => {
            items.iter_mut().for_each(|v| apply_inside(v, item));
        }
        (FieldType::Map(item), Value::Object(items)) => {
            items.values_mut().for_each(|v| apply_inside(v, item));
        }
        _ => {}
    }
}
