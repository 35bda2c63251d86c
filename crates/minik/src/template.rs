//! `--format`: a line with fields in it, as in `{{.Host}}`.
//!
//! **Contract**: fields by name and nothing more of Go's templates; what else is asked for is refused.
//! **Upstream**: `text/template`, whose words for an unknown field these are.

use crate::problem::Problem;
use anyhow::Result;

/// Fills a template in.
pub(crate) fn fill(template: &str, fields: &[(&str, &str)]) -> Result<String> {
    let names = || fields.iter().map(|(name, _)| format!("{{{{.{name}}}}}")).collect::<Vec<_>>().join(", ");
    let refused = |why: String| Problem::error(why, format!("these fields are known: {}", names()));
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, action)) = rest.split_once("{{") {
        let (action, after) = action
            .split_once("}}")
            .ok_or_else(|| refused(format!("invalid format {template:?}: unclosed action")))?;
        let word = action.trim();
        let name = word.strip_prefix('.').ok_or_else(|| {
            refused(format!("invalid format {template:?}: only fields are supported, not {word:?}"))
        })?;
        let (_, value) = fields
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| refused(format!("invalid format {template:?}: can't evaluate field {name}")))?;
        filled += before;
        filled += value;
        rest = after;
    }
    Ok(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in_and_nothing_else_is_ignored() {
        let fields = [("Host", "Running"), ("Name", "minik")];
        for (template, expected) in [
            ("{{.Host}}", Ok("Running")),
            ("{{ .Name }}: {{.Host}}!", Ok("minik: Running!")),
            ("plain", Ok("plain")),
            ("{{.Colour}}", Err("can't evaluate field Colour")),
            ("{{range .Host}}", Err("only fields are supported")),
            ("{{.Host", Err("unclosed action")),
        ] {
            match (fill(template, &fields), expected) {
                (Ok(filled), Ok(expected)) => assert_eq!(filled, expected),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{error}"),
                (said, _) => panic!("{template}: {said:?}"),
            }
        }
    }
}
