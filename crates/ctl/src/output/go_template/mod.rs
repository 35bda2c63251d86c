//! `-o go-template`: the part of Go's `text/template` that kubectl's users write.
//!
//! **Contract.** Fields, variables, pipelines, `if`, `range`, `with`, `else`, comments, trim markers and the predefined
//! functions on JSON values, with kubectl's `exists` and `base64decode`.
//! **Not here.** `define`, `template`, `block`, `break`, `continue`, method calls: refused when the template is read.
//! **Upstream.** Go's `text/template` (behaviour).

mod evaluate;
mod functions;
mod parse;

#[cfg(test)]
mod tests;

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    source: String,
    nodes: Vec<Node>,
    allow_missing_keys: bool,
}

/// A piece of a template; `place` is where its action starts, `line:column`.
#[derive(Debug, Clone)]
enum Node {
    Text(String),
    /// `{{pipeline}}`, or an assignment, which prints nothing.
    Action(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
}

/// Commands, each given the result of the one before as its last argument.
#[derive(Debug, Clone)]
struct Pipeline {
    /// `$a :=` or `$i, $v :=`.
    variables: Vec<String>,
    /// `=` instead of `:=`.
    assigns: bool,
    commands: Vec<Vec<Operand>>,
    place: String,
}

#[derive(Debug, Clone)]
enum Operand {
    Literal(Value),
    /// `.a.b`, and `.` without fields.
    Field(Vec<String>),
    /// `$x.a`
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipeline).a`
    Nested(Box<Pipeline>, Vec<String>),
}

impl Template {
    /// Parses a template, or says what is wrong: `output:1: unclosed action`.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let nodes = parse::parse(source).map_err(|(line, text)| format!("output:{line}: {text}"))?;
        Ok(Self { source: source.to_owned(), nodes, allow_missing_keys: true })
    }

    /// Whether a missing key is `<no value>` instead of an error.
    pub(crate) fn allow_missing_keys(mut self, allow: bool) -> Self {
        self.allow_missing_keys = allow;
        self
    }

    /// The template's text.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The object in the template's words.
    pub(crate) fn render(&self, object: &Value) -> Result<String, String> {
        evaluate::Run::new(object, self.allow_missing_keys).whole(&self.nodes)
    }
}
