//! Label and field selectors: parsing, printing, matching.
//!
//! **Contract**: error texts are upstream's; a handler answers them with 400.
//! **Upstream**: `k8s.io/apimachinery/pkg/labels`, `pkg/fields`.

use crate::field::{Error as FieldError, Path};
use crate::names;
use serde_json::Value;
use std::fmt;

mod field;
mod lexer;

pub use field::{FieldRequirement, FieldSelector};
use lexer::{Lexer, Token};

/// What a requirement asks of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key = value`, `key in (…)`
    In,
    /// `key != value`, `key notin (…)`; a missing key fulfils it
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key > 1`
    GreaterThan,
    /// `key < 1`
    LessThan,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What is asked.
    pub operator: Operator,
    /// The values it is compared with, sorted.
    pub values: Vec<String>,
}

impl Requirement {
    /// A requirement, if it makes sense.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, String> {
        if let Some(error) = names::qualified_name(key).first() {
            // Upstream has no path here, and prints it so.
            let error = FieldError::invalid(&Path::new("<nil>"), key, error);
            return Err(error.to_string());
        }
        let path = Path::new("values");
        let shown = || Value::from(values.clone());
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                let detail = "for 'in', 'notin' operators, values set can't be empty";
                return Err(FieldError::invalid(&path, shown(), detail).to_string());
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                let detail = "values set must be empty for exists and does not exist";
                return Err(FieldError::invalid(&path, shown(), detail).to_string());
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                let detail = "for 'Gt', 'Lt' operators, exactly one value is required";
                return Err(FieldError::invalid(&path, shown(), detail).to_string());
            }
            Operator::GreaterThan | Operator::LessThan if values[0].parse::<i64>().is_err() => {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(FieldError::invalid(&path.index(0), values[0].as_str(), detail).to_string());
            }
            _ => {}
        }
        for (i, value) in values.iter().enumerate() {
            if let Some(error) = names::label_value(value).first() {
                return Err(FieldError::invalid(&path.index(i).key(key), value.as_str(), error).to_string());
            }
        }
        values.sort();
        values.dedup();
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// Whether a label's value (or its absence) fulfils it.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|x| x == v);
        let compare = |f: fn(&i64, &i64) -> bool| {
            let number = value.and_then(|v| v.parse::<i64>().ok());
            let bound = self.values.first().and_then(|v| v.parse::<i64>().ok());
            matches!((number, bound), (Some(n), Some(b)) if f(&n, &b))
        };
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compare(i64::gt),
            Operator::LessThan => compare(i64::lt),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match (self.operator, self.values.len()) {
            (Operator::In, 1) => write!(f, "{key}={values}"),
            (Operator::In, _) => write!(f, "{key} in ({values})"),
            (Operator::NotIn, 1) => write!(f, "{key}!={values}"),
            (Operator::NotIn, _) => write!(f, "{key} notin ({values})"),
            (Operator::Exists, _) => write!(f, "{key}"),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::GreaterThan, _) => write!(f, "{key}>{values}"),
            (Operator::LessThan, _) => write!(f, "{key}<{values}"),
        }
    }
}

/// Requirements that must all be fulfilled; without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// The requirements, by key.
    pub requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Parses `app=web,tier in (a,b),!legacy`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lexer = Lexer::new(text);
        let mut requirements = Vec::new();
        loop {
            match lexer.peek_value() {
                (Token::Identifier, _) | (Token::Not, _) => {
                    let requirement = parse_requirement(&mut lexer)
                        .map_err(|error| format!("unable to parse requirement: {error}"))?;
                    requirements.push(requirement);
                    match lexer.next_value() {
                        (Token::End, _) => break,
                        (Token::Comma, _) => match lexer.peek_value() {
                            (Token::Identifier | Token::Not, _) => {}
                            (_, found) => {
                                return Err(format!("found '{found}', expected: identifier after ','"));
                            }
                        },
                        (_, found) => {
                            return Err(format!("found '{found}', expected: ',' or 'end of string'"));
                        }
                    }
                }
                (Token::End, _) => break,
                (_, found) => {
                    return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
                }
            }
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// From a `metav1.LabelSelector`: absent selects nothing, empty selects everything.
    pub fn from_json(selector: &Value) -> Result<Self, String> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or("").to_owned();
            requirements.push(Requirement::new(key, Operator::In, vec![value])?);
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let operator = match expression["operator"].as_str().unwrap_or("") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|v| v.as_str().map(str::to_owned)).collect();
            requirements.push(Requirement::new(expression["key"].as_str().unwrap_or(""), operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// From a `metav1.LabelSelector` as components have it: absent, or what validation refuses, selects nothing.
    pub fn from_object(
        selector: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    ) -> Self {
        let value = selector.and_then(|selector| serde_json::to_value(selector).ok());
        value.and_then(|value| Self::from_json(&value).ok()).unwrap_or_else(Self::nothing)
    }

    /// Whether an object with these labels is selected.
    pub fn selects(&self, labels: Option<&std::collections::BTreeMap<String, String>>) -> bool {
        self.matches(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
    }

    /// From a plain map of labels, as a Service has it; an empty map selects nothing.
    pub fn from_map(labels: &Value) -> Self {
        let requirements: Vec<_> = labels
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![value.as_str().unwrap_or("").to_owned()],
            })
            .collect();
        Self { nothing: requirements.is_empty(), requirements }
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether labels, given by lookup, are selected.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn parse_requirement(lexer: &mut Lexer<'_>) -> Result<Requirement, String> {
    let (mut token, mut literal) = lexer.next_value();
    let absent = token == Token::Not;
    if absent {
        (token, literal) = lexer.next_value();
    }
    if token != Token::Identifier {
        return Err(format!("found '{literal}', expected: identifier"));
    }
    let key = literal;
    if absent {
        return Requirement::new(key, Operator::DoesNotExist, Vec::new());
    }
    if matches!(lexer.peek_operator().0, Token::End | Token::Comma) {
        return Requirement::new(key, Operator::Exists, Vec::new());
    }
    match lexer.next_operator() {
        (Token::In, _) => Requirement::new(key, Operator::In, parse_values(lexer)?),
        (Token::NotIn, _) => Requirement::new(key, Operator::NotIn, parse_values(lexer)?),
        (Token::Equals, _) => Requirement::new(key, Operator::In, parse_exact(lexer)?),
        (Token::NotEquals, _) => Requirement::new(key, Operator::NotIn, parse_exact(lexer)?),
        (Token::Greater, _) => Requirement::new(key, Operator::GreaterThan, parse_exact(lexer)?),
        (Token::Less, _) => Requirement::new(key, Operator::LessThan, parse_exact(lexer)?),
        (_, found) => Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt")),
    }
}

fn parse_exact(lexer: &mut Lexer<'_>) -> Result<Vec<String>, String> {
    if matches!(lexer.peek_value().0, Token::End | Token::Comma) {
        return Ok(vec![String::new()]);
    }
    match lexer.next_value() {
        (Token::Identifier, value) => Ok(vec![value.to_owned()]),
        (_, found) => Err(format!("found '{found}', expected: identifier")),
    }
}

fn parse_values(lexer: &mut Lexer<'_>) -> Result<Vec<String>, String> {
    match lexer.next_value() {
        (Token::Open, _) => {}
        (_, found) => return Err(format!("found '{found}' expected: '('")),
    }
    let mut values = Vec::new();
    let mut open = true;
    loop {
        match lexer.next_value() {
            (Token::Identifier, value) if open => {
                values.push(value.to_owned());
                open = false;
            }
            (Token::Comma, _) => {
                if open {
                    values.push(String::new());
                }
                open = true;
            }
            (Token::Close, _) => {
                if open && !values.is_empty() {
                    values.push(String::new());
                }
                return Ok(values);
            }
            (_, found) if values.is_empty() => {
                return Err(format!("found '{found}', expected: ',', ')' or identifier"));
            }
            (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
        }
    }
}

#[cfg(test)]
mod tests;
