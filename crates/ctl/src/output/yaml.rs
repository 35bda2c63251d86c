//! `-o yaml`: block style, keys in go-yaml's natural order, sequences at their key's indentation, lines folded at 80.
//!
//! **Contract.** What is written parses to the same value under YAML 1.1 and 1.2 readers: strings that either would take
//! for something else are quoted.
//! **Not here.** Reading YAML: `yaml_input`.
//! **Upstream.** `sigs.k8s.io/yaml` over go-yaml v2 and libyaml's emitter (behaviour).

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::Value;

mod key_order;
mod scalars;

use key_order::natural_order;
use scalars::resolves_to_other;

/// The column at which libyaml looks for a place to break a line.
const BEST_WIDTH: usize = 80;

/// Whether a key needs no quotes in flow style: a name that no reader of YAML takes for anything else.
pub(crate) fn is_plain_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !matches!(key, "t" | "T" | "f" | "F")
        && !scalars::resolves_to_other(key)
}

/// A document as kubectl prints it, with a final newline.
pub(crate) fn print(value: &Value) -> String {
    let mut out = Emitter { text: String::new(), column: 0 };
    out.node(value, 0, Place::Top);
    out.text
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Top,
    /// After `key:`.
    Value,
    /// After `- `.
    Item,
}

struct Emitter {
    text: String,
    column: usize,
}

impl Emitter {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn newline(&mut self, indent: usize) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    fn end_line(&mut self) {
        self.text.push('\n');
        self.column = 0;
    }

    fn margin(&mut self, indent: usize) {
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Writes a value whose block content stands at `indent`.
    fn node(&mut self, value: &Value, indent: usize, place: Place) {
        match value {
            Value::Object(map) if !map.is_empty() => self.mapping(map, indent, place),
            Value::Array(items) if !items.is_empty() => self.sequence(items, indent, place),
            _ => {
                if place == Place::Value {
                    self.put(" ");
                }
                self.scalar(value, indent);
                self.end_line();
            }
        }
    }

    fn mapping(&mut self, map: &serde_json::Map<String, Value>, indent: usize, place: Place) {
        if place == Place::Value {
            self.end_line();
        }
        // go-yaml's order is not quite one (it is not transitive for odd keys), so a sort that relies on it will not do.
        let mut entries: Vec<(&String, &Value)> = Vec::with_capacity(map.len());
        for entry in super::json::sorted(map) {
            let place = entries.partition_point(|other| natural_order(other.0, entry.0) != Ordering::Greater);
            entries.insert(place, entry);
        }
        for (index, (key, value)) in entries.into_iter().enumerate() {
            if index > 0 || place != Place::Item {
                self.margin(indent);
            }
            let long = key.chars().count() > 128 || key.contains('\n');
            if long {
                self.put("? ");
                self.string(key, indent + 2, false);
                self.newline(indent);
                self.put(":");
            } else {
                self.string(key, indent, true);
                self.put(":");
            }
            // A sequence stands at its key's own indentation, a mapping two further in.
            let inner = if value.is_array() { indent } else { indent + 2 };
            self.node(value, inner, Place::Value);
        }
    }

    fn sequence(&mut self, items: &[Value], indent: usize, place: Place) {
        if place == Place::Value {
            self.end_line();
        }
        for (index, item) in items.iter().enumerate() {
            if index > 0 || place != Place::Item {
                self.margin(indent);
            }
            self.put("- ");
            self.node(item, indent + 2, Place::Item);
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.put("null"),
            Value::Bool(flag) => self.put(if *flag { "true" } else { "false" }),
            Value::Number(number) => self.put(&yaml_number(number)),
            Value::String(text) => self.string(text, indent, false),
            Value::Array(_) => self.put("[]"),
            Value::Object(_) => self.put("{}"),
        }
    }

    fn string(&mut self, text: &str, indent: usize, key: bool) {
        let scan = Scan::of(text);
        if resolves_to_other(text) {
            self.double_quoted(text, indent, key);
        } else if text.contains('\n') && !key {
            if scan.special || text.starts_with('\n') && scan.space_break {
                self.double_quoted(text, indent, key);
            } else if scan.block_allowed {
                self.literal(text, indent);
            } else {
                self.double_quoted(text, indent, key);
            }
        } else if scan.plain_allowed && !text.is_empty() {
            self.plain(text, indent, key);
        } else if scan.single_allowed && !(key && text.contains('\n')) {
            self.single_quoted(text, indent, key);
        } else {
            self.double_quoted(text, indent, key);
        }
    }

    fn plain(&mut self, text: &str, indent: usize, key: bool) {
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (at, c) in chars.iter().enumerate() {
            let breaks =
                *c == ' ' && !key && !spaces && self.column > BEST_WIDTH && chars.get(at + 1) != Some(&' ');
            if breaks {
                self.newline(indent);
            } else {
                self.text.push(*c);
                self.column += 1;
            }
            spaces = *c == ' ';
        }
    }

    fn single_quoted(&mut self, text: &str, indent: usize, key: bool) {
        self.put("'");
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (at, c) in chars.iter().enumerate() {
            let inner = at > 0 && at + 1 < chars.len();
            let breaks = *c == ' '
                && !key
                && !spaces
                && inner
                && self.column > BEST_WIDTH
                && chars.get(at + 1) != Some(&' ');
            if breaks {
                self.newline(indent);
            } else if *c == '\'' {
                self.put("''");
            } else {
                self.text.push(*c);
                self.column += 1;
            }
            spaces = *c == ' ';
        }
        self.put("'");
    }

    fn double_quoted(&mut self, text: &str, indent: usize, key: bool) {
        self.put("\"");
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (at, c) in chars.iter().enumerate() {
            let inner = at > 0 && at + 1 < chars.len();
            if *c == ' ' && !key && !spaces && inner && self.column > BEST_WIDTH {
                self.newline(indent);
                if chars.get(at + 1) == Some(&' ') {
                    self.put("\\");
                }
                spaces = true;
                continue;
            }
            spaces = *c == ' ';
            let escape = match c {
                '\0' => "\\0",
                '\u{7}' => "\\a",
                '\u{8}' => "\\b",
                '\t' => "\\t",
                '\n' => "\\n",
                '\u{b}' => "\\v",
                '\u{c}' => "\\f",
                '\r' => "\\r",
                '\u{1b}' => "\\e",
                '"' => "\\\"",
                '\\' => "\\\\",
                '\u{85}' => "\\N",
                '\u{2028}' => "\\L",
                '\u{2029}' => "\\P",
                _ => "",
            };
            if !escape.is_empty() {
                self.put(escape);
            } else if printable(*c) {
                self.text.push(*c);
                self.column += 1;
            } else {
                let code = *c as u32;
                let mut hex = String::new();
                let _ = match code {
                    0..=0xff => write!(hex, "\\x{code:02X}"),
                    0x100..=0xffff => write!(hex, "\\u{code:04X}"),
                    _ => write!(hex, "\\U{code:08X}"),
                };
                self.put(&hex);
            }
        }
        self.put("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        if !text.ends_with('\n') {
            self.put("-");
        } else if text.ends_with("\n\n") || text == "\n" {
            self.put("+");
        }
        let indent = indent.max(2);
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            self.text.push('\n');
            self.column = 0;
            if !line.is_empty() {
                self.margin(indent);
                self.put(line);
            }
        }
    }
}

/// What libyaml's analysis of a scalar says about the styles it may take.
struct Scan {
    plain_allowed: bool,
    single_allowed: bool,
    block_allowed: bool,
    special: bool,
    space_break: bool,
}

impl Scan {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut line_breaks) = (false, false);
        let (mut space_break, mut break_space, mut previous_space, mut previous_break) =
            (false, false, false, false);
        let mut preceded_by_white = true;
        for (at, c) in chars.iter().enumerate() {
            let next = chars.get(at + 1);
            let followed_by_white = next.is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`'
                    if at == 0 =>
                {
                    true
                }
                '?' | ':' | '-' if at == 0 => followed_by_white,
                ':' => followed_by_white,
                '#' => preceded_by_white,
                _ => false,
            };
            special |= !printable(*c);
            line_breaks |= matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
            let is_break = matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
            if *c == ' ' {
                break_space |= previous_break;
                (previous_space, previous_break) = (true, false);
            } else if is_break {
                space_break |= previous_space;
                (previous_space, previous_break) = (false, true);
            } else {
                (previous_space, previous_break) = (false, false);
            }
            preceded_by_white = matches!(c, ' ' | '\t' | '\n' | '\r');
        }
        let edge_space = text.starts_with(' ') || text.ends_with(' ');
        let edge_break = text.starts_with('\n') || text.ends_with('\n');
        Self {
            plain_allowed: !indicators && !special && !line_breaks && !edge_space && !edge_break,
            single_allowed: !special && !space_break && !break_space,
            block_allowed: !special && !space_break && !text.ends_with(' '),
            special,
            space_break,
        }
    }
}

/// What the emitter writes as it is: nothing above the basic plane, no byte order mark.
fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn yaml_number(number: &serde_json::Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        // On the way there whole numbers lose their point, and are read as integers.
        Some(float) if float.fract() == 0.0 && float.abs() < 1e18 => format!("{float:.0}"),
        // go-yaml writes floats with Go's shortest form: an exponent from a million on.
        Some(float) if float != 0.0 && !(1e-4..1e6).contains(&float.abs()) => {
            let text = format!("{float:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        Some(float) => format!("{float}"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests;
