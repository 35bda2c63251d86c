//! `--sort-by`: the order of objects by one field.
//!
//! **Contract.** Stable; numbers by value, times by instant, quantities by amount, strings in natural order; an object
//! without the field, or with a null there, comes first.
//! **Upstream.** `kubectl/pkg/cmd/get/sorter.go` (behaviour).

use api::quantity::Quantity;
use std::cmp::Ordering;

use serde_json::Value;

use super::jsonpath::{self, Template};
use crate::report::{Error, message};

/// The field to sort by.
#[derive(Debug)]
pub(crate) struct SortBy {
    template: Template,
    field: String,
}

impl SortBy {
    /// Parses the flag's value, with or without braces.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let field = jsonpath::relax(text).map_err(|error| message(error.to_string()))?;
        let template = Template::parse(&field).map_err(|error| message(error.to_string()))?;
        Ok(Self { template, field })
    }

    /// Sorts `items`, taking each one's object by `object`.
    pub(crate) fn sort<T>(&self, items: &mut [T], object: impl Fn(&T) -> &Value) -> Result<(), Error> {
        let mut keys: Vec<(usize, Option<&Value>)> = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let found = self.template.find(object(item)).unwrap_or_default();
            keys.push((index, found.into_iter().flatten().next()));
        }
        if !items.is_empty() && keys.iter().all(|(_, key)| key.is_none()) {
            return Err(message(format!(
                "couldn't find any field with path {:?} in the list of objects",
                self.field
            )));
        }
        keys.sort_by(|left, right| compare(left.1, right.1));
        let mut places = vec![0; keys.len()];
        for (place, (index, _)) in keys.iter().enumerate() {
            places[*index] = place;
        }
        // Carries the permutation out in place.
        for index in 0..items.len() {
            while places[index] != index {
                let target = places[index];
                items.swap(index, target);
                places.swap(index, target);
            }
        }
        Ok(())
    }
}

fn compare(left: Option<&Value>, right: Option<&Value>) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(Value::Null), Some(Value::Null)) => Ordering::Equal,
        (Some(Value::Null), _) => Ordering::Less,
        (_, Some(Value::Null)) => Ordering::Greater,
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(Value::String(a)), Some(Value::String(b))) => {
            match (a.parse::<Quantity>(), b.parse::<Quantity>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                _ => natural(a, b),
            }
        }
        (Some(a), Some(b)) => super::plain(a).cmp(&super::plain(b)),
    }
}

/// Runs of digits by value, the rest by character.
fn natural(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        let (x, y) = (chunk(a), chunk(b));
        if x.is_empty() || y.is_empty() {
            return x.len().cmp(&y.len());
        }
        let number = |text: &str| text.parse::<u128>().ok();
        let order = match (number(x), number(y)) {
            (Some(p), Some(q)) => p.cmp(&q).then_with(|| x.len().cmp(&y.len())),
            _ => x.cmp(y),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[x.len()..], &b[y.len()..]);
    }
}

fn chunk(text: &str) -> &str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sorts_by_what_the_field_is() {
        for (values, want) in [
            (vec![json!("b10"), json!("b9"), json!("a")], vec![json!("a"), json!("b9"), json!("b10")]),
            (vec![json!(10), json!(9.5)], vec![json!(9.5), json!(10)]),
            (vec![json!("1Gi"), json!("500Mi"), json!("2")], vec![json!("2"), json!("500Mi"), json!("1Gi")]),
        ] {
            let mut items: Vec<Value> = values.into_iter().map(|value| json!({"k": value})).collect();
            SortBy::parse(".k").unwrap().sort(&mut items, |item| item).unwrap();
            assert_eq!(items.iter().map(|item| item["k"].clone()).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        let mut items = vec![json!({"a": 1})];
        assert!(SortBy::parse("{.nope}").unwrap().sort(&mut items, |item| item).is_err());
    }
}
