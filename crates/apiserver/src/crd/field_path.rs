//! Paths to fields, as selectable fields and CEL rules name them: `.spec.color`, `.spec['a b']`.
//!
//! **Upstream**: `cel.ValidFieldPath`.

use super::inner;
use serde_json::Value;

/// The names on the way to a field that its schema has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath<'a> {
    /// The names, the outermost first.
    pub(crate) names: Vec<String>,
    /// What the field is.
    pub(crate) schema: &'a Value,
}

impl<'a> FieldPath<'a> {
    /// Reads a path and follows it; the error says what is wrong.
    pub(crate) fn parse(text: &str, schema: &'a Value) -> Result<Self, String> {
        let names = names(text)?;
        let mut at = schema;
        for name in &names {
            at = match inner(&at["properties"], name) {
                Some(property) => property,
                None => inner(at, "additionalProperties")
                    .ok_or_else(|| "does not refer to a valid field".to_owned())?,
            };
        }
        Ok(Self { names, schema: at })
    }
}

/// A path without its first dot, as error messages have it; `None` if there is none.
pub(crate) fn normalised(text: &str) -> Option<String> {
    names(text).ok().map(|names| names.join("."))
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = &after[..end];
            if name.is_empty() {
                return Err("must not contain empty path segments".to_owned());
            }
            names.push(name.to_owned());
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix("['") {
            let end = after.find("']").ok_or("unexpected end of JSON path")?;
            names.push(after[..end].to_owned());
            rest = &after[end + 2..];
        } else {
            let got = rest.chars().next().unwrap_or_default();
            return Err(format!("expected [ or . but got: {got}"));
        }
    }
    if names.is_empty() { Err("expected a path but got none".to_owned()) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn follows_dots_and_brackets() {
        let schema = json!({"properties": {"spec": {"properties": {"a b": {"type": "string"}}}}});
        let path = FieldPath::parse(".spec['a b']", &schema).unwrap();
        assert_eq!(
            (path.names, path.schema),
            (vec!["spec".to_owned(), "a b".to_owned()], &json!({"type": "string"}))
        );
        for bad in ["", "spec", ".", ".spec.", ".spec.no", ".spec['a"] {
            assert!(FieldPath::parse(bad, &schema).is_err(), "{bad}");
        }
    }
}
