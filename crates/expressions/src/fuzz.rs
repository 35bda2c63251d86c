//! Damaged expressions: whatever is written is compiled, checked, costed and evaluated, or refused.
//!
//! **Contract**: no panic, no overflow of the stack, and no expression that takes longer than its budget of steps.
//! `FUZZ_SECONDS` is how long it is tried (2 by default), `FUZZ_SEED` begins another sequence; a failure prints the
//! expression.

#![allow(clippy::disallowed_methods, reason = "what is looked for takes too long in real time")]

use super::*;
use component_base::{Clock, Rng};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest time for one expression, on a slow and busy machine with code that is not optimised.
const LONGEST: Duration = Duration::from_secs(30);

const SEEDS: [&str; 16] = [
    "self.items.all(i, i.name.startsWith('a') && i.size > 1)",
    "self.name in ['a', 'b', \"c\"] || !has(self.labels)",
    "self.items.map(i, i.size).exists_one(s, s == 3) ? self.name == 'x' : oldSelf.name != 'y'",
    "self.labels.all(k, self.labels[k].matches('^[a-z]+(-[a-z]+)*$'))",
    "self.?labels[?'a'].orValue('b').size() + 1 < 3",
    "self.items.filter(i, i.size in [1, 2, 3]).map(i, {'a': i.size, 'b': [i.name]}).size() == 0",
    "quantity(self.name).isLessThan(quantity('1Gi')) && isIP('10.0.0.1') && cidr('10.0.0.0/8').containsIP(ip('10.1.1.1'))",
    "url('https://example.com:80/a?b=c').getHost() == 'example.com' && self.name.split('.', 2).join('-').upperAscii() != ''",
    "self.name.replace('a', 'bb').replace('', self.name).substring(0, 1) == 'x'",
    "'%s %d %.3f %x'.format([self.name, 1, 2.5, 255]).contains('a')",
    "duration('1h').getHours() == 1 && timestamp('2024-01-01T00:00:00Z') + duration('1s') > timestamp('2023-01-01T00:00:00Z')",
    "[1, 2, 3].sum() == 6 && [3, 1].sort() == [1, 3] && ['a'].isSorted() && lists.range(5).reverse()[0] == 4",
    "self.items.all(a, self.items.all(b, self.items.all(c, a.size + b.size + c.size >= 0)))",
    "-self.items[0].size * 2 % 3 / 1 == -9223372036854775808 || double('1e308') * 10.0 > 1.0",
    "semver('1.2.3').major() == 1 && format.dns1123Label().validate(self.name).hasValue() && b'\\x00' == bytes('a')",
    "self.name.optMap(v, v + 'x').or(optional.none()).value() == '''a\nb''' && r'\\d' == \"\\u00e9\"",
];

const TOKENS: [&str; 44] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ".?",
    "[?",
    "?",
    ":",
    ",",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "&&",
    "||",
    "==",
    "<",
    "in",
    "'",
    "\"",
    "'''",
    "\\",
    "\\u0041",
    "é",
    "\u{1f600}",
    "9223372036854775807",
    "1e999",
    "0x",
    "1u",
    "null",
    "true",
    "self",
    "oldSelf",
    "has(",
    ".all(x, ",
    ".map(x, ",
    "type(",
    "dyn(",
    "//",
];

fn damaged(rng: &Rng) -> String {
    let pick = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap_or(0);
    let mut letters: Vec<char> = SEEDS[pick(SEEDS.len())].chars().collect();
    for _ in 0..pick(4) {
        let at = pick(letters.len() + 1);
        let end = (at + pick(12)).min(letters.len());
        let token = TOKENS[pick(TOKENS.len())];
        match pick(6) {
            0 => drop(letters.drain(at..end)),
            1 => {
                let copy = letters[at..end].to_vec();
                letters.splice(at..at, copy);
            }
            2 => {
                let other: Vec<char> = SEEDS[pick(SEEDS.len())].chars().collect();
                let from = pick(other.len());
                let to = from + pick(other.len() - from);
                letters.splice(at..end, other[from..to].iter().copied());
            }
            // Deep, but seldom: such expressions cost more than others.
            3 if pick(16) == 0 => drop(letters.splice(at..at, token.repeat(pick(3000)).chars())),
            _ => drop(letters.splice(at..end, token.chars())),
        }
    }
    letters.into_iter().collect()
}

struct Fields;

impl Objects for Fields {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        Some(match (object, field) {
            ("Self", "name") | ("Item", "name") => Type::String,
            ("Self", "items") => Type::list(Type::Object("Item".into())),
            ("Self", "labels") => Type::map(Type::String),
            ("Item", "size") => Type::Int,
            _ => return None,
        })
    }
}

/// One expression through everything; whether it was accepted, and what it came to.
fn try_one(source: &str) -> (bool, Option<Result<Value, String>>) {
    let this = std::sync::Arc::new(Declared::of(Type::Object("Self".into())));
    let variables = BTreeMap::from([("self".to_owned(), this.clone()), ("oldSelf".to_owned(), this)]);
    let checked = check(source, &Declarations { objects: &Fields, variables });
    let compiled = Expression::compile(source, &Environment::of(&["self", "oldSelf"]), Kind::Any);
    let items: Vec<_> = (0..300).map(|size| json!({"name": format!("n{size}"), "size": size})).collect();
    let object = json!({"name": "a-name", "labels": {"a": "b"}, "items": items});
    let value = compiled.ok().map(|expression| {
        let mut context = context();
        for name in ["self", "oldSelf"] {
            context.add_variable_from_value(name, from_json(&object));
        }
        expression.evaluate(&context, &Budget::new(10_000_000))
    });
    (checked.is_some_and(|checked| checked.is_ok()), value)
}

#[test]
fn any_expression_is_answered_in_time() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (span, seed) = (Duration::from_secs(number("FUZZ_SECONDS", 2)), number("FUZZ_SEED", 1));
    let rng = Rng::seeded(seed);
    let clock = Clock::system();
    let (start, mut tried, mut accepted, mut evaluated) = (clock.instant(), 0_u64, 0_u64, 0_u64);
    let mut sources: Vec<String> = SEEDS.iter().map(|source| (*source).to_owned()).collect();
    while start.elapsed() < span || tried < SEEDS.len() as u64 {
        let source = sources.pop().unwrap_or_else(|| damaged(&rng));
        let before = clock.instant();
        let outcome = std::panic::catch_unwind(|| try_one(&source));
        let took = before.elapsed();
        let (fits, value) = outcome.unwrap_or_else(|_| panic!("seed {seed}: a panic at {source:?}"));
        assert!(took < LONGEST, "seed {seed}: {took:?} for {source:?}");
        tried += 1;
        accepted += u64::from(fits);
        evaluated += u64::from(value.is_some());
    }
    assert!(
        accepted > 0 && evaluated > 0,
        "of {tried} expressions {accepted} fit, {evaluated} were evaluated"
    );
}

#[test]
fn deep_and_long_expressions_are_refused_or_evaluated() {
    let deep =
        |open: &str, close: &str, times: usize| format!("{}true{}", open.repeat(times), close.repeat(times));
    for times in [10, 90, 100, 1000, 10_000] {
        for source in [
            deep("(", ")", times),
            deep("[", "]", times),
            deep("!", "", times),
            deep("-", "", times),
            deep("true && ", "", times),
            deep("true ? true : ", "", times),
            deep("self.name + ", "", times),
            format!("self{}", ".a".repeat(times)),
            format!("self{}", "[0]".repeat(times)),
            format!("self{}", ".size()".repeat(times)),
            format!("{}true{}", "self.items.all(x, ".repeat(times), ")".repeat(times)),
        ] {
            try_one(&source);
        }
    }
}
