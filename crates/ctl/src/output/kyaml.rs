//! `-o kyaml`: YAML in flow style, every string quoted, commas after every item.
//!
//! **Contract.** Keys are quoted only where YAML would read them as something else. A string of several lines takes a line
//! for each, behind a backslash where it starts with a blank.
//! **Upstream.** `sigs.k8s.io/yaml/kyaml` (behaviour).

use serde_json::{Map, Value};

use super::json::sorted;
use super::yaml::is_plain_key;

/// An object as a document, with its opening `---`.
pub(crate) fn print(value: &Value) -> String {
    document(value, sorted)
}

/// The same with the keys as they stand: kubectl's own types have an order.
pub(crate) fn print_as_it_stands(value: &Value) -> String {
    document(value, |map| map.iter().collect())
}

/// The keys of a map in the order in which they are printed.
type Order = fn(&Map<String, Value>) -> Vec<(&String, &Value)>;

fn document(value: &Value, order: Order) -> String {
    let mut out = "---\n".to_owned();
    write(&mut out, value, 0, order);
    out.push('\n');
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn write(out: &mut String, value: &Value, depth: usize, order: Order) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Object(map) => {
            out.push_str("{\n");
            for (key, value) in order(map) {
                indent(out, depth + 1);
                if is_plain_key(key) {
                    out.push_str(key);
                } else {
                    out.push_str(&quoted(key));
                }
                out.push_str(": ");
                write(out, value, depth + 1, order);
                out.push_str(",\n");
            }
            indent(out, depth);
            out.push('}');
        }
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        // Objects and lists cuddle their brackets; plain values stand on lines of their own.
        Value::Array(items) if items.iter().all(|item| item.is_object() || item.is_array()) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write(out, item, depth, order);
            }
            out.push(']');
        }
        Value::Array(items) => {
            out.push_str("[\n");
            for item in items {
                indent(out, depth + 1);
                write(out, item, depth + 1, order);
                out.push_str(",\n");
            }
            indent(out, depth);
            out.push(']');
        }
        Value::String(text) if text.contains('\n') => lines(out, text, depth),
        Value::String(text) => out.push_str(&quoted(text)),
        other => out.push_str(&other.to_string()),
    }
}

/// A string of several lines, each on its own.
fn lines(out: &mut String, text: &str, depth: usize) {
    out.push_str("\"\\\n");
    let mut rest = text;
    while !rest.is_empty() {
        let (line, end) = match rest.split_once('\n') {
            Some((line, after)) => {
                rest = after;
                (line, "\\n")
            }
            None => (std::mem::take(&mut rest), ""),
        };
        indent(out, depth + 1);
        out.push(if line.starts_with([' ', '\t']) { '\\' } else { ' ' });
        out.push_str(&escaped(line));
        out.push_str(end);
        out.push_str("\\\n");
    }
    indent(out, depth + 1);
    out.push('"');
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push('\t'),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{a0}' => out.push_str("\\_"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quotes_strings_and_folds_lines() {
        let value = json!({
            "kind": "X",
            "list": [{"a": 1}, {"b": true}],
            "plain": ["x", "y"],
            "empty": {}, "none": [],
            "data": {"123": "x", "yes": "y", "a.b/c": "", "-a": "\u{2028}\u{1}", "text": "  lead\nx \"q\"\n", "open": "a\nb"},
        });
        insta::assert_snapshot!(print(&value), @r#"
        ---
        {
          data: {
            "-a": "\L\x01",
            "123": "x",
            a.b/c: "",
            open: "\
               a\n\
               b\
              ",
            text: "\
              \  lead\n\
               x \"q\"\n\
              ",
            "yes": "y",
          },
          empty: {},
          kind: "X",
          list: [{
            a: 1,
          }, {
            b: true,
          }],
          none: [],
          plain: [
            "x",
            "y",
          ],
        }
        "#);
    }
}
