//! What the schema says of a type and of a field.
//!
//! Everything borrows from the table, so a [`Type`] lives as long as the program.

use std::fmt;

use super::Schema;

/// One built-in type: a Go struct of upstream, a definition of its OpenAPI document.
#[derive(Debug)]
pub struct Type {
    /// OpenAPI name, `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Fields in the order of their names.
    pub fields: Box<[Field]>,
    /// The kinds whose objects have this type; none for types that only occur inside others.
    pub gvks: Box<[GroupVersionKindRef]>,
    /// `x-kubernetes-map-type: atomic`: apply replaces the value as a whole.
    pub atomic: bool,
    /// False for types that upstream's OpenAPI leaves out, such as `ListOptions`.
    pub published: bool,
    /// `x-kubernetes-unions`.
    pub unions: Box<[Union]>,
    pub(super) this: TypeRef,
}

impl Type {
    /// The field with this JSON name (upper and lower case count, as in upstream's decoder).
    pub fn field(&self, json_name: &str) -> Option<&Field> {
        self.field_index(json_name).map(|i| &self.fields[i])
    }

    pub(super) fn field_index(&self, json_name: &str) -> Option<usize> {
        self.fields.binary_search_by(|f| f.json_name.cmp(json_name)).ok()
    }

    /// A handle of this type.
    pub fn reference(&self) -> TypeRef {
        self.this
    }

    /// `Pod` of `io.k8s.api.core.v1.Pod`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The protobuf message, `k8s.io.api.core.v1.Pod`.
    pub fn proto_message(&self) -> String {
        format!("k8s.io.{}", self.name.trim_start_matches("io.k8s.").replace('-', "_"))
    }

    /// As Go prints the type in errors: `v1.Pod`.
    pub fn go_name(&self) -> &'static str {
        let dots = self.name.rmatch_indices('.').nth(1);
        dots.map_or(self.name, |(at, _)| &self.name[at + 1..])
    }
}

/// One field of a [`Type`].
#[derive(Debug)]
pub struct Field {
    /// Name in JSON.
    pub json_name: &'static str,
    /// What the value is.
    pub ty: FieldType,
    /// Listed in OpenAPI's `required`.
    pub required: bool,
    /// `x-kubernetes-list-type`, and the keys of a `map` list.
    pub list_type: Option<ListType>,
    /// `x-kubernetes-list-map-keys`; empty unless the list type is `map`.
    pub list_map_keys: Box<[&'static str]>,
    /// `x-kubernetes-map-type` on the field itself; it outweighs the type's.
    pub map_type: Option<MapType>,
    /// `x-kubernetes-patch-merge-key`.
    pub patch_merge_key: Option<&'static str>,
    /// `x-kubernetes-patch-strategy`: `merge`, `replace`, `retainKeys` or `merge,retainKeys`.
    pub patch_strategy: Option<&'static str>,
    /// The value that `+default` gives, as JSON text.
    pub default: Option<&'static str>,
    /// False where Go leaves the default out of the encoded object, because it is the zero value.
    pub default_written: bool,
    /// Protobuf field numbers from this type's message to the value: one, or more where Go inlines a
    /// struct that protobuf nests (`Volume.hostPath` is `[2, 1]`). Empty where protobuf lacks the field.
    pub proto: Box<[u32]>,
    /// A JSON list that protobuf wraps into a message with `items = 1`.
    pub proto_wrapped: bool,
    /// What upstream's Go type makes of absence and of zero.
    pub presence: Presence,
}

impl Field {
    /// The protobuf number for a field that no inlined struct holds.
    pub fn proto_number(&self) -> Option<u32> {
        match *self.proto {
            [number] => Some(number),
            _ => None,
        }
    }

    /// Whether apply replaces the value as a whole: said by the field, else by its type. Lists without a
    /// list type and scalars are atomic.
    pub fn is_atomic(&self) -> bool {
        match (&self.ty, self.map_type) {
            (FieldType::Array(_), _) => !matches!(self.list_type, Some(ListType::Set | ListType::Map)),
            (_, Some(map_type)) => map_type == MapType::Atomic,
            (FieldType::Ref(ty), None) => ty.resolve().atomic,
            (FieldType::Map(_), None) => false,
            _ => true,
        }
    }

    /// Whether strategic merge merges the value instead of replacing it.
    pub fn patch_merges(&self) -> bool {
        self.patch_strategy.is_some_and(|s| s.split(',').any(|p| p == "merge"))
    }

    /// Whether strategic merge honours `$retainKeys` here.
    pub fn patch_retains_keys(&self) -> bool {
        self.patch_strategy.is_some_and(|s| s.split(',').any(|p| p == "retainKeys"))
    }
}

/// How a Go field tells absence from the zero value. It means nothing for lists, maps and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A plain value: protobuf always carries it, JSON leaves it out when it is zero.
    Plain,
    /// A plain value that both always carry.
    Shown,
    /// A pointer: both carry what is not nil, zero or not.
    Pointer,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    String,
    /// A whole number.
    Integer(IntegerFormat),
    /// A double.
    Number,
    /// True or false.
    Boolean,
    /// Bytes, base64 in JSON.
    Bytes,
    /// `meta/v1.Time`: RFC 3339, whole seconds.
    Time,
    /// `meta/v1.MicroTime`: RFC 3339 with microseconds.
    MicroTime,
    /// `resource.Quantity`: a string; a number is read too.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// A value without a schema.
    Any(Any),
    /// A CustomResourceDefinition's schema or something simpler.
    SchemaOr(SchemaOr),
    /// Another type.
    Ref(TypeRef),
    /// A list.
    Array(Box<FieldType>),
    /// A map with string keys.
    Map(Box<FieldType>),
}

impl FieldType {
    /// The type that it names, if it is of one.
    pub fn named(&self) -> Option<&'static Type> {
        match self {
            Self::Ref(reference) => Some(reference.resolve()),
            _ => None,
        }
    }

    /// The type that a list's items are of, if they are of one.
    pub fn named_item(&self) -> Option<&'static Type> {
        match self {
            Self::Array(item) => item.named(),
            _ => None,
        }
    }
}

/// Size of a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerFormat {
    /// 32 bits.
    Int32,
    /// 64 bits.
    Int64,
}

/// The types of upstream whose content no schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Any {
    /// `meta/v1.FieldsV1`: an object.
    Fields,
    /// `runtime.RawExtension`: an object.
    Raw,
    /// `apiextensions/v1.JSON`: any JSON.
    Json,
}

/// `JSONSchemaPropsOr…` of `apiextensions/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaOr {
    /// One schema or a list of them.
    Array,
    /// A schema or a boolean.
    Bool,
    /// A schema or a list of strings.
    StringArray,
}

/// How apply and merge identify the items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// Unique scalars.
    Set,
    /// Objects with keys.
    Map,
}

impl ListType {
    /// As OpenAPI spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Atomic => "atomic",
            Self::Set => "set",
            Self::Map => "map",
        }
    }
}

/// How apply treats an object or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    /// Replaced as a whole.
    Atomic,
    /// Every member has its own owners.
    Granular,
}

impl MapType {
    /// As OpenAPI spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Atomic => "atomic",
            Self::Granular => "granular",
        }
    }
}

/// A union: at most one of the fields, named by the discriminator if there is one.
#[derive(Debug, PartialEq, Eq)]
pub struct Union {
    /// The field that names the member; `None` where presence decides.
    pub discriminator: Option<&'static str>,
    /// Field and the discriminator's value for it.
    pub fields: Box<[(&'static str, &'static str)]>,
}

/// Group, version and kind, borrowed from the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKindRef {
    /// API group, `""` for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// A handle of a type that may not be parsed yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeRef(pub(super) u16);

impl TypeRef {
    /// The type; parsed at the first call.
    pub fn resolve(self) -> &'static Type {
        Schema::get().table.resolve(self)
    }

    /// Its place among [`Schema::types`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The type's OpenAPI name, without parsing it.
    pub fn name(self) -> &'static str {
        Schema::get().table.name(self)
    }
}

impl fmt::Debug for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
