//! Running a template over an object.

use serde_json::Value;

use super::functions::{self, truth};
use super::{Node, Operand, Pipeline};
use crate::output::{json::sorted, plain};

/// Output and variables of one run.
pub(super) struct Run<'a> {
    root: &'a Value,
    allow_missing_keys: bool,
    variables: Vec<(String, Value)>,
    out: String,
}

impl<'a> Run<'a> {
    pub(super) fn new(root: &'a Value, allow_missing_keys: bool) -> Self {
        let variables = vec![("$".to_owned(), root.clone())];
        Self { root, allow_missing_keys, variables, out: String::new() }
    }

    /// The whole output, or `output:1:4: executing "output" at …`.
    pub(super) fn whole(mut self, nodes: &[Node]) -> Result<String, String> {
        self.nodes(nodes, &self.root.clone())?;
        Ok(self.out)
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let known = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => self.out += text,
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out += &shown(&value);
                    }
                }
                Node::If(condition, body, otherwise) => {
                    let scope = self.variables.len();
                    let chosen = if truth(&self.pipeline(condition, dot)?) { body } else { otherwise };
                    self.nodes(chosen, dot)?;
                    self.variables.truncate(scope);
                }
                Node::With(subject, body, otherwise) => {
                    let scope = self.variables.len();
                    let value = self.pipeline(subject, dot)?;
                    if truth(&value) {
                        self.nodes(body, &value)?
                    } else {
                        self.nodes(otherwise, dot)?
                    }
                    self.variables.truncate(scope);
                }
                Node::Range(subject, body, otherwise) => self.range(subject, body, otherwise, dot)?,
            }
        }
        self.variables.truncate(known);
        Ok(())
    }

    fn range(
        &mut self,
        subject: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), String> {
        let scope = self.variables.len();
        let value = self.commands(subject, dot)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::Array(items) => {
                items.iter().enumerate().map(|(index, item)| (index.into(), item.clone())).collect()
            }
            Value::Object(map) => {
                sorted(map).into_iter().map(|(key, item)| (Value::from(key.as_str()), item.clone())).collect()
            }
            Value::Null => Vec::new(),
            other => {
                return Err(failure(subject, &format!("range can't iterate over {}", plain(other))));
            }
        };
        for (key, item) in &items {
            match subject.variables.as_slice() {
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second] => {
                    self.variables.push((first.clone(), key.clone()));
                    self.variables.push((second.clone(), item.clone()));
                }
                _ => {}
            }
            self.nodes(body, item)?;
            self.variables.truncate(scope);
        }
        if items.is_empty() { self.nodes(otherwise, dot) } else { Ok(()) }
    }

    /// A pipeline's value; its variable is set.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipeline, dot)?;
        if let Some(name) = pipeline.variables.first() {
            let known = self.variables.iter_mut().rev().find(|(other, _)| other == name);
            match known {
                Some((_, old)) if pipeline.assigns => *old = value.clone(),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last: Option<Value> = None;
        for command in &pipeline.commands {
            let (first, rest) = command.split_first().expect("the parser makes no empty command");
            let Operand::Function(name) = first else {
                if !rest.is_empty() || last.is_some() {
                    return Err(failure(pipeline, "can't give argument to non-function"));
                }
                last = Some(self.operand(first, pipeline, dot)?);
                continue;
            };
            let mut arguments = Vec::new();
            for one in rest {
                let value = self.operand(one, pipeline, dot)?;
                // `and` and `or` stop at the argument that decides.
                let decided = name == "and" && !truth(&value) || name == "or" && truth(&value);
                arguments.push(value);
                if decided {
                    break;
                }
            }
            arguments.extend(last.take());
            last = Some(
                functions::call(name, &arguments)
                    .map_err(|text| failure(pipeline, &format!("error calling {name}: {text}")))?,
            );
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn operand(&mut self, operand: &Operand, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(path) => self.fields(dot.clone(), path, pipeline),
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(other, _)| other == name);
                let value = found
                    .map(|(_, value)| value.clone())
                    .ok_or_else(|| failure(pipeline, &format!("undefined variable: {name}")))?;
                self.fields(value, path, pipeline)
            }
            Operand::Function(name) => functions::call(name, &[])
                .map_err(|text| failure(pipeline, &format!("error calling {name}: {text}"))),
            Operand::Nested(inner, path) => {
                let value = self.pipeline(inner, dot)?;
                self.fields(value, path, pipeline)
            }
        }
    }

    fn fields(&self, value: Value, path: &[String], pipeline: &Pipeline) -> Result<Value, String> {
        let mut value = value;
        for name in path {
            let at = |text: String| {
                let (line, start) = pipeline.place.split_once(':').unwrap_or((&pipeline.place, "0"));
                // Go names the place of a chain by its second link.
                let before = if path.len() > 1 { path[0].len() + 1 } else { 0 };
                let column = start.parse::<usize>().unwrap_or(0) + before;
                format!("output:{line}:{column}: executing \"output\" at <.{}>: {text}", path.join("."))
            };
            value = match value {
                Value::Object(mut map) => match map.remove(name) {
                    Some(found) => found,
                    None if self.allow_missing_keys => Value::Null,
                    None => return Err(at(format!("map has no entry for key {name:?}"))),
                },
                Value::Null if self.allow_missing_keys => Value::Null,
                Value::Null => return Err(at(format!("nil pointer evaluating interface {{}}.{name}"))),
                _ => return Err(at(format!("can't evaluate field {name} in type interface {{}}"))),
            };
        }
        Ok(value)
    }
}

fn failure(pipeline: &Pipeline, text: &str) -> String {
    format!("output:{}: executing \"output\": {text}", pipeline.place)
}

/// A value as an action prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        other => plain(other),
    }
}
