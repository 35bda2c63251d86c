//! kubectl's JSONPath: text with `{…}` actions.
//!
//! **Contract.** `{.a.b}`, `{['a']}`, `{[0,2]}`, `{[-1]}`, `{[0:3:2]}`, `{[*]}`, `{..a}`, `{.a,.b}` in unions of brackets,
//! `{[?(@.x=="y")]}`, `{range …}…{end}`, `{"text\n"}`, `{@}`, `{$}`. Text outside braces is copied.
//! **Not here.** RFC 9535: this dialect is older and different.
//! **Upstream.** `client-go/util/jsonpath` (behaviour).

mod evaluate;
mod parse;

use crate::golang;
use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    nodes: Vec<Node>,
    allow_missing_keys: bool,
}

/// One piece of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// Copied text: a string.
    Text(Value),
    /// One action: several paths print one after the other.
    Action(Vec<Step>),
    /// `{range path}` with what it repeats.
    Range(Vec<Step>, Vec<Node>),
}

impl Node {
    fn text(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// `$`, or `@` inside a filter: start again from the given object.
    Root,
    /// `.a`, `['a']`
    Field(String),
    /// `[from:to:step]`; a single index has `single`.
    Slice { from: Option<i64>, to: Option<i64>, step: Option<i64>, single: bool },
    /// `*`
    Wildcard,
    /// `..`
    Recursive,
    /// `[a,b]`
    Union(Vec<Vec<Step>>),
    /// `[?(left op right)]`
    Filter(Vec<Step>, String, Vec<Step>),
    /// A literal within a path, such as `{"\n"}` or the right side of a filter.
    Literal(Value),
}

/// What is wrong with a template, or why it does not fit an object.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct JsonPathError(pub String);

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        Ok(Self { nodes: parse::template(text)?, allow_missing_keys: true })
    }

    /// Whether a missing key prints nothing (the default) or fails.
    pub fn allow_missing_keys(mut self, allow: bool) -> Self {
        self.allow_missing_keys = allow;
        self
    }

    /// The values that each action of the template finds.
    pub fn find<'a>(&'a self, root: &'a Value) -> Result<Vec<Vec<&'a Value>>, JsonPathError> {
        let mut found = Vec::new();
        let evaluator = evaluate::Evaluator { allow_missing_keys: self.allow_missing_keys };
        evaluator.nodes(&self.nodes, root, &mut |values| found.push(values))?;
        Ok(found)
    }

    /// The template's text for an object.
    pub fn render(&self, root: &Value) -> Result<String, JsonPathError> {
        let mut out = String::new();
        for values in self.find(root)? {
            let texts: Vec<String> = values.into_iter().map(text).collect();
            out.push_str(&texts.join(" "));
        }
        Ok(out)
    }

    /// `-o jsonpath-as-json`: the found values as one JSON list.
    pub fn render_json(&self, root: &Value) -> Result<String, JsonPathError> {
        let mut out = String::new();
        for values in self.find(root)? {
            out.push_str(&golang::print(&values.into_iter().cloned().collect()));
        }
        Ok(out)
    }
}

/// A found value: strings bare, objects and lists as compact JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => golang::compact(value),
        Value::Null => "null".to_owned(),
        other => golang::plain(other),
    }
}

/// kubectl's relaxed form: `x.y`, `.x.y` and `{x.y}` all mean `{.x.y}`; a text with inner braces stays as it is.
pub fn relax(text: &str) -> Result<String, JsonPathError> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let inner = match text.strip_prefix('{') {
        Some(rest) => match rest.strip_suffix('}') {
            Some(inner) => inner,
            None => return Ok(text.to_owned()),
        },
        None if text.contains(['{', '}']) => return Ok(text.to_owned()),
        None => text,
    };
    if inner.is_empty() {
        let why = "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'";
        return Err(JsonPathError(why.to_owned()));
    }
    if text.starts_with('{')
        && (inner.contains(['{', '}'])
            || inner.starts_with(['"', '\'', '@', '$', '['])
            || inner.starts_with("range "))
    {
        return Ok(text.to_owned());
    }
    if inner.starts_with(['@', '$', '[']) {
        return Ok(format!("{{{inner}}}"));
    }
    Ok(format!("{{.{}}}", inner.strip_prefix('.').unwrap_or(inner)))
}

#[cfg(test)]
mod tests;
