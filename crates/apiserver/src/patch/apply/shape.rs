//! How a value is taken apart: which fields are owned one by one, and which only as a whole.
//!
//! **Contract**: pure; follows the schema, and without one upstream's deduction: maps are granular, lists atomic.
//! **Upstream**: `sigs.k8s.io/structured-merge-diff/schema`, `typed/helpers.go`.

use api::schema::{Field, FieldType, ListType, Presence, Type};
use serde_json::{Map, Value};

/// What a value of the schema consists of.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// One thing: a scalar, or an atomic list, map or struct.
    Leaf,
    /// The schema says nothing.
    Unknown,
    /// The fields of a type.
    Struct(&'static Type),
    /// Entries of one type.
    Map(&'static FieldType),
    /// Unique scalars.
    Set,
    /// Items with keys.
    Keyed(&'static Field),
}

impl Shape {
    /// The shape of an object of this type; of any object without one.
    pub fn of_object(ty: Option<&'static Type>) -> Self {
        ty.map_or(Self::Unknown, Self::Struct)
    }

    /// The shape of a field's value.
    pub fn of_field(field: &'static Field) -> Self {
        match (&field.ty, field.list_type) {
            _ if field.is_atomic() => Self::Leaf,
            (FieldType::Array(_), Some(ListType::Set)) => Self::Set,
            (FieldType::Array(_), _) => Self::Keyed(field),
            // The field may make granular what its type makes atomic.
            (FieldType::Ref(ty), _) => Self::Struct(ty.resolve()),
            (ty, _) => Self::of_type(ty),
        }
    }

    /// The shape of a value that is not a field's.
    pub fn of_type(ty: &'static FieldType) -> Self {
        match ty {
            FieldType::Ref(ty) if ty.resolve().atomic => Self::Leaf,
            FieldType::Ref(ty) => Self::Struct(ty.resolve()),
            FieldType::Map(item) => Self::Map(item),
            _ => Self::Leaf,
        }
    }

    /// The shape of a member of an object of this shape; `None` if the type has no such field.
    pub fn member(self, name: &str) -> Option<Self> {
        match self {
            Self::Struct(ty) => ty.field(name).map(Self::of_field),
            Self::Map(item) => Some(Self::of_type(item)),
            Self::Unknown => Some(Self::Unknown),
            Self::Leaf | Self::Set | Self::Keyed(_) => None,
        }
    }

    /// The shape of an item of a list of this shape.
    pub fn item(self) -> Self {
        match self {
            Self::Keyed(field) => match &field.ty {
                FieldType::Array(item) => Self::of_type(item),
                _ => Self::Leaf,
            },
            _ => Self::Leaf,
        }
    }

    /// Whether a value of this shape is taken apart.
    pub fn divides(self, value: &Value) -> bool {
        match self {
            Self::Leaf => false,
            Self::Unknown | Self::Struct(_) | Self::Map(_) => value.is_object(),
            Self::Set | Self::Keyed(_) => value.is_array(),
        }
    }

    /// The path element of a list's item.
    pub fn element(self, index: usize, item: &Value) -> String {
        match self {
            Self::Keyed(field) => {
                keys(field, item).map_or_else(|| format!("i:{index}"), |k| format!("k:{k}"))
            }
            _ => format!("v:{item}"),
        }
    }
}

/// Whether upstream's Go type always has this field, so that nobody adds it.
pub(super) fn is_implied(ty: &Type, name: &str) -> bool {
    ty.field(name).is_some_and(|field| match field.ty {
        FieldType::Ref(_) => field.presence != Presence::Pointer,
        FieldType::Array(_) | FieldType::Map(_) => field.required,
        _ => false,
    })
}

/// The keys of an item as JSON in the order of their names; what the item leaves out has its default.
fn keys(field: &'static Field, item: &Value) -> Option<String> {
    let item = item.as_object()?;
    let ty = match &field.ty {
        FieldType::Array(ty) => match &**ty {
            FieldType::Ref(ty) => Some(ty.resolve()),
            _ => None,
        },
        _ => None,
    };
    let mut names: Vec<&str> = field.list_map_keys.to_vec();
    names.sort_unstable();
    let mut keys = Map::new();
    for name in names {
        let default = || serde_json::from_str(ty?.field(name)?.default?).ok();
        if let Some(value) = item.get(name).filter(|v| !v.is_null()).cloned().or_else(default) {
            keys.insert(name.to_owned(), value);
        }
    }
    (!keys.is_empty()).then(|| Value::Object(keys).to_string())
}
