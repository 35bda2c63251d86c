//! From a template's nodes and an object to values.

use std::cmp::Ordering;

use serde_json::Value;

use super::{JsonPathError, Node, Step};

type Result<T> = std::result::Result<T, JsonPathError>;

/// Evaluates over one object; what it finds stays where it is.
pub(super) struct Evaluator {
    pub(super) allow_missing_keys: bool,
}

impl Evaluator {
    /// Hands each action's values to `emit`, in order; texts and literals are values too.
    pub(super) fn nodes<'a>(
        &self,
        nodes: &'a [Node],
        current: &'a Value,
        emit: &mut dyn FnMut(Vec<&'a Value>),
    ) -> Result<()> {
        for node in nodes {
            match node {
                Node::Text(text) => emit(vec![text]),
                Node::Action(steps) => emit(self.path(steps, current)?),
                Node::Range(steps, inner) => {
                    for item in self.path(steps, current)? {
                        self.nodes(inner, item, emit)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn path<'a>(&self, steps: &'a [Step], current: &'a Value) -> Result<Vec<&'a Value>> {
        let mut values = vec![current];
        for step in steps {
            let mut next = Vec::new();
            if *step == Step::Recursive {
                for value in &values {
                    descend(value, &mut next);
                }
                values = next;
                continue;
            }
            let after_descent = steps.contains(&Step::Recursive);
            for value in &values {
                self.step(step, value, after_descent, &mut next)?;
            }
            values = next;
        }
        Ok(values)
    }

    fn step<'a>(
        &self,
        step: &'a Step,
        value: &'a Value,
        lenient: bool,
        out: &mut Vec<&'a Value>,
    ) -> Result<()> {
        match step {
            // `$` and `@` are both the current object: a range moves them.
            Step::Root => out.push(value),
            Step::Literal(literal) => out.push(literal),
            Step::Field(name) if name.is_empty() => out.push(value),
            Step::Field(name) => match value {
                Value::Object(map) => match map.get(name) {
                    Some(found) => out.push(found),
                    None if lenient || self.allow_missing_keys => {}
                    None => return Err(JsonPathError(format!("{name} is not found"))),
                },
                Value::Null => {}
                _ if lenient || self.allow_missing_keys => {}
                _ => return Err(JsonPathError(format!("{name} is not found"))),
            },
            Step::Wildcard => match value {
                Value::Array(items) => out.extend(items),
                Value::Object(map) => {
                    out.extend(crate::golang::sorted(map).into_iter().map(|(_, value)| value))
                }
                _ => {}
            },
            Step::Slice { from, to, step, single } => match value {
                Value::Array(items) => slice(items, *from, *to, *step, *single, out)?,
                Value::Null => {}
                _ if lenient => {}
                _ => {
                    return Err(JsonPathError(format!(
                        "{} is not array or slice",
                        crate::golang::plain(value)
                    )));
                }
            },
            Step::Union(paths) => {
                for path in paths {
                    out.extend(self.path(path, value)?);
                }
            }
            Step::Filter(left, operator, right) => {
                let items: Vec<&Value> = match value {
                    Value::Array(items) => items.iter().collect(),
                    Value::Object(map) => vec![value].into_iter().filter(|_| !map.is_empty()).collect(),
                    Value::Null => Vec::new(),
                    _ if lenient => Vec::new(),
                    _ => {
                        return Err(JsonPathError(format!(
                            "{} is not array or slice and cannot be filtered",
                            crate::golang::plain(value)
                        )));
                    }
                };
                for item in items {
                    if self.matches(item, left, operator, right)? {
                        out.push(item);
                    }
                }
            }
            Step::Recursive => descend(value, out),
        }
        Ok(())
    }

    fn matches(&self, item: &Value, left: &[Step], operator: &str, right: &[Step]) -> Result<bool> {
        let quiet = Evaluator { allow_missing_keys: true };
        let left = quiet.path(left, item)?;
        if operator == "exists" {
            return Ok(!left.is_empty());
        }
        let right = quiet.path(right, item)?;
        if left.len() > 1 || right.len() > 1 {
            return Err(JsonPathError("can only compare one element at a time".to_owned()));
        }
        let (Some(left), Some(right)) = (left.first(), right.first()) else { return Ok(false) };
        let order = order(left, right);
        Ok(match operator {
            "==" => order == Some(Ordering::Equal),
            "!=" => order != Some(Ordering::Equal),
            "<" => order == Some(Ordering::Less),
            "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            ">" => order == Some(Ordering::Greater),
            _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        })
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}

/// Every object and list below a value, itself first.
fn descend<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => {
            out.push(value);
            for item in items {
                descend(item, out);
            }
        }
        Value::Object(map) => {
            out.push(value);
            for (_, item) in crate::golang::sorted(map) {
                descend(item, out);
            }
        }
        _ => {}
    }
}

fn slice<'a>(
    items: &'a [Value],
    from: Option<i64>,
    to: Option<i64>,
    step: Option<i64>,
    single: bool,
    out: &mut Vec<&'a Value>,
) -> Result<()> {
    let length = items.len() as i64;
    let place = |index: i64| if index < 0 { index + length } else { index };
    let start = place(from.unwrap_or(0));
    let outside =
        |index: i64| JsonPathError(format!("array index out of bounds: index {index}, length {length}"));
    if single {
        return match usize::try_from(start).ok().and_then(|start| items.get(start)) {
            Some(item) => {
                out.push(item);
                Ok(())
            }
            None => Err(outside(from.unwrap_or(0))),
        };
    }
    let step = step.unwrap_or(1);
    if step < 1 {
        return Err(JsonPathError("step must be > 0".to_owned()));
    }
    let end = place(to.unwrap_or(length)).min(length);
    let start = start.max(0);
    if start > end && to.is_some() {
        return Err(JsonPathError(format!("starting index {start} is greater than ending index {end}")));
    }
    let mut at = start;
    while at < end {
        out.push(&items[at as usize]);
        at = at.saturating_add(step);
    }
    Ok(())
}
