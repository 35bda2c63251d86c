//! How a value is taken apart: which fields are owned one by one, and which only as a whole.
//!
//! **Contract**: pure; follows the schema, and without one upstream's deduction: maps are granular, lists atomic.
//! **Upstream**: `sigs.k8s.io/structured-merge-diff/schema`, `typed/helpers.go`.

use crate::crd::{self, META_FIELDS};
use api::schema::{Field, FieldType, ListType, Presence, Schema, Type};
use serde_json::{Map, Value};

/// What a value of the schema consists of.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
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
    /// An object of a schema that was added at run time.
    Custom(&'a crd::Schema),
    /// The same where it has kind, version and metadata besides.
    Resource(&'a crd::Schema),
    /// Entries of one such schema.
    Entries(&'a crd::Schema),
    /// Items of such a list, with keys.
    Items(&'a crd::Schema),
}

impl<'a> Shape<'a> {
    /// The shape of an object of a kind that was added at run time.
    pub fn of_custom(schema: &'a crd::Schema) -> Self {
        Self::Resource(schema)
    }

    /// The shape of a value inside one.
    fn of_schema(schema: &'a crd::Schema) -> Self {
        use crd::{Kind, ListType};
        match (schema.kind, &schema.list_type) {
            (Kind::Array, ListType::Set) => Self::Set,
            (Kind::Array, ListType::Map(_)) => Self::Items(schema),
            (Kind::Object, _) if schema.atomic => Self::Leaf,
            (Kind::Object, _) if schema.embedded => Self::Resource(schema),
            (Kind::Object, _) if schema.has_properties() => Self::Custom(schema),
            (Kind::Object, _) => match schema.entries() {
                Some(entry) => Self::Entries(entry),
                None if schema.preserves => Self::Unknown,
                None => Self::Custom(schema),
            },
            (Kind::Any, _) if schema.preserves => Self::Unknown,
            _ => Self::Leaf,
        }
    }

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
            Self::Resource(_) if name == "metadata" => {
                let ty = Schema::get().type_by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
                Some(Self::of_object(ty))
            }
            Self::Resource(_) if META_FIELDS.contains(&name) => Some(Self::Leaf),
            Self::Resource(schema) | Self::Custom(schema) => match schema.property(name) {
                Some(property) => Some(Self::of_schema(property)),
                None => schema.preserves.then_some(Self::Unknown),
            },
            Self::Entries(entry) => Some(Self::of_schema(entry)),
            Self::Leaf | Self::Set | Self::Keyed(_) | Self::Items(_) => None,
        }
    }

    /// Whether the type itself has a member of this name, and it is not one that the user chose.
    pub fn has_field(self, name: &str) -> bool {
        match self {
            Self::Struct(_) => true,
            Self::Resource(_) if META_FIELDS.contains(&name) => true,
            Self::Resource(schema) | Self::Custom(schema) => schema.property(name).is_some(),
            _ => false,
        }
    }

    /// Whether objects of this shape are divided.
    pub fn is_map(self) -> bool {
        matches!(
            self,
            Self::Unknown
                | Self::Struct(_)
                | Self::Map(_)
                | Self::Custom(_)
                | Self::Resource(_)
                | Self::Entries(_)
        )
    }

    /// Whether lists of this shape are divided.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Set | Self::Keyed(_) | Self::Items(_))
    }

    /// The keys that tell items of a list apart.
    pub fn list_keys(self) -> Vec<&'a str> {
        match self {
            Self::Keyed(field) => field.list_map_keys.to_vec(),
            Self::Items(crd::Schema { list_type: crd::ListType::Map(keys), .. }) => {
                keys.iter().map(|key| &**key).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What stands for a key that an item leaves out.
    fn default_of(self, key: &str) -> Option<Value> {
        match self {
            Self::Keyed(Field { ty: FieldType::Array(item), .. }) => match &**item {
                FieldType::Ref(ty) => serde_json::from_str(ty.resolve().field(key)?.default?).ok(),
                _ => None,
            },
            Self::Items(schema) => schema.items.as_ref()?.property(key)?.default.clone(),
            _ => None,
        }
    }

    /// The shape of an item of a list of this shape.
    pub fn item(self) -> Self {
        match self {
            Self::Keyed(field) => match &field.ty {
                FieldType::Array(item) => Self::of_type(item),
                _ => Self::Leaf,
            },
            Self::Items(schema) => schema.items.as_deref().map_or(Self::Leaf, Self::of_schema),
            _ => Self::Leaf,
        }
    }

    /// Whether a value of this shape is taken apart.
    pub fn divides(self, value: &Value) -> bool {
        self.is_map() && value.is_object() || self.is_list() && value.is_array()
    }

    /// The path element of a list's item.
    pub fn element(self, index: usize, item: &Value) -> String {
        match self {
            Self::Keyed(_) | Self::Items(_) => {
                self.keys(item).map_or_else(|| format!("i:{index}"), |k| format!("k:{k}"))
            }
            _ => format!("v:{item}"),
        }
    }

    /// The keys of an item as JSON in the order of their names; what the item leaves out has its default.
    fn keys(self, item: &Value) -> Option<String> {
        let item = item.as_object()?;
        let mut names = self.list_keys();
        names.sort_unstable();
        let mut keys = Map::new();
        for name in names {
            let written = item.get(name).filter(|v| !v.is_null()).cloned();
            if let Some(value) = written.or_else(|| self.default_of(name)) {
                keys.insert(name.to_owned(), value);
            }
        }
        (!keys.is_empty()).then(|| Value::Object(keys).to_string())
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
