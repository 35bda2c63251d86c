//! Fields that a transformer changes: found by a path that says nothing of lists, `spec/containers/image`.
//!
//! **Upstream.** `kustomize/api/filters/fieldspec` (behaviour).

use serde_json::{Value, json};

use crate::config::FieldSpec;
use crate::resource::{Resource, gvk};
use crate::{Error, invalid};

/// What is made at the end of a path that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Nothing,
    Map,
    Text,
}

/// Changes what the path of a field leads to, where the object is of the field's kind.
pub(crate) fn change(
    resource: &mut Resource,
    spec: &FieldSpec,
    make: Make,
    set: &mut dyn FnMut(&mut Value) -> Result<(), Error>,
) -> Result<(), Error> {
    if !gvk(&resource.object).is_selected(&spec.group, &spec.version, &spec.kind) {
        return Ok(());
    }
    let id = resource.id();
    let path = split(&spec.path);
    let make = if spec.create { make } else { Make::Nothing };
    walk(&mut resource.object, &path, make, set)
        .map_err(|error| error.within(format!("considering field '{}' of object {id}", spec.path)))
}

fn walk(
    value: &mut Value,
    path: &[String],
    make: Make,
    set: &mut dyn FnMut(&mut Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some((first, rest)) = path.split_first() else { return set(value) };
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => items.iter_mut().try_for_each(|item| {
            walk(item, path, make, set)
                .map_err(|error| error.within(format!("visit traversal on path: [{}]", path.join(" "))))
        }),
        Value::Object(map) => {
            let (name, is_list) = match first.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (first.as_str(), false),
            };
            if make != Make::Nothing && !is_list {
                let made = match (rest.is_empty(), make) {
                    (true, Make::Text) => json!(""),
                    _ => json!({}),
                };
                let field = map.entry(name).or_insert(Value::Null);
                if field.is_null() {
                    *field = made;
                }
            }
            match map.get_mut(name) {
                Some(field) => walk(field, rest, make, set),
                None => Ok(()),
            }
        }
        _ => invalid("expected sequence or mapping node"),
    }
}

/// Splits at slashes; `\/` is one that stays.
fn split(path: &str) -> Vec<String> {
    const ESCAPED: &str = "\u{0}";
    let parts = path.replace("\\/", ESCAPED);
    parts.split('/').filter(|part| !part.is_empty()).map(|part| part.replace(ESCAPED, "/")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_through_lists_and_make_what_is_missing() {
        let spec = |path: &str, create| FieldSpec { path: path.to_owned(), create, ..FieldSpec::default() };
        let table = [
            (
                spec("spec/c/image", false),
                Make::Text,
                json!({"spec": {"c": [{"image": "x"}, {"image": "x"}, {}]}}),
            ),
            (
                spec("spec/d/e", true),
                Make::Text,
                json!({"spec": {"c": [{"image": 1}, {"image": 2}, {}], "d": {"e": "x"}}}),
            ),
            (spec("spec/d/e", false), Make::Text, json!({"spec": {"c": [{"image": 1}, {"image": 2}, {}]}})),
            (
                spec(r"a\/b", true),
                Make::Text,
                json!({"spec": {"c": [{"image": 1}, {"image": 2}, {}]}, "a/b": "x"}),
            ),
        ];
        for (spec, make, wanted) in table {
            let mut one = Resource::new(json!({"spec": {"c": [{"image": 1}, {"image": 2}, {}]}}));
            change(&mut one, &spec, make, &mut |value| {
                *value = "x".into();
                Ok(())
            })
            .unwrap();
            assert_eq!(one.object, wanted, "{}", spec.path);
        }
    }
}
