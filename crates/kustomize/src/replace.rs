//! `replacements`: a value of one object copied into fields of others.
//!
//! **Upstream.** `kustomize/api/filters/replacement` (behaviour). Fields within a text that is JSON or YAML itself are not
//! reached.

use serde_json::{Value, json};

use crate::kustomization::{FieldOptions, Replacement, Source, Target};
use crate::load::Loader;
use crate::patch::Matcher;
use crate::resource::{Id, Resource, Set};
use crate::{Error, invalid};

/// The field that is meant where none is given.
const DEFAULT_PATH: &str = "metadata.name";

/// Carries out one replacement, or those of the file that it names.
pub(crate) fn apply(set: &mut Set, loader: &Loader, replacement: &Replacement) -> Result<(), Error> {
    if replacement.path.is_empty() {
        return one(set, replacement);
    }
    if replacement.source.is_some() || !replacement.targets.is_empty() {
        return invalid("cannot specify both path and inline replacement");
    }
    for document in loader.documents(&loader.text(&replacement.path)?).map_err(Error::Invalid)? {
        let all = match document {
            Value::Array(all) => all,
            single => vec![single],
        };
        for document in all {
            let read: Replacement =
                serde_json::from_value(document).map_err(|error| crate::kustomization::misread(&error))?;
            one(set, &read)?;
        }
    }
    Ok(())
}

fn one(set: &mut Set, replacement: &Replacement) -> Result<(), Error> {
    let value = match (&replacement.source, &replacement.source_value) {
        _ if replacement.targets.is_empty() => None,
        (Some(_), Some(_)) => return invalid("value and resource selectors are mutually exclusive"),
        (Some(source), None) => Some(value_of(set, source)?),
        (None, Some(value)) => Some(value.as_str().into()),
        (None, None) => None,
    };
    let Some(value) = value else {
        return invalid("replacements must specify a source and at least one target");
    };
    replacement.targets.iter().try_for_each(|target| put(set, target, &value))
}

fn value_of(set: &Set, source: &Source) -> Result<Value, Error> {
    let selector = {
        let gvk = crate::resource::Gvk {
            group: source.group.clone(),
            version: source.version.clone(),
            kind: source.kind.clone(),
        };
        Id { gvk, name: source.name.clone(), namespace: source.namespace.clone() }
    };
    let selected = |id: &Id| {
        id.gvk.is_selected(&source.group, &source.version, &source.kind)
            && (source.name.is_empty() || source.name == id.name)
            && (source.namespace.is_empty() || source.namespace == id.effective_namespace())
    };
    let mut shown = selector.to_string();
    if !source.field_path.is_empty() {
        shown = format!("{shown}:{}", source.field_path);
    }
    let place = match set.any_id(selected)[..] {
        [] => return invalid(format!("nothing selected by {shown}")),
        [place] => place,
        _ => return invalid(format!("multiple matches for selector {shown}")),
    };
    let path = if source.field_path.is_empty() { DEFAULT_PATH } else { &source.field_path };
    let mut object = set.0[place].object.clone();
    let mut found = None;
    visit(&mut object, &split(path), None, &mut |value| {
        found.get_or_insert_with(|| value.clone());
        Ok(())
    })?;
    let Some(value) = found.filter(|value| !value.is_null()) else {
        return invalid(format!("fieldPath `{path}` is missing for replacement source {selector}"));
    };
    refined(value, &source.options)
}

/// One part of a text, where the options say so.
fn refined(value: Value, options: &FieldOptions) -> Result<Value, Error> {
    unsupported(options)?;
    if options.delimiter.is_empty() {
        return Ok(value);
    }
    let Some(text) = scalar(&value) else {
        return invalid("delimiter option can only be used with scalar nodes");
    };
    let part = usize::try_from(options.index)
        .ok()
        .and_then(|at| text.split(&options.delimiter).nth(at).map(str::to_owned));
    match part {
        Some(part) => Ok(part.into()),
        None => invalid(format!("options.index {} is out of bounds for value {text}", options.index)),
    }
}

fn unsupported(options: &FieldOptions) -> Result<(), Error> {
    if options.encoding.is_empty() {
        return Ok(());
    }
    invalid(format!("replacement option encoding {:?} is not supported", options.encoding))
}

fn put(set: &mut Set, target: &Target, value: &Value) -> Result<(), Error> {
    unsupported(&target.options)?;
    let Some(select) = &target.select else { return invalid("target must specify resources to select") };
    let select = Matcher::new(select)?;
    let mut reject = Vec::new();
    for selector in &target.reject {
        let names = [&selector.group, &selector.version, &selector.kind, &selector.name, &selector.namespace];
        let by_name = names.iter().any(|text| !text.is_empty());
        let by_pairs = !selector.label_selector.is_empty() || !selector.annotation_selector.is_empty();
        reject.push((Matcher::new(selector)?, by_name, by_pairs));
    }
    let paths = match target.field_paths.as_slice() {
        [] => vec![DEFAULT_PATH.to_owned()],
        paths => paths.to_vec(),
    };
    for one in &mut set.0 {
        let ids = one.ids();
        let fits = |matcher: &Matcher, id: &Id| {
            matcher.fits_kind(&id.gvk) && matcher.fits_name(&id.name) && matcher.fits_namespace(&id.namespace)
        };
        let rejected = reject.iter().any(|(matcher, by_name, by_pairs)| {
            *by_name && ids.iter().any(|id| fits(matcher, id)) || *by_pairs && matcher.fits_pairs(one)
        });
        if rejected || !select.fits_pairs(one) || !ids.iter().any(|id| fits(&select, id)) {
            continue;
        }
        for path in &paths {
            copy(one, path, value, &target.options)?;
        }
    }
    Ok(())
}

fn copy(one: &mut Resource, path: &str, value: &Value, options: &FieldOptions) -> Result<(), Error> {
    let make = options.create.then_some(value);
    let mut count = 0;
    visit(&mut one.object, &split(path), make, &mut |field| {
        count += 1;
        set(field, value, options)
    })?;
    if count > 0 {
        return Ok(());
    }
    let or_create = if options.create { " or create" } else { "" };
    invalid(format!("unable to find{or_create} field {path:?} in replacement target"))
}

/// Sets a field. One that holds a plain value keeps its type.
fn set(field: &mut Value, value: &Value, options: &FieldOptions) -> Result<(), Error> {
    if !options.delimiter.is_empty() {
        let (Some(text), Some(part)) = (scalar(field), scalar(value)) else {
            return invalid("delimiter option can only be used with scalar nodes");
        };
        let mut parts: Vec<String> = text.split(&options.delimiter).map(str::to_owned).collect();
        match usize::try_from(options.index) {
            Err(_) => parts.insert(0, part),
            Ok(at) if at >= parts.len() => parts.push(part),
            Ok(at) => parts[at] = part,
        }
        *field = typed(&parts.join(&options.delimiter), field);
        return Ok(());
    }
    *field = match (scalar(value), field.is_object() || field.is_array() || field.is_null()) {
        (Some(text), false) => typed(&text, field),
        _ => value.clone(),
    };
    Ok(())
}

/// A plain value's text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(_) | Value::Array(_) => None,
        other => Some(other.to_string()),
    }
}

/// A text as a value of the same type as another, where it can be.
fn typed(text: &str, like: &Value) -> Value {
    let read = match like {
        Value::Number(_) | Value::Bool(_) => serde_json::from_str::<Value>(text).ok(),
        _ => None,
    };
    read.filter(|read| read.is_number() || read.is_boolean()).unwrap_or_else(|| text.into())
}

/// Splits at dots; `[a.b]` and `a\.b` are one part.
fn split(path: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut escaped) = (Vec::new(), String::new(), 0, false);
    for letter in path.chars() {
        match letter {
            '.' if escaped => {
                part.pop();
                part.push('.');
            }
            '.' if depth == 0 => parts.push(std::mem::take(&mut part)),
            letter => {
                depth += i32::from(letter == '[') - i32::from(letter == ']');
                part.push(letter);
            }
        }
        escaped = letter == '\\';
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Calls `found` with every field that the path leads to; with `make`, makes what is missing on the way.
fn visit(
    value: &mut Value,
    path: &[String],
    make: Option<&Value>,
    found: &mut dyn FnMut(&mut Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some((first, rest)) = path.split_first() else { return found(value) };
    let inner = first.strip_prefix('[').and_then(|part| part.strip_suffix(']'));
    if let Value::Array(items) = value {
        if first == "*" {
            return items.iter_mut().try_for_each(|item| visit(item, rest, make, found));
        }
        if let Some((key, wanted)) = inner.and_then(|part| part.split_once('=')) {
            let fits = |item: &Value| {
                let own = if key.is_empty() { item } else { &item[key] };
                scalar(own).is_some_and(|own| own == wanted) && !own.is_null()
            };
            if !items.iter().any(fits) && make.is_some() {
                items.push(if key.is_empty() { wanted.into() } else { json!({key: wanted}) });
            }
            return items
                .iter_mut()
                .filter(|item| fits(item))
                .try_for_each(|item| visit(item, rest, make, found));
        }
        let at = match first.as_str() {
            "-" if make.is_some() => items.len(),
            "-" => items.len().saturating_sub(1),
            number => match number.parse() {
                Ok(at) => at,
                Err(_) => return Ok(()),
            },
        };
        if at == items.len() && make.is_some() {
            items.push(empty(rest, make));
        }
        return items.get_mut(at).map_or(Ok(()), |item| visit(item, rest, make, found));
    }
    let Value::Object(map) = value else { return Ok(()) };
    if first == "*" {
        return map.values_mut().try_for_each(|field| visit(field, rest, make, found));
    }
    let name = inner.unwrap_or(first);
    if make.is_some() && map.get(name).is_none_or(Value::is_null) {
        map.insert(name.to_owned(), empty(rest, make));
    }
    map.get_mut(name).map_or(Ok(()), |field| visit(field, rest, make, found))
}

/// What is made for a part of a path, by the part behind it.
fn empty(rest: &[String], make: Option<&Value>) -> Value {
    match (rest.first(), make) {
        (None, Some(value)) => value.clone(),
        (Some(next), _) if next == "-" || next.contains('=') || next.parse::<usize>().is_ok() => json!([]),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_at_dots_that_mean_something() {
        for (path, wanted) in [
            ("a.b", vec!["a", "b"]),
            ("a.[b.c].d", vec!["a", "[b.c]", "d"]),
            (r"a\.b.c", vec!["a.b", "c"]),
            ("a.[name=x.y].0", vec!["a", "[name=x.y]", "0"]),
        ] {
            assert_eq!(split(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_field_keeps_its_type() {
        let table = [
            (json!(1), json!("4"), json!(4)),
            (json!("x"), json!(8080), json!("8080")),
            (json!(true), json!("no number"), json!("no number")),
            (json!({"a": 1}), json!("x"), json!("x")),
        ];
        for (mut field, value, wanted) in table {
            set(&mut field, &value, &FieldOptions::default()).unwrap();
            assert_eq!(field, wanted);
        }
    }
}
