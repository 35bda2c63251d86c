//! Rules in CEL (`x-kubernetes-validations`): compiled when they are first needed, evaluated within a budget.
//!
//! **Contract**: pure. A rule that speaks of `oldSelf` is asked only about what has an old value, unless it says that it
//! can do without. What has not changed since it was accepted is not refused (ratcheting), but by a rule that compares.
//! **Not here**: the language (`cel`); what a definition may say of rules otherwise (`open_api`).
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/schema/cel`.

use super::schema::{Kind, Rule, Schema};
use super::{META_FIELDS, field_path};
use crate::cel::{self, Budget, Environment, Expression};
use api::field::{Error, ErrorList, Path};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube_cel::cel::objects::{Key, Map, OptionalValue};
use serde_json::Value;
use std::sync::{Arc, LazyLock};

/// Steps that the rules of an object may take together. **Upstream**: `RuntimeCELCostBudget`.
const BUDGET: u64 = 10_000_000;
/// Bytes of the longest message that an expression makes. **Upstream**: `MaxEvaluatedMessageExpressionSizeBytes`.
const MAX_MESSAGE: usize = 5 << 10;
/// Steps that reading a string takes at most.
const FORMAT_STEPS: u64 = 1000;
/// What an expression that takes too many steps ends with.
const TOO_LONG: &str = "operation cancelled: actual cost limit exceeded";

/// A rule's expressions.
#[derive(Debug)]
pub(super) struct Compiled {
    rule: Result<Expression, String>,
    message: Option<Expression>,
    uses_old: bool,
}

impl Compiled {
    pub(super) fn of(rule: &Rule) -> Self {
        let message = Some(&*rule.message_expression).filter(|text| !text.trim().is_empty());
        Self {
            rule: compile(&rule.rule, cel::Kind::Bool),
            message: message.and_then(|text| compile(text, cel::Kind::String).ok()),
            uses_old: uses_old(&rule.rule),
        }
    }
}

/// Compiles an expression about `self`; what is wrong with it, else.
pub(super) fn compile(text: &str, kind: cel::Kind) -> Result<Expression, String> {
    Expression::compile(text, &Environment::of(&["self", "oldSelf"]), kind)
}

/// Whether an expression speaks of the old value.
pub(super) fn uses_old(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices("oldSelf").any(|(at, found)| {
        let before = text[..at].chars().next_back().is_some_and(|c| is_part(c) || c == '.');
        !before && !text[at + found.len()..].chars().next().is_some_and(is_part)
    })
}

/// All rules that an object breaks.
pub(super) fn check(schema: &Schema, object: &Value, old: Option<&Value>) -> ErrorList {
    let mut walk = Walk { budget: Budget::new(BUDGET), errors: ErrorList::new(), over: false };
    walk.value(&Path::default(), object, old, false, (schema, true));
    walk.errors
}

struct Walk {
    budget: Arc<Budget>,
    errors: ErrorList,
    /// Whether the budget is spent.
    over: bool,
}

impl Walk {
    /// `unchanged`: whether what is around the value is what it was.
    fn value(
        &mut self,
        path: &Path,
        value: &Value,
        old: Option<&Value>,
        unchanged: bool,
        (schema, root): (&Schema, bool),
    ) {
        if self.over || !schema.has_rules || value.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        let unchanged = old.map_or(unchanged, |old| old == value);
        if !schema.rules.is_empty() {
            self.rules(path, value, old, unchanged, (schema, root));
        }
        match value {
            Value::Array(items) => {
                let Some(inside) = schema.items.as_deref() else { return };
                let before = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                for (i, item) in items.iter().enumerate() {
                    let old = schema.counterpart(item, before);
                    self.value(&path.index(i), item, old, unchanged, (inside, false));
                }
            }
            Value::Object(fields) => {
                let before = old.and_then(Value::as_object).filter(|_| !schema.atomic);
                for (name, field) in fields {
                    let old = before.and_then(|before| before.get(name));
                    if let Some(property) = schema.property(name) {
                        self.value(&path.child(name), field, old, unchanged, (property, false));
                    } else if let Some(entry) = schema.entries() {
                        self.value(&path.key(name), field, old, unchanged, (entry, false));
                    }
                }
            }
            _ => {}
        }
    }

    fn rules(
        &mut self,
        path: &Path,
        value: &Value,
        old: Option<&Value>,
        unchanged: bool,
        (schema, root): (&Schema, bool),
    ) {
        let this = variable(value, schema, root);
        let before = old.map(|old| variable(old, schema, root));
        for rule in &schema.rules {
            if self.over {
                return;
            }
            let compiled = rule.compiled();
            let invalid = |detail: &str| Error::invalid(path, schema.kind.name(), detail);
            let expression = match &compiled.rule {
                Ok(expression) => expression,
                Err(why) => {
                    self.errors.push(invalid(&format!("rule compile error: {why}")));
                    continue;
                }
            };
            if compiled.uses_old && before.is_none() && !rule.optional_old_self {
                continue;
            }
            let mut context = cel::context();
            context.add_variable_from_value("self", this.clone());
            match (&before, rule.optional_old_self) {
                (before, true) => context.add_variable_from_value("oldSelf", optional(before.clone())),
                (Some(before), false) => context.add_variable_from_value("oldSelf", before.clone()),
                (None, false) => {}
            }
            let name = if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() };
            match expression.evaluate(&context, &self.budget) {
                Ok(cel::Value::Bool(true)) => {}
                Ok(_) => {
                    let detail = self.message(rule, compiled, &context);
                    if compiled.uses_old || !unchanged {
                        self.errors.push(refusal(path, schema, rule, &detail));
                    }
                }
                Err(why) if why.starts_with(TOO_LONG) => {
                    self.over = true;
                    let what =
                        "no further validation rules will be run due to call cost exceeds limit for rule";
                    self.errors.push(invalid(&format!("'{why}': {what}: {name}")));
                }
                Err(why) if why.starts_with("no such overload") => {
                    let what = "call arguments did not match a supported operator, function or macro signature for rule";
                    self.errors.push(invalid(&format!("'{why}': {what}: {name}")));
                }
                Err(why) => self.errors.push(invalid(&format!("{why} evaluating rule: {name}"))),
            }
        }
    }

    /// What is said of a broken rule.
    fn message(&self, rule: &Rule, compiled: &Compiled, context: &cel::Context<'_>) -> String {
        let made =
            compiled.message.as_ref().and_then(|message| match message.evaluate(context, &self.budget) {
                Ok(cel::Value::String(text)) => Some(text.trim().to_owned()),
                _ => None,
            });
        let usable = |text: &String| !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
        made.filter(usable).unwrap_or_else(|| match &*rule.message {
            "" => format!("failed rule: {}", rule.rule.trim()),
            message => message.trim().to_owned(),
        })
    }
}

fn refusal(path: &Path, schema: &Schema, rule: &Rule, detail: &str) -> Error {
    let path = match field_path::normalised(&rule.field_path) {
        Some(field) => path.child(&field),
        None => path.clone(),
    };
    match &*rule.reason {
        "FieldValueForbidden" => Error::forbidden(&path, detail),
        "FieldValueRequired" => Error::required(&path, detail),
        "FieldValueDuplicate" => Error::duplicate(&path, schema.kind.name()),
        _ => Error::invalid(&path, schema.kind.name(), detail),
    }
}

/// A value as rules see it: what its schema names, under names that expressions can spell.
fn variable(value: &Value, schema: &Schema, root: bool) -> cel::Value {
    match value {
        Value::Object(fields) if root || schema.embedded => {
            let seen = |name: &str| META_FIELDS.contains(&name) || schema.member(name).is_some();
            map(fields.iter().filter(|(name, _)| seen(name)).map(|(name, value)| {
                let value = match (name.as_str(), schema.member(name)) {
                    ("metadata", _) => {
                        let names = ["name", "generateName"].into_iter();
                        map(names
                            .filter_map(|name| Some((name.to_owned(), cel::from_json(value.get(name)?)))))
                    }
                    (_, Some(inside)) => variable(value, inside, false),
                    _ => cel::from_json(value),
                };
                (escaped(name), value)
            }))
        }
        Value::Object(fields) if schema.entries().is_some() => {
            let entry = schema.entries();
            map(fields
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), variable(value, entry?, false)))))
        }
        Value::Object(fields) if schema.has_properties() => map(fields.iter().filter_map(|(name, value)| {
            Some((escaped(name), variable(value, schema.property(name)?, false)))
        })),
        Value::Array(items) => match schema.items.as_deref() {
            Some(inside) => list(items.iter().map(|item| variable(item, inside, false))),
            None => cel::from_json(value),
        },
        Value::String(text) if schema.kind == Kind::String => {
            let format = schema.checks.as_ref().and_then(|checks| checks.format.as_deref());
            match format {
                Some(format) => formatted(text, format),
                None => cel::from_json(value),
            }
        }
        // A whole number in a field of broken ones is one of these, too.
        Value::Number(number) if schema.kind == Kind::Number => {
            cel::Value::Float(number.as_f64().unwrap_or(f64::NAN))
        }
        Value::Number(number) if schema.kind == Kind::Integer && number.is_f64() => {
            cel::Value::Int(number.as_f64().unwrap_or_default() as i64)
        }
        value => cel::from_json(value),
    }
}

fn map(fields: impl Iterator<Item = (String, cel::Value)>) -> cel::Value {
    let map = fields.map(|(name, value)| (Key::String(Arc::new(name)), value)).collect();
    cel::Value::Map(Map { map: Arc::new(map) })
}

fn list(items: impl Iterator<Item = cel::Value>) -> cel::Value {
    cel::Value::List(Arc::new(items.collect()))
}

fn optional(value: Option<cel::Value>) -> cel::Value {
    cel::Value::Opaque(Arc::new(value.map_or_else(OptionalValue::none, OptionalValue::of)))
}

/// A string of a format that has a type of its own.
fn formatted(text: &str, format: &str) -> cel::Value {
    static CONVERSIONS: LazyLock<[Option<Expression>; 3]> = LazyLock::new(|| {
        let conversions = ["timestamp(text)", "timestamp(text + 'T00:00:00Z')", "duration(text)"];
        conversions
            .map(|source| Expression::compile(source, &Environment::of(&["text"]), cel::Kind::Any).ok())
    });
    let plain = || cel::Value::String(Arc::new(text.to_owned()));
    let conversion = match format {
        "date-time" | "datetime" => &CONVERSIONS[0],
        "date" => &CONVERSIONS[1],
        "duration" => &CONVERSIONS[2],
        "byte" => {
            return STANDARD
                .decode(text)
                .map_or_else(|_| plain(), |bytes| cel::Value::Bytes(Arc::new(bytes)));
        }
        _ => return plain(),
    };
    let mut context = cel::context();
    context.add_variable_from_value("text", plain());
    let converted = conversion.as_ref().and_then(|c| c.evaluate(&context, &Budget::new(FORMAT_STEPS)).ok());
    converted.unwrap_or_else(plain)
}

/// A property's name as expressions spell it.
pub(super) fn escaped(name: &str) -> String {
    if cel::RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn broken(spec: Value, new: Value, old: Option<Value>) -> Vec<String> {
        let schema = Schema::of(&json!({"type": "object", "properties": {"spec": spec}}));
        let whole =
            |spec: Value| json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec});
        let (new, old) = (whole(new), old.map(whole));
        check(&schema, &new, old.as_ref()).iter().map(ToString::to_string).collect()
    }

    fn object(rules: Value) -> Value {
        json!({"type": "object", "x-kubernetes-validations": rules, "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"}, "x-y": {"type": "string"}, "in": {"type": "string"},
            "when": {"type": "string", "format": "duration"}, "ratio": {"type": "number"},
            "names": {"type": "array", "items": {"type": "string"}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}}}})
    }

    #[test]
    fn rules_speak_of_the_value_they_stand_at() {
        let table = [
            (json!([{"rule": "self.min <= self.max"}]), json!({"min": 1, "max": 2}), vec![]),
            (
                json!([{"rule": "self.min <= self.max"}]),
                json!({"min": 3, "max": 2}),
                vec!["spec: Invalid value: \"object\": failed rule: self.min <= self.max"],
            ),
            (
                json!([{"rule": "self.min <= self.max", "message": "too small", "fieldPath": ".max", "reason": "FieldValueForbidden"}]),
                json!({"min": 3, "max": 2}),
                vec!["spec.max: Forbidden: too small"],
            ),
            (
                json!([{"rule": "self.min <= self.max", "message": "m", "messageExpression": "'max is ' + string(self.max)"}]),
                json!({"min": 3, "max": 2}),
                vec!["spec: Invalid value: \"object\": max is 2"],
            ),
            (
                json!([{"rule": "self.x__dash__y == 'a' && self.__in__ == 'b'"}]),
                json!({"x-y": "a", "in": "b"}),
                vec![],
            ),
            (json!([{"rule": "!has(self.min) || self.min > 0"}]), json!({}), vec![]),
            (
                json!([{"rule": "self.names.all(n, n.startsWith('a'))"}]),
                json!({"names": ["ab", "ac"]}),
                vec![],
            ),
            (
                json!([{"rule": "'k' in self.labels && self.labels['k'] == 'v'"}]),
                json!({"labels": {"k": "v"}}),
                vec![],
            ),
            (
                json!([{"rule": "self.when < duration('1h') && self.ratio == 1.0"}]),
                json!({"when": "5m", "ratio": 1}),
                vec![],
            ),
            (
                json!([{"rule": "self.min > 0"}]),
                json!({}),
                vec!["spec: Invalid value: \"object\": no such key: min evaluating rule: self.min > 0"],
            ),
        ];
        for (rules, value, expected) in table {
            assert_eq!(broken(object(rules.clone()), value, None), expected, "{rules}");
        }
    }

    #[test]
    fn rules_that_compare_are_asked_about_changes() {
        let keeps = json!([{"rule": "self.min == oldSelf.min", "message": "min is immutable"}]);
        let says = ["spec: Invalid value: \"object\": min is immutable"];
        assert!(broken(object(keeps.clone()), json!({"min": 1}), None).is_empty());
        assert_eq!(broken(object(keeps.clone()), json!({"min": 1}), Some(json!({"min": 2}))), says);
        assert!(broken(object(keeps), json!({"min": 1}), Some(json!({"min": 1, "max": 2}))).is_empty());
        let optional = json!([{"rule": "oldSelf.hasValue() || self.min == 0", "message": "starts at 0", "optionalOldSelf": true}]);
        assert_eq!(broken(object(optional.clone()), json!({"min": 1}), None).len(), 1);
        assert!(broken(object(optional), json!({"min": 1}), Some(json!({"min": 0}))).is_empty());
        // What was there before the rule was stays.
        let new_rule = json!([{"rule": "self.min > 5"}]);
        assert!(broken(object(new_rule.clone()), json!({"min": 1}), Some(json!({"min": 1}))).is_empty());
        assert_eq!(broken(object(new_rule), json!({"min": 2}), Some(json!({"min": 1}))).len(), 1);
    }

    #[test]
    fn rules_see_the_objects_name_and_items_of_lists() {
        let schema = Schema::of(&json!({"type": "object",
            "x-kubernetes-validations": [{"rule": "self.metadata.name.size() < 4", "message": "short names only"}],
            "properties": {"items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer",
                    "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}}}}));
        let object = |name: &str, items: Value| json!({"metadata": {"name": name}, "items": items});
        let old = object("a", json!([{"k": "x", "v": 1}, {"k": "y", "v": 5}]));
        let new = object("long", json!([{"k": "y", "v": 4}, {"k": "x", "v": 1}, {"k": "z", "v": 0}]));
        let found: Vec<String> = check(&schema, &new, Some(&old)).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "<nil>: Invalid value: \"object\": short names only",
                "items[0].v: Invalid value: \"integer\": failed rule: self >= oldSelf"
            ]
        );
    }

    #[test]
    fn a_rule_that_takes_too_long_ends() {
        let schema = Schema::of(&json!({"type": "object", "properties": {"l": {"type": "array",
            "items": {"type": "integer"},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}]}}}));
        let object = json!({"l": (0..400).collect::<Vec<i32>>()});
        let found: Vec<String> = check(&schema, &object, None).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("cost exceeds limit for rule"), "{found:?}");
    }
}
