//! Selectors in reviews: requirements on one side, the text of a query on the other.
//!
//! **Upstream**: `pkg/registry/authorization/util`, `FieldSelectorAttributes` and `LabelSelectorAttributes` of
//! `authorization.k8s.io/v1`.

use crate::decode::{strings, text};
use api::field::{Error as FieldError, ErrorList, Path};
use api::selector::{FieldSelector, LabelSelector};
use serde_json::{Value, json};

/// Which kind of selector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One value a requirement.
    Field,
    /// Sets of values.
    Label,
}

/// The text of what a review's `fieldSelector` or `labelSelector` says. A requirement that a query cannot express is left
/// out: then more is asked for than meant, never less.
pub(crate) fn query(selector: &Value, kind: Kind) -> String {
    if let Some(raw) = selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        return raw.to_owned();
    }
    let requirements = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    let terms = requirements.iter().filter_map(|requirement| {
        let (key, values) = (text(&requirement["key"]), strings(&requirement["values"]));
        match (text(&requirement["operator"]), kind, values.as_slice()) {
            ("In", _, [one]) => Some(format!("{key}={one}")),
            ("NotIn", _, [one]) => Some(format!("{key}!={one}")),
            ("In", Kind::Label, _) => Some(format!("{key} in ({})", values.join(","))),
            ("NotIn", Kind::Label, _) => Some(format!("{key} notin ({})", values.join(","))),
            ("Exists", Kind::Label, []) => Some(key.to_owned()),
            ("DoesNotExist", Kind::Label, []) => Some(format!("!{key}")),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

/// Whether a query's selector can be read; one that cannot is ignored, and whoever asks is told so.
pub(crate) fn is_readable(query: &str, kind: Kind) -> bool {
    match kind {
        Kind::Field => FieldSelector::parse(query).is_ok(),
        Kind::Label => LabelSelector::parse(query).is_ok(),
    }
}

/// What is wrong with a selector of a review.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, selector: &Value) {
    if selector.is_null() {
        return;
    }
    let raw = text(&selector["rawSelector"]);
    let requirements = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !raw.is_empty() && !requirements.is_empty() {
        errors.push(FieldError::invalid(
            &path.child("rawSelector"),
            raw,
            "may not specified at the same time as requirements",
        ));
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {} is specified, requirements or rawSelector is required", path.as_str());
        errors.push(FieldError::required(&path.child("requirements"), &why));
    }
    for (i, requirement) in requirements.iter().enumerate() {
        let path = path.child("requirements").index(i);
        if text(&requirement["key"]).is_empty() {
            errors.push(FieldError::required(&path.child("key"), "must be specified"));
        }
        let values = strings(&requirement["values"]);
        match text(&requirement["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path.child("values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(FieldError::invalid(
                    &path.child("operator"),
                    other,
                    "not a valid selector operator",
                ));
            }
        }
    }
}

/// The requirements of a query's selector; what cannot be read is left out.
pub(crate) fn requirements(selector: &str) -> Vec<Value> {
    let mut terms = Vec::new();
    let mut rest = selector;
    while !rest.is_empty() {
        // A comma within parentheses separates values.
        let mut depth = 0;
        let end = rest.find(|letter| {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            letter == ',' && depth == 0
        });
        let (term, after) = end.map_or((rest, ""), |at| (&rest[..at], &rest[at + 1..]));
        terms.extend(requirement(term.trim()));
        rest = after;
    }
    terms
}

fn requirement(term: &str) -> Option<Value> {
    let one = |key: &str, operator: &str, values: &[&str]| {
        let mut requirement = json!({ "key": key.trim(), "operator": operator });
        if !values.is_empty() {
            requirement["values"] = values.iter().map(|value| json!(value.trim())).collect();
        }
        (!key.trim().is_empty()).then_some(requirement)
    };
    let set = |word: &str, operator: &str| {
        let (key, values) = term.split_once(word)?;
        let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
        one(key, operator, &values.split(',').collect::<Vec<_>>())
    };
    if let Some(found) = set(" notin ", "NotIn").or_else(|| set(" in ", "In")) {
        return Some(found);
    }
    if let Some((key, value)) = term.split_once("!=") {
        return one(key, "NotIn", &[value]);
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return one(key, "In", &[value]);
    }
    match term.strip_prefix('!') {
        Some(key) => one(key, "DoesNotExist", &[]),
        None if term.contains(['<', '>']) => None,
        None => one(term, "Exists", &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_becomes_requirements_and_back() {
        for text in ["a=b", "a!=b", "a in (x,y)", "a notin (x,y),b=c", "a", "!a", "a=b,c!=d,e"] {
            let requirements = requirements(text);
            assert_eq!(query(&json!({ "requirements": requirements }), Kind::Label), text);
        }
        assert_eq!(requirements("spec.nodeName==n"), requirements("spec.nodeName=n"));
        assert_eq!(requirements("a>1"), Vec::<Value>::new());
        let two = json!({ "requirements": [{ "key": "a", "operator": "In", "values": ["x", "y"] }] });
        assert_eq!(query(&two, Kind::Field), "");
        assert_eq!(query(&json!({ "rawSelector": "a=b" }), Kind::Field), "a=b");
    }

    #[test]
    fn a_selector_that_makes_no_sense_is_refused() {
        let errors = |selector: Value| {
            let mut errors = ErrorList::new();
            check(&mut errors, &Path::new("fieldSelector"), &selector);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(errors(json!({ "rawSelector": "a=b" })), Vec::<String>::new());
        assert_eq!(errors(json!({})).len(), 1);
        let both = json!({
            "rawSelector": "a=b",
            "requirements": [{ "key": "", "operator": "In" }, { "key": "a", "operator": "Like" }],
        });
        assert_eq!(errors(both).len(), 4);
    }

    #[test]
    fn a_selector_that_cannot_be_read_is_known() {
        for (query, fields, labels) in
            [("", true, true), ("a=b", true, true), ("a in (b)", false, true), ("&", false, false)]
        {
            assert_eq!(is_readable(query, Kind::Field), fields, "{query}");
            assert_eq!(is_readable(query, Kind::Label), labels, "{query}");
        }
    }
}
