//! Whether the rules of a schema fit its types, and what they may cost.
//!
//! **Contract**: pure; asked of schemas that are right otherwise. A rule costs what one evaluation may, times the number of
//! values that there may be.
//! **Not here**: whether a rule can be parsed, and what it may refer to (`open_api`).
//! **Upstream**: `ValidateCustomResourceDefinitionOpenAPISchema` and `celcontext.go` of
//! `apiextensions-apiserver/pkg/apis/apiextensions/validation`.

use super::declared::Seen;
use super::{RULES, flag, inner, list, properties};
use crate::cel::{self, Checked, Declarations, Type};
use api::field::{Error, ErrorList, Path};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the expressions of a schema may cost, each and all. **Upstream**: `StaticEstimatedCostLimit`,
/// `StaticEstimatedCRDCostLimit`.
const LIMIT: u64 = 10_000_000;
const TOTAL_LIMIT: u64 = 100_000_000;
/// Expressions that are named if all together cost too much.
const NAMED: usize = 4;

/// All errors.
pub(super) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut checks = Checks::default();
    checks.walk(path, schema, true, Some(1));
    checks.finish(path)
}

#[derive(Default)]
struct Checks {
    errors: ErrorList,
    total: u64,
    /// Expressions that cost much, and what.
    expensive: Vec<(Path, u64)>,
}

impl Checks {
    /// `number`: how many values there may be; `None`: as many as a request holds.
    fn walk(&mut self, path: &Path, schema: &Value, root: bool, number: Option<u64>) {
        if !list(schema, RULES).is_empty() {
            self.rules(path, schema, root, number);
        }
        let times = |limit: &str| {
            let limit = schema[limit].as_i64().map(|limit| u64::try_from(limit).unwrap_or(0));
            Some(number?.saturating_mul(limit?))
        };
        let embedded = |schema: &Value| flag(schema, "x-kubernetes-embedded-resource");
        if let Some(values) = inner(schema, "additionalProperties") {
            self.walk(&path.child("additionalProperties"), values, embedded(values), times("maxProperties"));
        }
        for (name, property) in properties(schema) {
            self.walk(&path.child("properties").key(name), property, embedded(property), number);
        }
        if let Some(items) = inner(schema, "items") {
            self.walk(&path.child("items"), items, embedded(items), times("maxItems"));
        }
    }

    fn rules(&mut self, path: &Path, schema: &Value, root: bool, number: Option<u64>) {
        let path = path.child(RULES);
        let Some(seen) = Seen::by(schema, root) else {
            let why = format!(
                "rule declared on schema that does not support validation rules type: '{}' x-kubernetes-preserve-unknown-fields: '{}'",
                super::type_of(schema),
                flag(schema, "x-kubernetes-preserve-unknown-fields")
            );
            self.errors.push(Error::invalid(&path, schema[RULES].clone(), &why));
            return;
        };
        let number = number.unwrap_or(seen.repeated);
        for (index, rule) in list(schema, RULES).iter().enumerate() {
            let path = path.index(index);
            let text = |name: &str| rule[name].as_str().map(str::trim).filter(|text| !text.is_empty());
            if let Some(source) = text("rule") {
                let at = path.child("rule");
                match checked(source, &seen, rule) {
                    Ok(Some(Checked { ty, .. })) if !matches!(ty, Type::Bool | Type::Dyn) => {
                        let detail = "cel expression must evaluate to a bool";
                        self.errors.push(Error::invalid(&at, internal(rule), detail));
                    }
                    Ok(Some(Checked { cost, .. })) => {
                        self.spend(&at, cost.saturating_mul(number), "estimated rule cost");
                    }
                    Ok(None) => {}
                    Err(why) => {
                        let detail = format!("compilation failed: {why}");
                        self.errors.push(Error::invalid(&at, internal(rule), &detail));
                    }
                }
            }
            if let Some(source) = text("messageExpression") {
                let at = path.child("messageExpression");
                match checked(source, &seen, rule) {
                    Ok(Some(Checked { ty, .. })) if !matches!(ty, Type::String | Type::Dyn) => {
                        let detail = "messageExpression must evaluate to a string";
                        self.errors.push(Error::invalid(&at, internal(rule), detail));
                    }
                    Ok(Some(Checked { cost, .. })) => {
                        self.spend(&at, cost, "estimated messageExpression cost");
                    }
                    Ok(None) => {}
                    Err(why) => {
                        let detail = format!("messageExpression compilation failed: {why}");
                        self.errors.push(Error::invalid(&at, internal(rule), &detail));
                    }
                }
            }
        }
    }

    fn spend(&mut self, path: &Path, cost: u64, what: &str) {
        if cost > LIMIT {
            self.errors.push(Error::forbidden(path, &too_much(what, cost, LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        // What is less than a hundredth of all is not what costs too much.
        if cost >= TOTAL_LIMIT / 100 {
            self.expensive.push((path.clone(), cost));
            self.expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.expensive.truncate(NAMED);
        }
    }

    fn finish(mut self, path: &Path) -> ErrorList {
        const WHOLE: &str = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        if self.total > TOTAL_LIMIT {
            for (path, _) in &self.expensive {
                let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
                self.errors.push(Error::forbidden(path, detail));
            }
            self.errors.push(Error::forbidden(path, &too_much(WHOLE, self.total, TOTAL_LIMIT)));
        }
        self.errors
    }
}

/// A rule as upstream prints it: its internal type.
pub(super) fn internal(rule: &Value) -> Value {
    let text = |name: &str| rule[name].as_str().unwrap_or_default();
    json!({
        "Rule": text("rule"), "Message": text("message"), "MessageExpression": text("messageExpression"),
        "Reason": rule["reason"], "FieldPath": text("fieldPath"), "OptionalOldSelf": rule["optionalOldSelf"],
    })
}

/// What is known of an expression of a rule; `None` if it cannot be parsed.
fn checked(source: &str, seen: &Seen, rule: &Value) -> Result<Option<Checked>, String> {
    let mut old = Arc::clone(&seen.this);
    if rule["optionalOldSelf"] == true {
        let optional = Type::Optional(Arc::new(old.ty.clone()));
        old = Arc::new(cel::Declared { ty: optional, ..cel::Declared::clone(&old) });
    }
    let variables = [("self", Arc::clone(&seen.this)), ("oldSelf", old)];
    let variables: BTreeMap<_, _> = variables.map(|(name, declared)| (name.to_owned(), declared)).into();
    cel::check(source, &Declarations { objects: seen.objects(), variables }).transpose()
}

fn too_much(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(schema: Value) -> Vec<String> {
        check(&Path::new("s"), &schema).iter().map(ToString::to_string).collect()
    }

    fn with_rule(rule: &str, limit: Option<u64>) -> Value {
        let mut names = json!({"type": "array", "items": {"type": "string", "maxLength": 10}});
        if let Some(limit) = limit {
            names["maxItems"] = limit.into();
        }
        json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["min"],
            "x-kubernetes-validations": [{"rule": rule}],
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "ratio": {"type": "number"},
                "name": {"type": "string"}, "in-dash": {"type": "boolean"}, "names": names,
                "port": {"x-kubernetes-int-or-string": true}, "free": {"x-kubernetes-preserve-unknown-fields": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "since": {"type": "string", "format": "date-time"},
                "ports": {"type": "array", "maxItems": 10, "items": {"type": "object", "properties": {
                    "number": {"type": "integer"}}}}}}}})
    }

    #[test]
    fn rules_fit_the_types_of_the_schema() {
        for fine in [
            "self.min <= self.max",
            "has(self.name) && self.name.startsWith('a') || self.in__dash__dash",
            "self.ports.all(p, p.number > 0) && self.ports.map(p, p.number).exists(n, n == 3)",
            "self.ports.filter(p, p.number > 1).size() == 1 && self.ports.exists_one(p, p.number == 1)",
            "'a' in self.labels && self.labels['a'] == 'b' && self.labels.a == 'b' && self.labels.all(k, k != self.labels[k])",
            "type(self.port) == int ? self.port > 1 : self.port.endsWith('%')",
            "self.?name.orValue('x') == 'x' && self.ratio > 1 && self.since < timestamp('2020-01-01T00:00:00Z')",
            "self == oldSelf && self.ports[0].number == 1 && [1, 2].exists(n, n == self.min)",
            "self.name in ['a', 'b'] && self.ports.size() + 1 > 2 && (self.min > 1 ? 'a' : 'b') == self.name",
            "'%s is %d'.format([self.name, self.min]) != string(cidr('10.0.0.0/8').masked())",
            "self.ports.all(i, p, p.number > i) && self.labels.exists(k, v, k != v)",
            "self.ports.transformList(i, p, i + p.number)[0] > 1 && self.ports.transformMap(i, p, p.number > i, 'x')[0] == 'x'",
            "quantity('1').isLessThan(quantity('2')) && isIP(self.name) && self.name.split('.').size() > 1",
        ] {
            assert_eq!(errors(with_rule(fine, Some(5))), Vec::<String>::new(), "{fine}");
        }
        let table = [
            ("self.nope == 1", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^"),
            ("has(self.nope)", "ERROR: <input>:1:4: undefined field 'nope'\n | has(self.nope)\n | ...^"),
            ("self.free.x == 1", "<input>:1:5: undefined field 'free'"),
            (
                "self.min > 1 && self.max > 'x'",
                "<input>:1:26: found no matching overload for '_>_' applied to '(int, string)'",
            ),
            (
                "self.min.startsWith('a')",
                "1:20: found no matching overload for 'startsWith' applied to 'int.(string)'",
            ),
            ("self.ratio == 1", "1:12: found no matching overload for '_==_' applied to '(double, int)'"),
            ("self.min.x", "<input>:1:9: type 'int' does not support field selection"),
            (
                "self.name.all(c, c == 'a')",
                "<input>:1:5: expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)",
            ),
            (
                "self.ports.all(p,\n p.nope == 1)",
                "ERROR: <input>:2:3: undefined field 'nope'\n |  p.nope == 1)\n | ..^",
            ),
            ("self.ports.all(i, p, p.nope == i)", "<input>:1:23: undefined field 'nope'"),
            (
                "self.labels.exists(k, v, v == 1)",
                "found no matching overload for '_==_' applied to '(string, int)'",
            ),
            ("self.min in [1, 'a']", "<input>:1:17: expected type 'int' but found 'string'"),
            (
                "self.nope && self.other",
                "undefined field 'nope'\n | self.nope && self.other\n | ....^\nERROR: <input>:1:18: undefined",
            ),
            ("self.min + 1", "cel expression must evaluate to a bool"),
            ("self.ports.map(p, p.number)", "cel expression must evaluate to a bool"),
        ];
        for (rule, told) in table {
            let found = errors(with_rule(rule, Some(5)));
            assert!(found.len() == 1 && found[0].contains(told), "{rule}: {found:#?}");
        }
    }

    #[test]
    fn rules_that_may_cost_too_much_are_refused() {
        let square = "self.names.all(a, self.names.all(b, a == b))";
        assert_eq!(errors(with_rule(square, Some(100))), Vec::<String>::new());
        let told = "s.properties[spec].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of ";
        let [first, contributed, total] = errors(with_rule(square, None)).try_into().expect("three errors");
        assert!(
            first.starts_with(told) && first.contains("factor of more than 100x (try simplifying"),
            "{first}"
        );
        assert!(contributed.contains("contributed to estimated rule cost total"), "{contributed}");
        assert!(
            total.starts_with("s: Forbidden: x-kubernetes-validations estimated rule cost total for entire"),
            "{total}"
        );
        let some = errors(with_rule(square, Some(1200)));
        assert!(some.len() == 1 && some[0].starts_with(told) && !some[0].contains("100x"), "{some:?}");
        // A rule at what there may be many of counts as often.
        let many = json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self.contains('x')"}]}});
        let many = errors(json!({"type": "object", "properties": {"many": many}}));
        assert!(many.iter().any(|error| error.contains("more than 100x")), "{many:?}");
    }
}
