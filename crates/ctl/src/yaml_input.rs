//! Reading YAML and JSON as kubectl does: YAML 1.1 scalars, several documents in one text.
//!
//! **Contract.** Documents end at a line that starts with `---`; empty ones are skipped. A text that starts with `{` is a
//! sequence of JSON values.
//! **Not here.** Writing YAML: `output::yaml`.

use serde_json::Value;

/// The documents of a manifest, in order.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    if text.trim_start().starts_with('{') {
        let mut found = Vec::new();
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            match value {
                Ok(value) => found.push(value),
                // A JSON document may be followed by YAML ones.
                Err(_) if text.contains("\n---") => return yaml_documents(text),
                Err(error) => return Err(format!("error converting JSON: {error}")),
            }
        }
        return Ok(found);
    }
    yaml_documents(text)
}

fn yaml_documents(text: &str) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for document in split(text) {
        let value = parse(&document).map_err(|error| format!("error converting YAML to JSON: {error}"))?;
        if !value.is_null() {
            found.push(value);
        }
    }
    Ok(found)
}

/// One YAML document.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let mut options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    options.budget = None;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map(|place| place.line()).unwrap_or(1);
        format!("yaml: line {line}: {error}")
    })
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
        assert_eq!(documents(text).unwrap(), want);
    }

    #[test]
    fn reads_a_sequence_of_json_values() {
        assert_eq!(documents("{\"a\":1}\n{\"b\":2}\n").unwrap(), vec![json!({"a": 1}), json!({"b": 2})]);
        assert!(documents("{\"a\":").is_err());
        assert!(documents("a: [1").is_err());
    }
}
