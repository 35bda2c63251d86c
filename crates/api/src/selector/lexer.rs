//! The tokens of a label selector.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Identifier,
    Not,
    In,
    NotIn,
    Equals,
    NotEquals,
    Greater,
    Less,
    Open,
    Close,
    Comma,
    Unknown,
    End,
}

/// Reads tokens; `in` and `notin` are words of their own only where an operator may stand.
pub(super) struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    pub(super) fn peek_value(&self) -> (Token, &'a str) {
        let (token, literal, _) = self.scan();
        (as_value(token), literal)
    }

    pub(super) fn next_value(&mut self) -> (Token, &'a str) {
        let (token, literal, rest) = self.scan();
        self.rest = rest;
        (as_value(token), literal)
    }

    pub(super) fn peek_operator(&self) -> (Token, &'a str) {
        let (token, literal, _) = self.scan();
        (token, literal)
    }

    pub(super) fn next_operator(&mut self) -> (Token, &'a str) {
        let (token, literal, rest) = self.scan();
        self.rest = rest;
        (token, literal)
    }

    fn scan(&self) -> (Token, &'a str, &'a str) {
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let symbol = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
        if text.is_empty() {
            return (Token::End, "", "");
        }
        let length = if text.starts_with(symbol) {
            if text.starts_with("==") || text.starts_with("!=") { 2 } else { 1 }
        } else {
            text.find(|c: char| symbol(c) || matches!(c, ' ' | '\t' | '\r' | '\n')).unwrap_or(text.len())
        };
        let (literal, rest) = text.split_at(length);
        let token = match literal {
            "=" | "==" => Token::Equals,
            "!=" => Token::NotEquals,
            "!" => Token::Not,
            ">" => Token::Greater,
            "<" => Token::Less,
            "(" => Token::Open,
            ")" => Token::Close,
            "," => Token::Comma,
            "in" => Token::In,
            "notin" => Token::NotIn,
            _ if literal.starts_with(symbol) => Token::Unknown,
            _ => Token::Identifier,
        };
        (token, literal, rest)
    }
}

fn as_value(token: Token) -> Token {
    match token {
        Token::In | Token::NotIn => Token::Identifier,
        other => other,
    }
}
