//! What a schema declares to the rules in it: the types of values, and how large these can be.
//!
//! **Contract**: pure. What the schema does not name does not exist for rules.
//! **Upstream**: `k8s.io/apiserver/pkg/cel/common/schemas.go`, `k8s.io/apiserver/pkg/cel/limits.go`: the sizes decide which
//! rules a definition may have, so they are upstream's.

use super::{flag, inner, list, properties, rules, type_of};
use crate::cel::{Declared, Objects, Type};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes of the largest request. **Upstream**: `MaxRequestSizeBytes`.
const REQUEST: u64 = 3 << 20;
/// Bytes of the longest duration or time, and of a date, quotation marks included. **Upstream**: `MaxDurationSizeJSON`, …
const LONGEST_TIME: u64 = 32;
const DATE: u64 = 12;
/// Bytes of the shortest values. **Upstream**: `MinStringSize`, `MinBoolSize`, `MinNumberSize`, `MinDurationSizeJSON`,
/// `MinDatetimeSizeJSON`.
const SHORTEST_STRING: u64 = 2;
const SHORTEST_BOOL: u64 = 4;
const SHORTEST_NUMBER: u64 = 1;
const SHORTEST_DURATION: u64 = 3;
const SHORTEST_TIME: u64 = 21;
/// The name of the type of `self`.
const SELF: &str = "selfType";

/// What rules at a schema see.
pub(super) struct Seen {
    /// The type of `self`.
    pub(super) this: Arc<Declared>,
    /// How often a value of the schema fits into a request.
    pub(super) repeated: u64,
    objects: Fields,
}

impl Seen {
    /// `root`: whether the schema is an object's of the API. `None`: rules cannot stand at such a schema.
    pub(super) fn by(schema: &Value, root: bool) -> Option<Self> {
        Self::named(SELF, schema, root)
    }

    /// The same with a name of the type of `self`.
    pub(super) fn named(name: &str, schema: &Value, root: bool) -> Option<Self> {
        let mut objects = Fields::default();
        let (this, least) = objects.declare(schema, root, name)?;
        Some(Self { this: Arc::new(this), repeated: REQUEST / (least + 1), objects })
    }

    /// What `self` is, and the fields of objects.
    pub(super) fn into_parts(self) -> (Arc<Declared>, Box<dyn Objects>) {
        (self.this, Box::new(self.objects))
    }

    /// The fields of objects.
    pub(super) fn objects(&self) -> &dyn Objects {
        &self.objects
    }
}

/// The fields of objects, by their types' names.
#[derive(Default)]
struct Fields(HashMap<Arc<str>, BTreeMap<String, Type>>);

impl Objects for Fields {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        self.0.get(object)?.get(field).cloned()
    }
}

fn simple(ty: Type, most: u64, least: u64) -> Option<(Declared, u64)> {
    Some((Declared { most, ..Declared::of(ty) }, least))
}

impl Fields {
    /// What a schema declares, and the fewest bytes of a value.
    fn declare(&mut self, schema: &Value, root: bool, name: &str) -> Option<(Declared, u64)> {
        let limit = |name: &str| schema[name].as_i64().map(|limit| u64::try_from(limit).unwrap_or(0));
        if flag(schema, "x-kubernetes-int-or-string") {
            let most = limit("maxLength").map_or(REQUEST - 2, |limit| limit.saturating_mul(4));
            return simple(Type::Dyn, most, SHORTEST_NUMBER);
        }
        match type_of(schema) {
            "array" => {
                let (item, least) = self.nested(inner(schema, "items")?, &format!("{name}.@idx"))?;
                let most = limit("maxItems").unwrap_or((REQUEST - 2) / (least + 1));
                Some((container(Type::list(item.ty.clone()), most, item), 2))
            }
            "object" | "" if root || type_of(schema) == "object" => {
                if let Some(values) = inner(schema, "additionalProperties").filter(|_| !root) {
                    let (value, least) = self.nested(values, &format!("{name}.@elem"))?;
                    // A key takes four bytes at least, and a colon and a comma.
                    let most = limit("maxProperties").unwrap_or((REQUEST - 2) / (least + 6));
                    return Some((container(Type::map(value.ty.clone()), most, value), 2));
                }
                Some(self.object(schema, root, name))
            }
            "string" => string(schema, limit("maxLength")),
            "boolean" => simple(Type::Bool, 0, SHORTEST_BOOL),
            "number" => simple(Type::Double, 0, SHORTEST_NUMBER),
            "integer" => simple(Type::Int, 0, SHORTEST_NUMBER),
            _ => None,
        }
    }

    fn nested(&mut self, schema: &Value, name: &str) -> Option<(Declared, u64)> {
        self.declare(schema, flag(schema, "x-kubernetes-embedded-resource"), name)
    }

    fn object(&mut self, schema: &Value, root: bool, name: &str) -> (Declared, u64) {
        let mut fields = BTreeMap::new();
        let mut least = 2;
        for (property, inner) in properties(schema) {
            let field = rules::escaped(property);
            let Some((declared, size)) = self.nested(inner, &format!("{name}.{field}")) else { continue };
            if list(schema, "required").iter().any(|required| required == property)
                && inner["default"].is_null()
            {
                least += property.len() as u64 + size + 4;
            }
            fields.insert(field, Arc::new(declared));
        }
        if root {
            let text = || Arc::new(Declared { most: REQUEST - 2, ..Declared::of(Type::String) });
            fields.insert("apiVersion".to_owned(), text());
            fields.insert("kind".to_owned(), text());
            let names = ["name", "generateName"].map(|name| (name.to_owned(), text()));
            fields.insert(
                "metadata".to_owned(),
                Arc::new(self.named(&format!("{name}.metadata"), names.into())),
            );
        }
        (self.named(name, fields), least)
    }

    /// An object with these fields.
    fn named(&mut self, name: &str, fields: BTreeMap<String, Arc<Declared>>) -> Declared {
        let name: Arc<str> = name.into();
        let types = fields.iter().map(|(field, declared)| (field.clone(), declared.ty.clone())).collect();
        self.0.insert(Arc::clone(&name), types);
        Declared { most: 0, fields, ..Declared::of(Type::Object(name)) }
    }
}

fn container(ty: Type, most: u64, item: Declared) -> Declared {
    Declared { ty, most, item: Some(Arc::new(item)), fields: BTreeMap::new() }
}

fn string(schema: &Value, limit: Option<u64>) -> Option<(Declared, u64)> {
    match schema["format"].as_str() {
        Some("byte") => simple(Type::Bytes, limit.unwrap_or(REQUEST - 2), SHORTEST_STRING),
        Some("duration") => simple(Type::Duration, LONGEST_TIME, SHORTEST_DURATION),
        Some("date") => simple(Type::Timestamp, DATE, DATE),
        Some("date-time") => simple(Type::Timestamp, LONGEST_TIME, SHORTEST_TIME),
        _ => {
            let longest =
                || list(schema, "enum").iter().filter_map(Value::as_str).map(|text| text.len() as u64).max();
            // A character takes up to four bytes.
            let most = limit.map(|limit| limit.saturating_mul(4)).or_else(longest).unwrap_or(REQUEST - 2);
            simple(Type::String, most, SHORTEST_STRING)
        }
    }
}
