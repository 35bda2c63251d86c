//! The table's text: finding the types, parsing one.
//!
//! Lines: `#` comment; `T NAME [atomic] [unpublished] [union=…] [gvk=g/v/Kind,…]` opens a type; every line
//! after it, up to the next `T`, is a field: `NAME[!] TYPE [#NUMBER[.NUMBER…]] [list=…] [atomic|granular]
//! [merge=KEY]
//! [strategy=…] [wrapped] [ptr|zero] [unwritten] [default=JSON]`. `!` marks a required field. A TYPE is a scalar, `[T]`,
//! `{T}`, the short name of a type of the same package, or a full name. Types and fields are sorted.
//! The table is part of the program, so a malformed line is a bug and panics; a test parses every type.

use std::sync::OnceLock;

use super::types::{
    Any, Field, FieldType, GroupVersionKindRef, IntegerFormat, ListType, MapType, Presence, SchemaOr, Type,
    TypeRef, Union,
};

/// The index of the table; types are parsed one by one.
#[derive(Debug)]
pub(super) struct Table {
    types: Vec<Entry>,
    kinds: Vec<(GroupVersionKindRef, TypeRef)>,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    attributes: &'static str,
    body: &'static str,
    parsed: OnceLock<Box<Type>>,
}

impl Table {
    pub(super) fn scan(text: &'static str) -> Self {
        let mut types = Vec::with_capacity(1024);
        let mut kinds = Vec::with_capacity(512);
        let (_, mut rest) = text.split_once("\nT ").expect("the table has a type");
        loop {
            let (entry, next) = match rest.split_once("\nT ") {
                Some((entry, next)) => (entry, Some(next)),
                None => (rest, None),
            };
            let (head, body) = entry.split_once('\n').unwrap_or((entry, ""));
            let (name, attributes) = head.split_once(' ').unwrap_or((head, ""));
            let this = TypeRef(u16::try_from(types.len()).expect("fewer than 65,536 types"));
            if attributes.contains("gvk=") {
                kinds.extend(gvks(attributes).map(|gvk| (gvk, this)));
            }
            types.push(Entry { name, attributes, body, parsed: OnceLock::new() });
            match next {
                Some(next) => rest = next,
                None => break,
            }
        }
        types.shrink_to_fit();
        kinds.sort_unstable();
        kinds.shrink_to_fit();
        Self { types, kinds }
    }

    pub(super) fn by_name(&self, name: &str) -> Option<TypeRef> {
        let at = self.types.binary_search_by(|e| e.name.cmp(name)).ok()?;
        Some(TypeRef(u16::try_from(at).expect("fewer than 65,536 types")))
    }

    pub(super) fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef> {
        let key = |g: &GroupVersionKindRef| (g.group, g.version, g.kind).cmp(&(group, version, kind));
        self.kinds.binary_search_by(|(gvk, _)| key(gvk)).ok().map(|at| self.kinds[at].1)
    }

    pub(super) fn refs(&self) -> impl Iterator<Item = TypeRef> + '_ {
        (0..self.types.len()).map(|i| TypeRef(u16::try_from(i).expect("fewer than 65,536 types")))
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = (GroupVersionKindRef, TypeRef)> + '_ {
        self.kinds.iter().copied()
    }

    pub(super) fn name(&self, at: TypeRef) -> &'static str {
        self.types[usize::from(at.0)].name
    }

    pub(super) fn resolve(&'static self, at: TypeRef) -> &'static Type {
        let entry = &self.types[usize::from(at.0)];
        entry.parsed.get_or_init(|| Box::new(self.parse(at, entry)))
    }

    fn parse(&self, this: TypeRef, entry: &Entry) -> Type {
        let (package, _) = entry.name.rsplit_once('.').expect("type names have a package");
        let attributes = || entry.attributes.split(' ');
        Type {
            name: entry.name,
            fields: entry.body.lines().map(|line| self.field(package, line)).collect(),
            gvks: gvks(entry.attributes).collect(),
            atomic: attributes().any(|a| a == "atomic"),
            published: !attributes().any(|a| a == "unpublished"),
            unions: attributes().filter_map(|a| a.strip_prefix("union=")).map(union).collect(),
            this,
        }
    }

    fn field(&self, package: &str, line: &'static str) -> Field {
        let (line, default) = match line.split_once(" default=") {
            Some((line, default)) => (line, Some(default)),
            None => (line, None),
        };
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let ty = words.next().unwrap_or_else(|| panic!("schema table: no type in {line:?}"));
        let mut field = Field {
            json_name: name.trim_end_matches('!'),
            ty: self.field_type(package, ty),
            required: name.ends_with('!'),
            list_type: None,
            list_map_keys: Box::default(),
            map_type: None,
            patch_merge_key: None,
            patch_strategy: None,
            default,
            default_written: true,
            proto: Box::default(),
            proto_wrapped: false,
            presence: Presence::Plain,
        };
        for word in words {
            match word.split_once('=') {
                None if word.starts_with('#') => field.proto = numbers(word),
                None if word == "atomic" => field.map_type = Some(MapType::Atomic),
                None if word == "granular" => field.map_type = Some(MapType::Granular),
                None if word == "wrapped" => field.proto_wrapped = true,
                None if word == "ptr" => field.presence = Presence::Pointer,
                None if word == "zero" => field.presence = Presence::Shown,
                None if word == "unwritten" => field.default_written = false,
                Some(("list", "atomic")) => field.list_type = Some(ListType::Atomic),
                Some(("list", "set")) => field.list_type = Some(ListType::Set),
                Some(("list", keys)) => {
                    field.list_type = Some(ListType::Map);
                    field.list_map_keys =
                        keys.trim_start_matches("map(").trim_end_matches(')').split(',').collect();
                }
                Some(("merge", key)) => field.patch_merge_key = Some(key),
                Some(("strategy", strategy)) => field.patch_strategy = Some(strategy),
                _ => panic!("schema table: unknown attribute {word:?}"),
            }
        }
        field
    }

    fn field_type(&self, package: &str, text: &str) -> FieldType {
        if let Some(item) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            return FieldType::Array(Box::new(self.field_type(package, item)));
        }
        if let Some(item) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            return FieldType::Map(Box::new(self.field_type(package, item)));
        }
        match text {
            "string" => FieldType::String,
            "int32" => FieldType::Integer(IntegerFormat::Int32),
            "int64" => FieldType::Integer(IntegerFormat::Int64),
            "double" => FieldType::Number,
            "bool" => FieldType::Boolean,
            "bytes" => FieldType::Bytes,
            "time" => FieldType::Time,
            "microtime" => FieldType::MicroTime,
            "quantity" => FieldType::Quantity,
            "intstr" => FieldType::IntOrString,
            "fields" => FieldType::Any(Any::Fields),
            "raw" => FieldType::Any(Any::Raw),
            "json" => FieldType::Any(Any::Json),
            "schema-or-array" => FieldType::SchemaOr(SchemaOr::Array),
            "schema-or-bool" => FieldType::SchemaOr(SchemaOr::Bool),
            "schema-or-strings" => FieldType::SchemaOr(SchemaOr::StringArray),
            name => {
                let found = match name.contains('.') {
                    true => self.by_name(name),
                    false => self.by_name(&format!("{package}.{name}")),
                };
                FieldType::Ref(found.unwrap_or_else(|| panic!("schema table: no type {name:?}")))
            }
        }
    }
}

fn gvks(attributes: &'static str) -> impl Iterator<Item = GroupVersionKindRef> {
    let list = attributes.split(' ').find_map(|a| a.strip_prefix("gvk=")).unwrap_or_default();
    list.split(',').filter(|one| !one.is_empty()).map(|one| {
        let mut parts = one.split('/');
        let mut part = || parts.next().expect("a gvk is group/version/kind");
        GroupVersionKindRef { group: part(), version: part(), kind: part() }
    })
}

fn union(text: &'static str) -> Union {
    let (discriminator, fields) = text.split_once(':').unwrap_or(("", text));
    Union {
        discriminator: (!discriminator.is_empty()).then_some(discriminator),
        fields: fields.split(',').filter_map(|f| f.split_once('=')).collect(),
    }
}

fn numbers(word: &str) -> Box<[u32]> {
    word[1..].split('.').map(|n| n.parse().expect("a protobuf field number")).collect()
}
