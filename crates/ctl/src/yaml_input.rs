//! Reading YAML and JSON as kubectl does: YAML 1.1 scalars, several documents in one text.
//!
//! **Contract.** Documents end at a line that starts with `---`; empty ones are skipped. A text that starts with `{` is a
//! sequence of JSON values.
//! **Not here.** Writing YAML: `output::yaml`.

use serde_json::Value;

/// Which words are booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Booleans {
    /// YAML 1.1, as kubectl reads manifests: `yes`, `on`, `n`, too.
    Words,
    /// YAML 1.2: `true` and `false` alone.
    Strict,
}

/// The documents of a manifest, in order; the first that cannot be read is the last.
pub(crate) fn documents(text: &str) -> Vec<Result<Value, String>> {
    documents_with(text, Booleans::Words)
}

/// The same of YAML 1.2, as kustomize reads objects.
pub(crate) fn strict_documents(text: &str) -> Vec<Result<Value, String>> {
    documents_with(text, Booleans::Strict)
}

fn documents_with(text: &str, booleans: Booleans) -> Vec<Result<Value, String>> {
    if text.trim_start().starts_with('{') {
        let mut found = Vec::new();
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            match value {
                Ok(value) => found.push(Ok(value)),
                // A JSON document may be followed by YAML ones.
                Err(_) if text.contains("\n---") => return yaml_documents(text, booleans),
                Err(error) if error.is_eof() => {
                    found.push(Err("unexpected EOF".to_owned()));
                    break;
                }
                Err(error) => {
                    found.push(Err(format!("error converting JSON: {error}")));
                    break;
                }
            }
        }
        return found;
    }
    yaml_documents(text, booleans)
}

fn yaml_documents(text: &str, booleans: Booleans) -> Vec<Result<Value, String>> {
    let mut found = Vec::new();
    for document in split(text) {
        match parse_with(&document, booleans) {
            Ok(value) if value.is_null() => {}
            Ok(value) => found.push(Ok(value)),
            Err(error) => {
                found.push(Err(format!("error converting YAML to JSON: {error}")));
                break;
            }
        }
    }
    found
}

/// One YAML document.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    parse_with(text, Booleans::Words)
}

fn parse_with(text: &str, booleans: Booleans) -> Result<Value, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let mut options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    options.budget = None;
    options.strict_booleans = booleans == Booleans::Strict;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |place| place.line() as usize);
        problem(text, line, &error.to_string())
    })
}

/// A YAML error as kubectl words it, as far as the two readers find the same thing: `yaml: line 3: …`.
fn problem(text: &str, line: usize, found: &str) -> String {
    let found = found.rsplit_once(" at line ").map_or(found, |(problem, _)| problem);
    let found = match found.strip_prefix("while ") {
        Some(rest) => rest.split_once(", ").map_or(found, |(_, problem)| problem),
        None => found,
    };
    let tab = text.lines().position(|line| {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        blank < line.len() && line[..blank].contains('\t')
    });
    if let Some(place) = tab.filter(|_| found.contains("tab")) {
        return format!("yaml: line {}: found a tab character that violates indentation", place + 1);
    }
    let last = text.lines().count();
    match found {
        _ if found.starts_with("unclosed bracket '['") => {
            format!("yaml: line {last}: did not find expected ',' or ']'")
        }
        _ if found.starts_with("unclosed bracket '{'") => {
            format!("yaml: line {last}: did not find expected ',' or '}}'")
        }
        // The parser counts the lines before its place, the scanner its own line, too.
        _ if found.starts_with("did not find expected") => {
            format!("yaml: line {}: {found}", line.saturating_sub(1).max(1))
        }
        _ => format!("yaml: line {line}: {found}"),
    }
}

fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("---")
            && (rest.is_empty() || rest.starts_with([' ', '\t', '\r', '#']))
        {
            documents.push(String::new());
            continue;
        }
        let current = documents.last_mut().expect("the list starts with one document");
        current.push_str(line);
        current.push('\n');
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn splits_and_types_documents() {
        let text = "# only a comment\n---\na: 0644\nb: yes\nc: \"yes\"\n---\n\n--- # next\nd: [1, x, 1.5, null, ~]\n";
        let want = vec![json!({"a": 420, "b": true, "c": "yes"}), json!({"d": [1, "x", 1.5, null, null]})];
        assert_eq!(documents(text).into_iter().collect::<Result<Vec<_>, _>>().unwrap(), want);
    }

    #[test]
    fn reads_a_sequence_of_json_values() {
        let values = vec![Ok(json!({"a": 1})), Ok(json!({"b": 2}))];
        assert_eq!(documents("{\"a\":1}\n{\"b\":2}\n"), values);
        assert_eq!(documents("{\"a\":1}{\"a\":").last(), Some(&Err("unexpected EOF".to_owned())));
    }

    #[test]
    fn words_errors_as_kubectl_does() {
        for (text, want) in [
            ("a: [1\n", "yaml: line 1: did not find expected ',' or ']'"),
            ("a: b\nm: {name: x\ns: {}\n", "yaml: line 2: did not find expected ',' or '}'"),
            ("a:\n  b: t\n\tx: y\n", "yaml: line 3: found a tab character that violates indentation"),
            ("a: b: c\n", "yaml: line 1: mapping values are not allowed in this context"),
        ] {
            assert_eq!(parse(text), Err(want.to_owned()), "{text}");
        }
        assert_eq!(documents("a: 1\n---\na: [1\n").len(), 2);
    }
}
