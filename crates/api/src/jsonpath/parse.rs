//! From the text of a template to its nodes.

use serde_json::Value;

use super::{JsonPathError, Node, Step};

type Result<T> = std::result::Result<T, JsonPathError>;

/// Levels of brackets, and ranges: each is a call of the parser.
const MAX_NESTING: usize = 64;

/// Parses a whole template.
pub(super) fn template(text: &str) -> Result<Vec<Node>> {
    if nesting(text) > MAX_NESTING || text.matches("{range").count() > MAX_NESTING {
        return Err(fail("too deeply nested"));
    }
    let mut parser = Parser { rest: text };
    let (nodes, ended) = parser.nodes()?;
    if ended {
        return Err(fail("not in range, nothing to end"));
    }
    Ok(nodes)
}

fn fail(text: impl Into<String>) -> JsonPathError {
    JsonPathError(text.into())
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    /// Nodes up to the end of the text, or up to `{end}` (then true).
    fn nodes(&mut self) -> Result<(Vec<Node>, bool)> {
        let mut nodes = Vec::new();
        while !self.rest.is_empty() {
            let Some(open) = self.rest.find('{') else {
                nodes.push(Node::text(std::mem::take(&mut self.rest)));
                break;
            };
            if open > 0 {
                nodes.push(Node::text(&self.rest[..open]));
            }
            let body = &self.rest[open + 1..];
            let close = action_end(body)?;
            let action = body[..close].trim();
            self.rest = &body[close + 1..];
            if action == "end" {
                return Ok((nodes, true));
            }
            if let Some(path) =
                action.strip_prefix("range").filter(|path| path.starts_with([' ', '\t', '.', '[']))
            {
                let steps = steps(path.trim())?;
                // kubectl lets a range stay open at the end of the text.
                let (inner, _) = self.nodes()?;
                nodes.push(Node::Range(steps, inner));
                continue;
            }
            // Several words in one action print one after the other.
            for word in split(action, |c| matches!(c, ' ' | '\t')).into_iter().filter(|word| !word.is_empty())
            {
                nodes.push(Node::Action(steps(word)?));
            }
        }
        Ok((nodes, false))
    }
}

/// Its letters outside quotes, with where they are.
fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut escaped) = (None, false);
    text.char_indices().filter(move |(_, c)| match quote {
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(open) => {
            escaped = *c == '\\';
            if *c == open {
                quote = None;
            }
            false
        }
        None => {
            quote = Some(*c).filter(|c| matches!(c, '"' | '\''));
            quote.is_none()
        }
    })
}

/// Its parts between such letters outside quotes and brackets.
fn split(text: &str, separates: impl Fn(char) -> bool) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, c) in unquoted(text) {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            c if depth == 0 && separates(c) => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Where the action that starts at the text's beginning closes.
fn action_end(text: &str) -> Result<usize> {
    match unquoted(text).find(|(_, c)| matches!(c, '}' | '\n')) {
        Some((at, '}')) => Ok(at),
        _ => Err(fail("unclosed action")),
    }
}

/// How deep brackets are nested: each level is a call.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for (_, c) in unquoted(text) {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Parses one path or literal.
fn steps(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        match c {
            '"' | '\'' => {
                let (value, after) = quoted(rest)?;
                steps.push(Step::Literal(Value::String(value)));
                rest = after;
            }
            '$' | '@' => {
                steps.push(Step::Root);
                rest = &rest[1..];
            }
            '.' if rest.starts_with("..") => {
                steps.push(Step::Recursive);
                rest = &rest[2..];
                if rest.starts_with('[') {
                    continue;
                }
                let (step, after) = field(rest)?;
                steps.push(step);
                rest = after;
            }
            '.' => {
                rest = &rest[1..];
                if rest.is_empty() || rest.starts_with('[') {
                    first = false;
                    continue;
                }
                let (step, after) = field(rest)?;
                steps.push(step);
                rest = after;
            }
            '[' => {
                let end = bracket_end(rest)?;
                steps.push(bracket(&rest[1..end])?);
                rest = &rest[end + 1..];
            }
            ' ' | '\t' => rest = rest.trim_start(),
            '0'..='9' | '-' | '+' if first => {
                let end = rest
                    .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+' | 'e' | 'E'))
                    .unwrap_or(rest.len());
                let number = &rest[..end];
                let value = number
                    .parse::<i64>()
                    .map(Value::from)
                    .or_else(|_| number.parse::<f64>().map(Value::from));
                steps
                    .push(Step::Literal(value.map_err(|_| fail(format!("cannot parse number {number:?}")))?));
                rest = &rest[end..];
            }
            _ if first => {
                let end = rest.find(['.', '[', ' ', '"', '\'']).unwrap_or(rest.len());
                match &rest[..end] {
                    "true" => steps.push(Step::Literal(true.into())),
                    "false" => steps.push(Step::Literal(false.into())),
                    other => return Err(fail(format!("unrecognized identifier {other}"))),
                }
                rest = &rest[end..];
            }
            other => return Err(fail(format!("unrecognized character in action: {:?}", other))),
        }
        first = false;
    }
    Ok(steps)
}

/// A field's name: up to the next step, with `\.` for a dot within.
fn field(text: &str) -> Result<(Step, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                if let Some((_, next)) = chars.next() {
                    name.push(next);
                }
            }
            '.' | '[' | ']' | ',' | ' ' | '\t' | '@' | '$' | '=' | '!' | '<' | '>' | '(' | ')' | '"'
            | '\'' => {
                end = at;
                break;
            }
            _ => name.push(c),
        }
    }
    let step = if name == "*" { Step::Wildcard } else { Step::Field(name) };
    Ok((step, &text[end..]))
}

/// A quoted text and what follows it.
fn quoted(text: &str) -> Result<(String, &str)> {
    let open = text.chars().next().unwrap_or('"');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == open {
            return Ok((value, &text[at + c.len_utf8()..]));
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        match chars.next().map(|(_, c)| c) {
            Some('n') => value.push('\n'),
            Some('t') => value.push('\t'),
            Some('r') => value.push('\r'),
            Some(other) => value.push(other),
            None => break,
        }
    }
    Err(fail("unterminated quoted string"))
}

/// Where the bracket that opens the text closes.
fn bracket_end(text: &str) -> Result<usize> {
    let mut depth = 0;
    for (at, c) in unquoted(text) {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(fail("unterminated array"))
}

/// What stands between brackets.
fn bracket(text: &str) -> Result<Step> {
    let text = text.trim();
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter_step(filter);
    }
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    let parts = split(text, |c| c == ',');
    if parts.len() > 1 {
        return parts
            .iter()
            .map(|part| bracket(part).map(|step| vec![step]))
            .collect::<Result<_>>()
            .map(Step::Union);
    }
    if text.starts_with('\'') {
        let (name, rest) = quoted(text)?;
        if !rest.trim().is_empty() {
            return Err(fail(format!("invalid array index {text}")));
        }
        // Dots within the quotes are part of the name; a backslash before them is allowed.
        return Ok(Step::Field(name));
    }
    if text.starts_with(['@', '$', '.']) {
        return Ok(Step::Union(vec![steps(text)?]));
    }
    let numbers: Vec<&str> = text.split(':').collect();
    let number = |at: usize| -> Result<Option<i64>> {
        match numbers.get(at).map(|text| text.trim()) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| fail(format!("invalid array index {text}"))),
        }
    };
    if numbers.len() > 3 || text.is_empty() {
        return Err(fail(format!("invalid array index {text}")));
    }
    Ok(Step::Slice { from: number(0)?, to: number(1)?, step: number(2)?, single: numbers.len() == 1 })
}

fn filter_step(text: &str) -> Result<Step> {
    let Some((at, _)) = unquoted(text).find(|(_, c)| matches!(c, '=' | '!' | '<' | '>')) else {
        return Ok(Step::Filter(steps(text.trim())?, "exists".to_owned(), Vec::new()));
    };
    let double = text.as_bytes().get(at + 1) == Some(&b'=');
    let operator = &text[at..=at + usize::from(double)];
    if matches!(operator, "=" | "!") {
        return Err(fail(format!("unrecognized filter operator {operator}")));
    }
    let left = steps(text[..at].trim())?;
    let right = steps(text[at + operator.len()..].trim())?;
    Ok(Step::Filter(left, operator.to_owned(), right))
}
