//! `key=value` and `key-` arguments, and what they do to a map of strings: the core of `label` and `annotate`.

use serde_json::{Map, Value, json};

use crate::report::{Error, message};

/// Values to set, and keys to take away.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs {
    /// In the order given.
    pub(crate) set: Vec<(String, String)>,
    /// In the order given.
    pub(crate) remove: Vec<String>,
}

/// What became of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing.
    Unchanged,
    /// Something was added or has another value.
    Set,
    /// Keys went, none came.
    Removed,
}

/// Splits positional arguments into resources and pairs: the first pair starts the pairs.
pub(crate) fn split(arguments: Vec<String>, what: &str) -> Result<(Vec<String>, Pairs), Error> {
    let is_pair = |text: &str| text.contains('=') && !text.starts_with('=') || text.ends_with('-');
    let start = arguments.iter().position(|text| is_pair(text)).unwrap_or(arguments.len());
    let mut resources = arguments;
    let given = resources.split_off(start);
    let mut pairs = Pairs::default();
    for one in given {
        if let Some((key, value)) = one.split_once('=').filter(|(key, _)| !key.is_empty()) {
            pairs.set.push((key.to_owned(), value.to_owned()));
        } else if let Some(key) = one.strip_suffix('-') {
            pairs.remove.push(key.to_owned());
        } else {
            return Err(message(
                "all resources must be specified before ".to_owned() + what + " changes: " + &one,
            ));
        }
    }
    if pairs.remove.iter().any(|key| pairs.set.iter().any(|(other, _)| other == key)) {
        return Err(message(format!("can not both modify and remove {what} in the same command")));
    }
    Ok((resources, pairs))
}

impl Pairs {
    /// Whether there is anything to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// The keys that have another value already, as messages show them: `'app' already has a value (x)`.
    pub(crate) fn conflicts(&self, map: &Value) -> Vec<String> {
        self.set
            .iter()
            .filter_map(|(key, value)| {
                let old = map[key].as_str().filter(|old| old != value)?;
                Some(format!("'{key}' already has a value ({old})"))
            })
            .collect()
    }

    /// The merge patch of the map, and what it does.
    pub(crate) fn patch(&self, map: &Value) -> (Map<String, Value>, Outcome) {
        let mut patch = Map::new();
        let mut outcome = Outcome::Unchanged;
        for key in &self.remove {
            if !map[key].is_null() {
                patch.insert(key.clone(), Value::Null);
                outcome = Outcome::Removed;
            }
        }
        for (key, value) in &self.set {
            if map[key] != json!(value) {
                patch.insert(key.clone(), value.as_str().into());
                outcome = Outcome::Set;
            }
        }
        (patch, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn resources_end_where_pairs_begin() {
        let (resources, pairs) = split(strings(&["pod", "a", "x=1", "y=z=q", "gone-"]), "a label").unwrap();
        assert_eq!(resources, ["pod", "a"]);
        assert_eq!(pairs.set, [("x".to_owned(), "1".to_owned()), ("y".to_owned(), "z=q".to_owned())]);
        assert_eq!(pairs.remove, ["gone"]);
        assert!(split(strings(&["pod", "x=1", "a"]), "a label").is_err());
        let both = split(strings(&["pod", "a", "x=1", "x-"]), "a label").unwrap_err();
        assert_eq!(both.to_string(), "can not both modify and remove a label in the same command");
    }

    #[test]
    fn patches_only_what_changes() {
        let map = json!({"a": "1", "b": "2"});
        for (arguments, patch, outcome) in [
            (["a=1"].as_slice(), json!({}), Outcome::Unchanged),
            (&["a=2"], json!({"a": "2"}), Outcome::Set),
            (&["c=2", "b-"], json!({"b": null, "c": "2"}), Outcome::Set),
            (&["b-"], json!({"b": null}), Outcome::Removed),
            (&["q-"], json!({}), Outcome::Unchanged),
        ] {
            let (_, pairs) = split(strings(arguments), "a label").unwrap();
            assert_eq!(pairs.patch(&map), (patch.as_object().unwrap().clone(), outcome), "{arguments:?}");
        }
        let (_, pairs) = split(strings(&["a=2", "b=2"]), "a label").unwrap();
        assert_eq!(pairs.conflicts(&map), ["'a' already has a value (1)"]);
    }
}
