//! From a template's text to its nodes.

use serde_json::{Value, json};

use super::functions::NAMES;
use super::{Node, Operand, Pipeline};

/// A line and what is wrong there.
type Failure = (usize, String);

/// What ended a list of nodes.
enum End {
    Text,
    Block,
    Else(String, usize),
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    /// The next text loses its leading blanks.
    trim: bool,
}

pub(super) fn parse(source: &str) -> Result<Vec<Node>, Failure> {
    let mut parser = Parser { source, at: 0, trim: false };
    match parser.nodes()? {
        (nodes, End::Text) => Ok(nodes),
        (_, End::Block) => Err((parser.line(), "unexpected {{end}}".to_owned())),
        (_, End::Else(..)) => Err((parser.line(), "unexpected {{else}}".to_owned())),
    }
}

impl<'a> Parser<'a> {
    fn line(&self) -> usize {
        self.source[..self.at].matches('\n').count() + 1
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, End), Failure> {
        let mut nodes = Vec::new();
        loop {
            let rest = &self.source[self.at..];
            let start = rest.find("{{");
            let mut text = &rest[..start.unwrap_or(rest.len())];
            if std::mem::take(&mut self.trim) {
                text = text.trim_start();
            }
            if start.is_some_and(|start| rest[start + 2..].starts_with("- ")) {
                text = text.trim_end();
            }
            if !text.is_empty() {
                nodes.push(Node::Text(text.to_owned()));
            }
            let Some(start) = start else {
                self.at = self.source.len();
                return Ok((nodes, End::Text));
            };
            let opened = self.at + start;
            let line = self.source[..opened].matches('\n').count() + 1;
            let (inner, offset) = self.action(opened).ok_or((line, "unclosed action".to_owned()))?;
            if inner.starts_with("/*") {
                continue;
            }
            let (word, argument) = inner.split_once(char::is_whitespace).unwrap_or((inner, ""));
            let column = offset - self.source[..offset].rfind('\n').map_or(0, |end| end + 1);
            let place = format!("{line}:{column}");
            match word {
                "end" => return Ok((nodes, End::Block)),
                "else" => return Ok((nodes, End::Else(argument.trim().to_owned(), line))),
                "if" | "with" | "range" => {
                    let pipeline = pipeline(argument, &place).map_err(|text| (line, text))?;
                    nodes.push(self.block(word, pipeline, line)?);
                }
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err((line, format!("{{{{{word}}}}} is not supported")));
                }
                _ => {
                    let pipeline = pipeline(inner, &place).map_err(|text| (line, text))?;
                    nodes.push(Node::Action(pipeline));
                }
            }
        }
    }

    /// The rest of `if`, `with` or `range`, up to its `end`.
    fn block(&mut self, word: &str, pipeline: Pipeline, line: usize) -> Result<Node, Failure> {
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            End::Text => return Err((line, "unexpected EOF".to_owned())),
            End::Block => Vec::new(),
            End::Else(condition, at) => {
                match condition.strip_prefix("if ").or(condition.strip_prefix("with ")) {
                    Some(argument) => {
                        let inner = if condition.starts_with("if") { "if" } else { "with" };
                        let pipeline =
                            self::pipeline(argument, &format!("{at}:0")).map_err(|text| (at, text))?;
                        vec![self.block(inner, pipeline, at)?]
                    }
                    None => match self.nodes()? {
                        (nodes, End::Block) => nodes,
                        _ => return Err((line, "unexpected EOF".to_owned())),
                    },
                }
            }
        };
        Ok(match word {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(pipeline, body, otherwise),
        })
    }

    /// The text of the action that opens here and its place in the source; none where it does not close.
    fn action(&mut self, opened: usize) -> Option<(&'a str, usize)> {
        let source = self.source;
        let mut start = opened + 2;
        if source[start..].starts_with("- ") {
            start += 1;
        }
        let body = &source[start..];
        let comment = body.trim_start().starts_with("/*");
        let mut quote = None;
        let mut end = None;
        let mut escaped = false;
        for (index, c) in body.char_indices() {
            match quote {
                Some(_) if escaped => escaped = false,
                Some('"') if c == '\\' => escaped = true,
                Some(open) if c == open => quote = None,
                Some(_) => {}
                None if comment && !body[..index].ends_with("*/") && !body[..index].ends_with("*/ -") => {}
                None if !comment && matches!(c, '"' | '`') => quote = Some(c),
                None if body[index..].starts_with("}}") => {
                    end = Some(index);
                    break;
                }
                None => {}
            }
        }
        let end = end?;
        self.at = start + end + 2;
        let mut inner = &body[..end];
        if let Some(before) = inner.strip_suffix(" -") {
            inner = before;
            self.trim = true;
        }
        let leading = inner.len() - inner.trim_start().len();
        Some((inner.trim(), start + leading))
    }
}

/// A piece of a pipeline's text.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    /// With the fields that follow: `).a.b`.
    Close(Vec<String>),
    Pipe,
    Comma,
    Declare,
    Assign,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let mut escaped = false;
                let end = rest[1..]
                    .char_indices()
                    .find(|(_, c)| {
                        let ends = *c == '"' && !escaped;
                        escaped = *c == '\\' && !escaped;
                        ends
                    })
                    .map(|(index, _)| index + 2)
                    .ok_or("unterminated quoted string")?;
                let text: String = serde_json::from_str(&rest[..end])
                    .map_err(|_| format!("invalid syntax in string {}", &rest[..end]))?;
                found.push(Token::Text(text));
                end
            }
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                found.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            '(' => {
                found.push(Token::Open);
                1
            }
            ')' => {
                let end = rest[1..].find(|c: char| !is_word(c)).map_or(rest.len(), |end| end + 1);
                found.push(Token::Close(fields(&rest[1..end])));
                end
            }
            '|' => {
                found.push(Token::Pipe);
                1
            }
            ',' => {
                found.push(Token::Comma);
                1
            }
            ':' if rest.starts_with(":=") => {
                found.push(Token::Declare);
                2
            }
            '=' => {
                found.push(Token::Assign);
                1
            }
            c if is_word(c) || matches!(c, '$' | '-' | '+') => {
                let end = rest[1..].find(|c: char| !is_word(c)).map_or(rest.len(), |end| end + 1);
                found.push(Token::Word(rest[..end].to_owned()));
                end
            }
            c => return Err(format!("unexpected {c:?} in operand")),
        };
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.')
}

/// `.a.b` as `[a, b]`.
fn fields(text: &str) -> Vec<String> {
    text.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A pipeline's text as its commands.
fn pipeline(text: &str, place: &str) -> Result<Pipeline, String> {
    let tokens = tokens(text)?;
    let mut at = 0;
    let found = commands(&tokens, &mut at, place)?;
    if at < tokens.len() {
        return Err("unexpected right paren".to_owned());
    }
    Ok(found)
}

fn commands(tokens: &[Token], at: &mut usize, place: &str) -> Result<Pipeline, String> {
    let mut found =
        Pipeline { variables: Vec::new(), assigns: false, commands: Vec::new(), place: place.to_owned() };
    let head: Vec<&Token> = tokens[*at..].iter().take(4).collect();
    let variable = |token: &Token| match token {
        Token::Word(word) if word.starts_with('$') && !word.contains('.') => Some(word.clone()),
        _ => None,
    };
    match head.as_slice() {
        [name, Token::Declare | Token::Assign, ..] if variable(name).is_some() => {
            found.variables.extend(variable(name));
            found.assigns = *head[1] == Token::Assign;
            *at += 2;
        }
        [first, Token::Comma, second, Token::Declare, ..] => {
            found.variables.extend(variable(first));
            found.variables.extend(variable(second));
            *at += 4;
        }
        _ => {}
    }
    let mut command = Vec::new();
    while let Some(token) = tokens.get(*at) {
        match token {
            Token::Close(_) => break,
            Token::Pipe => {
                if command.is_empty() {
                    return Err("missing value for command".to_owned());
                }
                found.commands.push(std::mem::take(&mut command));
            }
            Token::Open => {
                *at += 1;
                let inner = commands(tokens, at, place)?;
                let Some(Token::Close(fields)) = tokens.get(*at) else {
                    return Err("unclosed left paren".to_owned());
                };
                command.push(Operand::Nested(Box::new(inner), fields.clone()));
            }
            Token::Text(text) => command.push(Operand::Literal(json!(text))),
            Token::Word(word) => command.push(operand(word)?),
            other => return Err(format!("unexpected {other:?} in operand")),
        }
        *at += 1;
    }
    if command.is_empty() {
        return Err("missing value for command".to_owned());
    }
    found.commands.push(command);
    Ok(found)
}

fn operand(word: &str) -> Result<Operand, String> {
    if word.starts_with('.') && !word[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Operand::Field(fields(word)));
    }
    if word.starts_with('$') {
        let (name, path) = word.split_once('.').unwrap_or((word, ""));
        return Ok(Operand::Variable(name.to_owned(), fields(path)));
    }
    match word {
        "true" | "false" => return Ok(Operand::Literal(json!(word == "true"))),
        "nil" => return Ok(Operand::Literal(Value::Null)),
        _ => {}
    }
    if let Ok(number) = word.parse::<i64>() {
        return Ok(Operand::Literal(json!(number)));
    }
    if let Some(number) =
        word.parse::<f64>().ok().filter(|_| word.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
    {
        return Ok(Operand::Literal(json!(number)));
    }
    if NAMES.contains(&word) {
        return Ok(Operand::Function(word.to_owned()));
    }
    Err(format!("function {word:?} not defined"))
}
