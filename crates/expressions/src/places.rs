//! Where in its source a part of an expression is: the parser keeps that to itself.
//!
//! **Contract**: the parser numbers what it reads from left to right. So the fields of one name, the calls of one function
//! and the uses of one operator stand in the source in the order of their numbers.
//! **Upstream**: the positions of cel-go: a field's is its dot, a call's its bracket, an operator's its own.

use super::MAX_DEPTH;
use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use std::collections::BTreeMap;

/// What the parser calls the value that a macro gathers.
const GATHERED: &str = "@result";

/// A word, sign or text of the source, and where it begins.
#[derive(Debug, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    at: usize,
}

/// What stands at a place. All that are written alike are told apart by their order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sort {
    Field(String),
    Call(String),
    Sign(&'static str),
    /// A minus before a value.
    Minus,
    Index,
    List,
    Word(String),
    Text,
    Number,
}

/// The places of an expression's parts.
pub(super) struct Places<'a> {
    source: &'a str,
    tokens: Vec<Token<'a>>,
    /// By number: what it is.
    parts: BTreeMap<u64, Sort>,
    /// The numbers of tests for fields (`has(a.b)`), which are at the call.
    tests: Vec<u64>,
}

impl<'a> Places<'a> {
    pub(super) fn of(source: &'a str, parsed: &IdedExpr) -> Self {
        let mut places = Self { source, tokens: tokens(source), parts: BTreeMap::new(), tests: Vec::new() };
        places.collect(parsed, 0);
        places
    }

    /// Line and column, from one, of the part with a number.
    pub(super) fn of_expression(&self, id: u64) -> (isize, isize) {
        let before = self.source.get(..self.offset(id).unwrap_or(0)).unwrap_or_default();
        let number = |n: usize| isize::try_from(n).unwrap_or(1);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        (number(before.matches('\n').count() + 1), number(column + 1))
    }

    fn offset(&self, id: u64) -> Option<usize> {
        if self.tests.contains(&id) {
            let nth = self.tests.iter().filter(|test| **test < id).count();
            return self.nth(&Sort::Call("has".to_owned()), nth);
        }
        let sort = self.parts.get(&id)?;
        self.nth(sort, self.parts.iter().filter(|(other, known)| **other < id && *known == sort).count())
    }

    /// The place of the nth of a sort.
    fn nth(&self, sort: &Sort, nth: usize) -> Option<usize> {
        let is = |index: &usize| self.is(*index, sort);
        (0..self.tokens.len()).filter(is).nth(nth).map(|index| self.tokens[index].at)
    }

    fn is(&self, index: usize, sort: &Sort) -> bool {
        let text = |offset: isize| {
            let index = index.checked_add_signed(offset);
            index.and_then(|index| self.tokens.get(index)).map_or("", |token| token.text)
        };
        let ends_value = |text: &str| {
            text != "in" && text.ends_with(|c: char| c.is_alphanumeric() || "_)]}\"'".contains(c))
        };
        let (here, before) = (text(0), text(-1));
        match sort {
            Sort::Field(name) => {
                let at = if text(1) == "?" { 2 } else { 1 };
                here == "." && text(at) == name && text(at + 1) != "("
            }
            Sort::Call(name) => here == "(" && before == name,
            Sort::Sign("?") => here == "?" && ends_value(before),
            Sort::Sign("-") => here == "-" && ends_value(before),
            Sort::Sign(sign) => here == *sign,
            Sort::Minus => here == "-" && !ends_value(before),
            Sort::Index => here == "[" && ends_value(before),
            Sort::List => here == "[" && !ends_value(before),
            Sort::Word(name) => here == name && before != "." && before != "?" && text(1) != "(",
            Sort::Text => here.ends_with(['"', '\'']),
            Sort::Number => here.starts_with(|c: char| c.is_ascii_digit()),
        }
    }

    fn collect(&mut self, expression: &IdedExpr, depth: usize) {
        // Deeper than this nothing is evaluated, either.
        if depth > MAX_DEPTH {
            return;
        }
        let depth = depth + 1;
        let sort = match &expression.expr {
            Expr::Literal(LiteralValue::String(_) | LiteralValue::Bytes(_)) => Sort::Text,
            Expr::Literal(LiteralValue::Boolean(value)) => Sort::Word(value.inner().to_string()),
            Expr::Literal(LiteralValue::Null) => Sort::Word("null".to_owned()),
            Expr::Literal(_) => Sort::Number,
            Expr::Ident(name) => Sort::Word(name.clone()),
            Expr::Select(select) => {
                if select.test {
                    self.tests.push(expression.id);
                }
                self.collect(&select.operand, depth);
                Sort::Field(select.field.clone())
            }
            Expr::Call(call) => {
                call.target.iter().for_each(|target| self.collect(target, depth));
                if call.func_name == op::OPT_SELECT
                    && let [operand, field] = call.args.as_slice()
                {
                    self.collect(operand, depth);
                    match &field.expr {
                        Expr::Literal(LiteralValue::String(name)) => Sort::Field(name.inner().to_owned()),
                        _ => return,
                    }
                } else {
                    call.args.iter().for_each(|arg| self.collect(arg, depth));
                    sort_of_call(&call.func_name)
                }
            }
            Expr::List(list) => {
                list.elements.iter().for_each(|element| self.collect(element, depth));
                Sort::List
            }
            Expr::Map(map) => return map.entries.iter().for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(object) => {
                return object.entries.iter().for_each(|entry| self.entry(&entry.expr, depth));
            }
            Expr::Comprehension(loops) => {
                self.collect(&loops.iter_range, depth);
                return self.body(&loops.loop_step, depth);
            }
            Expr::Unspecified => return,
        };
        self.parts.insert(expression.id, sort);
    }

    fn entry(&mut self, entry: &EntryExpr, depth: usize) {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.collect(&entry.key, depth);
                self.collect(&entry.value, depth);
            }
            EntryExpr::StructField(field) => self.collect(&field.value, depth),
        }
    }

    /// What of a macro's step is in the source.
    fn body(&mut self, step: &IdedExpr, depth: usize) {
        let gathered = |part: &IdedExpr| matches!(&part.expr, Expr::Ident(name) if name == GATHERED);
        match &step.expr {
            Expr::Call(call) if call.args.iter().any(gathered) => {
                for arg in call.args.iter().filter(|arg| !gathered(arg)) {
                    match &arg.expr {
                        Expr::Call(inner) if inner.args.iter().any(gathered) => self.body(arg, depth),
                        Expr::List(list) if call.func_name == op::ADD => {
                            list.elements.iter().for_each(|element| self.collect(element, depth));
                        }
                        Expr::Literal(_) if call.func_name == op::ADD => {}
                        _ => self.collect(arg, depth),
                    }
                }
            }
            _ => self.collect(step, depth),
        }
    }
}

fn sort_of_call(name: &str) -> Sort {
    const SIGNS: [(&str, &str); 16] = [
        (op::CONDITIONAL, "?"),
        (op::LOGICAL_AND, "&&"),
        (op::LOGICAL_OR, "||"),
        (op::LOGICAL_NOT, "!"),
        (op::SUBSTRACT, "-"),
        (op::ADD, "+"),
        (op::MULTIPLY, "*"),
        (op::DIVIDE, "/"),
        (op::MODULO, "%"),
        (op::EQUALS, "=="),
        (op::NOT_EQUALS, "!="),
        (op::GREATER_EQUALS, ">="),
        (op::LESS_EQUALS, "<="),
        (op::GREATER, ">"),
        (op::LESS, "<"),
        (op::IN, "in"),
    ];
    match SIGNS.iter().find(|(known, _)| *known == name) {
        Some((_, sign)) => Sort::Sign(sign),
        None if name == op::NEGATE => Sort::Minus,
        None if matches!(name, op::INDEX | op::OPT_INDEX) => Sort::Index,
        None => Sort::Call(name.to_owned()),
    }
}

/// The tokens of a source, without spaces and comments.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let length = length(rest);
        let text = &rest[..length];
        if !text.starts_with("//") && !text.trim().is_empty() {
            tokens.push(Token { text, at });
        }
        at += length;
    }
    tokens
}

/// The length of the first token of a text, in bytes.
fn length(rest: &str) -> usize {
    let first = rest.chars().next().unwrap_or(' ');
    let while_ = |is: &dyn Fn(char) -> bool| rest.find(|c: char| !is(c)).unwrap_or(rest.len());
    if first.is_whitespace() {
        return while_(&char::is_whitespace);
    }
    if rest.starts_with("//") {
        return while_(&|c| c != '\n');
    }
    let prefix = while_(&|c| "rRbB".contains(c));
    if prefix <= 2
        && let Some(quoted) = rest.get(prefix..)
        && quoted.starts_with(['"', '\''])
    {
        return prefix + quoted_length(quoted, rest[..prefix].contains(['r', 'R']));
    }
    if first.is_alphabetic() || first == '_' {
        return while_(&|c| c.is_alphanumeric() || c == '_');
    }
    if first.is_ascii_digit() {
        return while_(&|c| c.is_ascii_alphanumeric() || c == '.');
    }
    let two = ["&&", "||", "==", "!=", "<=", ">="];
    if two.iter().any(|sign| rest.starts_with(sign)) { 2 } else { first.len_utf8() }
}

/// The length of a text in quotes.
fn quoted_length(quoted: &str, raw: bool) -> usize {
    let quote = &quoted[..1];
    let three = quote.repeat(3);
    let end = if quoted.starts_with(&three) { three.as_str() } else { quote };
    let mut at = end.len();
    while let Some(rest) = quoted.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(end) {
            return at + end.len();
        }
        let mut letters = rest.chars();
        let first = letters.next().map_or(1, char::len_utf8);
        let escaped = rest.starts_with('\\') && !raw;
        at += first + if escaped { letters.next().map_or(0, char::len_utf8) } else { 0 };
    }
    quoted.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_taken_apart() {
        let texts = |source| tokens(source).iter().map(|token| token.text.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            texts("a.?b['x\\'y'] // c\n >= r'\\' + -1.5"),
            ["a", ".", "?", "b", "[", "'x\\'y'", "]", ">=", "r'\\'", "+", "-", "1.5"]
        );
        assert_eq!(texts("'''a'b''' in \"é"), ["'''a'b'''", "in", "\"é"]);
    }
}
