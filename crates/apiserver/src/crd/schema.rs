//! A schema of a version, made ready for use: what its objects consist of and what is asked of them.
//!
//! **Contract**: compact, for a cluster may have hundreds of large ones: no descriptions, names sorted. Made of a schema
//! that was checked when its definition was written; what is not understood of one that slipped through is left out.
//! **Not here**: what is done by it: `prune`, `fill`, `value`, `lists`, `embedded`, `rules`.
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/schema` (`Structural`).

use super::rules::Compiled;
use super::{RULES, flag, inner, list, type_of};
use serde_json::Value;
use std::sync::OnceLock;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whatever it likes.
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// `x-kubernetes-int-or-string`.
    IntOrString,
}

impl Kind {
    /// As error messages spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer,string",
        }
    }

    fn of(schema: &Value) -> Self {
        if flag(schema, "x-kubernetes-int-or-string") {
            return Self::IntOrString;
        }
        match type_of(schema) {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Any,
        }
    }
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// They are not.
    #[default]
    Atomic,
    /// As a whole.
    Set,
    /// By these fields.
    Map(Box<[Box<str>]>),
}

/// Entries that `properties` does not name.
#[derive(Debug)]
pub(crate) enum Additional {
    /// Of whatever kind.
    Allowed,
    /// Of this schema.
    Of(Box<Schema>),
}

/// A pattern, compiled when it is first needed.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Box<str>,
    compiled: OnceLock<Option<regex::Regex>>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// Whether a text matches; a pattern that is none refuses nothing.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| regex::Regex::new(&self.text).ok());
        compiled.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }
}

/// What is asked of a value besides its type.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) allowed: Box<[Value]>,
    /// The limit, as it is written, and whether it is excluded.
    pub(crate) minimum: Option<(Value, bool)>,
    pub(crate) maximum: Option<(Value, bool)>,
    pub(crate) multiple_of: Option<Value>,
    pub(crate) min_length: Option<usize>,
    pub(crate) max_length: Option<usize>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) format: Option<Box<str>>,
    pub(crate) min_items: Option<usize>,
    pub(crate) max_items: Option<usize>,
    pub(crate) min_properties: Option<usize>,
    pub(crate) max_properties: Option<usize>,
    pub(crate) required: Box<[Box<str>]>,
    pub(crate) all_of: Box<[Schema]>,
    pub(crate) any_of: Box<[Schema]>,
    pub(crate) one_of: Box<[Schema]>,
    pub(crate) not: Option<Box<Schema>>,
}

/// A rule in CEL.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) rule: Box<str>,
    pub(crate) message: Box<str>,
    pub(crate) message_expression: Box<str>,
    pub(crate) reason: Box<str>,
    pub(crate) field_path: Box<str>,
    /// Whether `oldSelf` is an optional, so that the rule is asked of new values, too.
    pub(crate) optional_old_self: bool,
    compiled: OnceLock<Compiled>,
}

/// A schema.
#[derive(Debug)]
pub struct Schema {
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub(crate) preserves: bool,
    /// `x-kubernetes-embedded-resource`.
    pub(crate) embedded: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub(crate) atomic: bool,
    pub(crate) list_type: ListType,
    properties: Box<[(Box<str>, Schema)]>,
    pub(crate) additional: Option<Additional>,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Value>,
    pub(crate) checks: Option<Box<Checks>>,
    pub(crate) rules: Box<[Rule]>,
    /// Whether it or a schema inside it has rules.
    pub(crate) has_rules: bool,
}

impl Schema {
    /// The schema that this JSON is.
    pub(crate) fn of(schema: &Value) -> Self {
        let mut properties: Vec<(Box<str>, Self)> = super::properties(schema)
            .map(|(name, property)| (name.as_str().into(), Self::of(property)))
            .collect();
        properties.sort_by(|(a, _), (b, _)| a.cmp(b));
        let additional = match &schema["additionalProperties"] {
            Value::Bool(_) => Some(Additional::Allowed),
            inner if inner.is_object() => Some(Additional::Of(Box::new(Self::of(inner)))),
            _ => None,
        };
        let items = inner(schema, "items").map(|items| Box::new(Self::of(items)));
        let checks = Checks::of(schema).map(Box::new);
        let rules: Box<[Rule]> = list(schema, RULES).iter().map(Rule::of).collect();
        let has_rules = !rules.is_empty()
            || properties.iter().any(|(_, property)| property.has_rules)
            || items.as_ref().is_some_and(|items| items.has_rules)
            || matches!(&additional, Some(Additional::Of(inner)) if inner.has_rules)
            || checks.as_ref().is_some_and(|checks| checks.all_of.iter().any(|inner| inner.has_rules));
        Self {
            kind: Kind::of(schema),
            nullable: flag(schema, "nullable"),
            preserves: flag(schema, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(schema, "x-kubernetes-embedded-resource"),
            atomic: schema["x-kubernetes-map-type"] == "atomic",
            list_type: match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map(texts(schema, "x-kubernetes-list-map-keys")),
                _ => ListType::Atomic,
            },
            properties: properties.into(),
            additional,
            items,
            default: Some(schema["default"].clone()).filter(|default| !default.is_null()),
            checks,
            rules,
            has_rules,
        }
    }

    /// The schema of objects about which nothing is said.
    pub(crate) fn open() -> Self {
        Self::of(&serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
    }

    /// The schema of a property that is named.
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        let at = self.properties.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.properties[at].1)
    }

    /// The properties in the order of their names.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.properties.iter().map(|(name, schema)| (&**name, schema))
    }

    /// Whether entries may be looked up at all.
    pub(crate) fn has_properties(&self) -> bool {
        !self.properties.is_empty()
    }

    /// The schema of entries that are not named.
    pub(crate) fn entries(&self) -> Option<&Self> {
        match &self.additional {
            Some(Additional::Of(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The schema of an entry, named or not.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        self.property(name).or_else(|| self.entries())
    }

    /// The item of a list of type `map` that has the same keys as another.
    pub(crate) fn counterpart<'a>(&self, item: &Value, others: &'a [Value]) -> Option<&'a Value> {
        let ListType::Map(keys) = &self.list_type else { return None };
        others.iter().find(|other| keys.iter().all(|key| self.key(other, key) == self.key(item, key)))
    }

    fn key<'a>(&'a self, item: &'a Value, key: &str) -> Option<&'a Value> {
        let default = || self.items.as_ref()?.property(key)?.default.as_ref();
        item.get(key).or_else(default)
    }
}

impl Checks {
    fn of(schema: &Value) -> Option<Self> {
        let limit = |name: &str| usize::try_from(schema[name].as_i64()?).ok();
        let bound = |name: &str, exclusive: &str| {
            let value = &schema[name];
            value.is_number().then(|| (value.clone(), flag(schema, exclusive)))
        };
        let all = |name: &str| list(schema, name).iter().map(Schema::of).collect::<Box<[Schema]>>();
        let text = |name: &str| schema[name].as_str().filter(|text| !text.is_empty());
        let checks = Self {
            allowed: list(schema, "enum").into(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: Some(schema["multipleOf"].clone()).filter(Value::is_number),
            min_length: limit("minLength"),
            max_length: limit("maxLength"),
            pattern: text("pattern").map(Pattern::new),
            format: text("format").map(Into::into),
            min_items: limit("minItems"),
            max_items: limit("maxItems"),
            min_properties: limit("minProperties"),
            max_properties: limit("maxProperties"),
            required: texts(schema, "required"),
            all_of: all("allOf"),
            any_of: all("anyOf"),
            one_of: all("oneOf"),
            not: inner(schema, "not").map(|not| Box::new(Schema::of(not))),
        };
        let says = [
            "enum",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "pattern",
            "format",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "required",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        says.iter().any(|name| !schema[*name].is_null()).then_some(checks)
    }
}

impl Rule {
    fn of(rule: &Value) -> Self {
        let text = |name: &str| rule[name].as_str().unwrap_or("").into();
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: rule["optionalOldSelf"] == true,
            compiled: OnceLock::new(),
        }
    }

    /// Its expressions, compiled when they are first needed.
    pub(super) fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| Compiled::of(self))
    }
}

fn texts(schema: &Value, name: &str) -> Box<[Box<str>]> {
    list(schema, name).iter().filter_map(Value::as_str).map(Into::into).collect()
}
