//! Lists and maps of bounded size: of one that is too long, nothing else is said.
//!
//! **Upstream**: `validateSlice`, `validateSet`, `validateMap`.

use crate::resources::edit::{entries, items};
use api::field::{Error, ErrorList, Path};
use serde_json::Value;

/// Letters that are shown of the shortest key that is cut.
const MIN_SHOWN: usize = 16;

/// What is looked for in an element.
pub(super) type Check<'a> = &'a mut dyn FnMut(&mut ErrorList, &Path, &Value);

/// A list in a field.
pub(super) fn list(
    errors: &mut ErrorList,
    path: &Path,
    (holder, field): (&Value, &str),
    max: usize,
    check: Check<'_>,
) -> bool {
    let (items, path) = (items(holder, field), path.child(field));
    if items.len() > max {
        errors.push(Error::too_many(&path, items.len(), max));
        return false;
    }
    for (i, item) in items.iter().enumerate() {
        check(errors, &path.index(i), item);
    }
    true
}

/// The same, in which no two elements have the same key.
pub(super) fn set(
    errors: &mut ErrorList,
    path: &Path,
    (holder, field): (&Value, &str),
    max: usize,
    key: fn(&Value) -> Value,
    check: Check<'_>,
) {
    if !list(errors, path, (holder, field), max, check) {
        return;
    }
    let mut known = std::collections::BTreeSet::new();
    for (i, item) in items(holder, field).iter().enumerate() {
        let key = key(item);
        if !known.insert(key.to_string()) {
            errors.push(Error::duplicate(&path.child(field).index(i), key));
        }
    }
}

/// A map in a field: errors of keys are the map's. `longest`: letters of a key that are shown.
pub(super) fn map(
    errors: &mut ErrorList,
    path: &Path,
    (holder, field): (&Value, &str),
    (max, longest): (usize, usize),
    check_key: fn(&mut ErrorList, &Path, &str),
    check: Check<'_>,
) {
    let path = path.child(field);
    let count = entries(holder, field).count();
    if count > max {
        errors.push(Error::too_many(&path, count, max));
        return;
    }
    for (key, item) in entries(holder, field) {
        check_key(errors, &path, key);
        check(errors, &path.key(&cut(key, longest)), item);
    }
}

/// A text without its middle, if it is too long.
fn cut(text: &str, longest: usize) -> String {
    let longest = longest.max(MIN_SHOWN);
    if text.len() <= longest {
        return text.to_owned();
    }
    let rest = longest - 3;
    let start = text.floor_char_boundary(rest.div_ceil(2));
    let end = text.ceil_char_boundary(text.len() - rest / 2);
    format!("{}...{}", &text[..start], &text[end..])
}

/// An element's name as its key.
pub(super) fn by_name(item: &Value) -> Value {
    item["name"].as_str().unwrap_or_default().into()
}

/// An element that is its own key.
pub(super) fn itself(item: &Value) -> Value {
    item.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_too_long_is_told_once() {
        let path = Path::new("spec");
        let told = |max| {
            let mut errors = ErrorList::new();
            let holder = json!({"names": ["a", "b", "a"]});
            set(&mut errors, &path, (&holder, "names"), max, itself, &mut |errors, path, name| {
                if name == "b" {
                    errors.push(Error::invalid(path, name.clone(), "no"));
                }
            });
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(2), ["spec.names: Too many: 3: must have at most 2 items"]);
        assert_eq!(
            told(3),
            ["spec.names[1]: Invalid value: \"b\": no", "spec.names[2]: Duplicate value: \"a\""]
        );
    }

    #[test]
    fn long_keys_are_cut_in_the_middle() {
        assert_eq!(cut("short", 4), "short");
        assert_eq!(cut("0123456789abcdefghij", 16), "0123456...efghij");
    }
}
