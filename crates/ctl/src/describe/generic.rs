//! The description of a kind without a layout of its own: its fields, with readable labels.

use serde_json::Value;

use super::{Describe, annotations, events, labels, text};
use crate::output::json::sorted;
use crate::output::plain;
use crate::report::Error;

/// Shown above, or by nobody.
const SKIPPED: &[&str] = &[
    ".metadata.name",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
    ".metadata.managedFields",
];
const ACRONYMS: &[&str] = &["API", "URL", "UID", "GUID"];

/// The object's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let metadata = &object["metadata"];
    let mut out = format!("Name:\t{}\nNamespace:\t{}\n", text(metadata, "name"), text(metadata, "namespace"));
    out += &labels("Labels", &metadata["labels"]);
    out += &annotations(&metadata["annotations"]);
    fields(&mut out, object, 0, "");
    out += &events::section(describe, object, &[text(metadata, "uid")]).await;
    Ok(out)
}

/// The fields of an object, sorted by name.
pub(super) fn fields(out: &mut String, object: &Value, level: usize, path: &str) {
    let indent = "  ".repeat(level);
    for (name, value) in object.as_object().map(sorted).unwrap_or_default() {
        let path = format!("{path}.{name}");
        if SKIPPED.contains(&path.as_str()) {
            continue;
        }
        let label = label(name);
        match value {
            Value::Object(_) => {
                out.push_str(&format!("{indent}{label}:\n"));
                fields(out, value, level + 1, &path);
            }
            Value::Array(children) => {
                out.push_str(&format!("{indent}{label}:\n"));
                for child in children {
                    if child.is_object() {
                        fields(out, child, level + 1, &path);
                    } else {
                        out.push_str(&format!("{indent}  {}\n", plain(child)));
                    }
                }
            }
            _ => out.push_str(&format!("{indent}{label}:\t{}\n", plain(value))),
        }
    }
}

/// `creationTimestamp` as `Creation Timestamp`; names with other characters stay as they are.
pub(super) fn label(name: &str) -> String {
    if name.chars().any(|c| !c.is_alphabetic() && c != '-') {
        return name.to_owned();
    }
    let words: Vec<String> = merged(words(name))
        .into_iter()
        .map(|word| {
            if ACRONYMS.contains(&word.to_uppercase().as_str()) {
                return word.to_uppercase();
            }
            let mut chars = word.chars();
            chars
                .next()
                .map_or(String::new(), |first| first.to_uppercase().collect::<String>() + chars.as_str())
        })
        .collect();
    words.join(" ")
}

/// Several capitals stay together with the word behind them: `CIDRBlock`.
fn merged(words: Vec<String>) -> Vec<String> {
    let mut merged = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(mut word) = words.next() {
        let capitals = word.chars().count() >= 2 && word.chars().all(char::is_uppercase);
        let next = words.next_if(|next| capitals && next.starts_with(char::is_uppercase));
        word.push_str(next.as_deref().unwrap_or_default());
        merged.push(word);
    }
    merged
}

/// Camel case split: the last capital of a run belongs to the small letters after it.
fn words(name: &str) -> Vec<String> {
    let class = |c: char| {
        if c.is_lowercase() {
            1
        } else if c.is_uppercase() {
            2
        } else {
            3
        }
    };
    let mut runs: Vec<String> = Vec::new();
    let mut last = 0;
    for c in name.chars() {
        match runs.last_mut() {
            Some(run) if class(c) == last => run.push(c),
            _ => runs.push(c.to_string()),
        }
        last = class(c);
    }
    for at in 0..runs.len().saturating_sub(1) {
        let capitals = runs[at].chars().next().is_some_and(char::is_uppercase);
        if capitals
            && runs[at + 1].chars().next().is_some_and(char::is_lowercase)
            && let Some(c) = runs[at].pop()
        {
            runs[at + 1].insert(0, c);
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}
