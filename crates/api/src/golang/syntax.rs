//! What Go says of a text that is no JSON.
//!
//! **Contract**: pure. The first place where the text cannot go on is told; a text that is JSON has none.
//! **Upstream**: the errors of Go's `encoding/json`, which clients see in refusals.

/// What a value stands in, and what is to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// A list.
    Array,
    /// An object, before the colon.
    Key,
    /// An object, behind the colon.
    Value,
}

/// Why a text is no JSON: `invalid character 'x' looking for beginning of value`, `unexpected end of JSON input`.
pub fn syntax_error(text: &[u8]) -> Option<String> {
    Scanner { text, at: 0 }.document().err()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut stack = Vec::new();
        self.value(&mut stack)?;
        while let Some(within) = stack.last().copied() {
            self.end_of_value(within, &mut stack)?;
        }
        self.spaces();
        match self.peek() {
            None => Ok(()),
            Some(byte) => Err(invalid(byte, "after top-level value")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The next byte, which is in none of the wanted ones' place otherwise.
    fn next(&mut self, is_wanted: impl Fn(u8) -> bool, context: &str) -> Result<u8, String> {
        match self.peek() {
            None => Err("unexpected end of JSON input".to_owned()),
            Some(byte) if is_wanted(byte) => {
                self.at += 1;
                Ok(byte)
            }
            Some(byte) => Err(invalid(byte, context)),
        }
    }

    /// A value that is no list or object, or the beginning of one.
    fn value(&mut self, stack: &mut Vec<Within>) -> Result<(), String> {
        self.spaces();
        let begins = |byte: u8| byte.is_ascii_digit() || b"{[\"-tfn".contains(&byte);
        match self.next(begins, "looking for beginning of value")? {
            b'{' => {
                self.spaces();
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    return Ok(());
                }
                stack.push(Within::Key);
                self.key()
            }
            b'[' => {
                self.spaces();
                if self.peek() == Some(b']') {
                    self.at += 1;
                    return Ok(());
                }
                stack.push(Within::Array);
                // Not by recursion: lists may be nested as deeply as the text is long.
                self.nested(stack)
            }
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            first => self.number(first),
        }
    }

    fn nested(&mut self, stack: &mut Vec<Within>) -> Result<(), String> {
        loop {
            self.spaces();
            if self.peek() != Some(b'[') {
                return self.value(stack);
            }
            self.at += 1;
            self.spaces();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(());
            }
            stack.push(Within::Array);
        }
    }

    fn key(&mut self) -> Result<(), String> {
        self.spaces();
        self.next(|byte| byte == b'"', "looking for beginning of object key string")?;
        self.string()
    }

    /// What follows a value: another one, or the end of what it stands in.
    fn end_of_value(&mut self, within: Within, stack: &mut Vec<Within>) -> Result<(), String> {
        self.spaces();
        let (wanted, context) = match within {
            Within::Array => (b",]", "after array element"),
            Within::Key => (b"::", "after object key"),
            Within::Value => (b",}", "after object key:value pair"),
        };
        let byte = self.next(|byte| wanted.contains(&byte), context)?;
        match (byte, within) {
            (b',', Within::Array) => self.value(stack),
            (b',', _) => {
                replace(stack, Within::Key);
                self.key()
            }
            (b':', _) => {
                replace(stack, Within::Value);
                self.value(stack)
            }
            _ => {
                stack.pop();
                Ok(())
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next(|byte| byte >= b' ', "in string literal")? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let escape = self.next(|byte| b"bfnrt\\/\"u".contains(&byte), "in string escape code")?;
        for _ in 0..if escape == b'u' { 4 } else { 0 } {
            self.next(|byte| byte.is_ascii_hexdigit(), "in \\u hexadecimal character escape")?;
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes().skip(1) {
            let context = format!("in literal {word} (expecting '{}')", char::from(expected));
            self.next(|byte| byte == expected, &context)?;
        }
        Ok(())
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let is_digit = |byte: u8| byte.is_ascii_digit();
        let first = if first == b'-' { self.next(is_digit, "in numeric literal")? } else { first };
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.next(is_digit, "after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.next(is_digit, "in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

fn replace(stack: &mut [Within], within: Within) {
    if let Some(top) = stack.last_mut() {
        *top = within;
    }
}

fn invalid(byte: u8, context: &str) -> String {
    let letter = match char::from(byte) {
        '\'' => "\\'".to_owned(),
        '"' => "\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        letter if letter.is_ascii_control() => format!("\\x{byte:02x}"),
        letter if letter.is_control() => format!("\\u{byte:04x}"),
        letter => letter.to_string(),
    };
    format!("invalid character '{letter}' {context}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_go_says() {
        for (text, expected) in [
            ("{}", None),
            (r#" {"a": [1, -2.5e+3, "x\u0041\n", true, null, {}], "b": [[]]} "#, None),
            ("", Some("unexpected end of JSON input")),
            (r#"{"a""#, Some("unexpected end of JSON input")),
            ("[[[", Some("unexpected end of JSON input")),
            ("abc", Some("invalid character 'a' looking for beginning of value")),
            ("{a:1}", Some("invalid character 'a' looking for beginning of object key string")),
            ("{'a':1}", Some(r"invalid character '\'' looking for beginning of object key string")),
            (r#"{"a":1,}"#, Some("invalid character '}' looking for beginning of object key string")),
            (r#"{"a" 1}"#, Some("invalid character '1' after object key")),
            (r#"{"a":1 "b":2}"#, Some("invalid character '\"' after object key:value pair")),
            ("[1 2]", Some("invalid character '2' after array element")),
            ("[1,]", Some("invalid character ']' looking for beginning of value")),
            ("{} x", Some("invalid character 'x' after top-level value")),
            ("01", Some("invalid character '1' after top-level value")),
            ("-x", Some("invalid character 'x' in numeric literal")),
            ("1.x", Some("invalid character 'x' after decimal point in numeric literal")),
            ("1ex", Some("invalid character 'x' in exponent of numeric literal")),
            ("trux", Some("invalid character 'x' in literal true (expecting 'e')")),
            ("\"a\nb\"", Some(r"invalid character '\n' in string literal")),
            (r#""\x""#, Some("invalid character 'x' in string escape code")),
            (r#""\u00g""#, Some(r"invalid character 'g' in \u hexadecimal character escape")),
        ] {
            assert_eq!(syntax_error(text.as_bytes()).as_deref(), expected, "{text}");
        }
        assert_eq!(syntax_error(&[0xc3]).unwrap(), "invalid character 'Ã' looking for beginning of value");
        // Depth is no matter.
        assert_eq!(syntax_error("[".repeat(1 << 20).as_bytes()).unwrap(), "unexpected end of JSON input");
        let deep = format!("{}1{}", r#"{"a":"#.repeat(1 << 10), "}".repeat(1 << 10));
        assert_eq!(syntax_error(deep.as_bytes()), None);
    }
}
