//! The OpenAPI documents of other servers: those of version 3 are listed in our index and fetched from them, those of
//! version 2 are parts of our own.
//!
//! **Upstream**: `kube-aggregator/pkg/controllers/{openapi,openapiv3}`, `kube-openapi/pkg/aggregator`.

use super::Aggregator;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DEFINITION: &str = "#/definitions/";

/// Adds the documents of other servers to the index of `/openapi/v3`.
pub(crate) fn add_paths(aggregator: &Aggregator, index: &mut Value) {
    for (name, remote) in aggregator.all() {
        let Some(remote) = (*remote).as_ref() else { continue };
        let Some(url) = aggregator.learnt(&name).and_then(|learnt| learnt.openapi) else { continue };
        index["paths"][remote.path().trim_start_matches('/')] = json!({"serverRelativeURL": url});
    }
}

/// Adds what other servers say of their APIs to the document of `/openapi/v2`.
pub(crate) fn add_documents(aggregator: &Aggregator, document: &mut Value) {
    for (name, _) in aggregator.all() {
        if let Some(part) = aggregator.learnt(&name).and_then(|learnt| learnt.document) {
            merge(document, Value::clone(&part));
        }
    }
}

/// Group and version of a document below `/openapi/v3`.
pub(crate) fn document_group_version(path: &str) -> Option<(&str, &str)> {
    let name = path.strip_prefix("/openapi/v3/")?;
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["apis", group, version] => Some((group, version)),
        ["api", version] => Some(("", version)),
        _ => None,
    }
}

/// What a document of version 2 says below a path, and the definitions that this needs.
pub(super) fn part(mut document: Value, path: &str) -> Option<Value> {
    let is_below =
        |name: &str| name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let Value::Object(mut paths) = document["paths"].take() else { return None };
    paths.retain(|name, _| is_below(name));
    let Value::Object(mut definitions) = document["definitions"].take() else { return None };
    let mut wanted = BTreeSet::new();
    paths.values().for_each(|item| references(item, &mut wanted));
    let mut due: Vec<String> = wanted.iter().cloned().collect();
    while let Some(name) = due.pop() {
        let mut inner = BTreeSet::new();
        definitions.get(&name).into_iter().for_each(|definition| references(definition, &mut inner));
        due.extend(inner.into_iter().filter(|name| wanted.insert(name.clone())));
    }
    definitions.retain(|name, _| wanted.contains(name));
    (!paths.is_empty()).then(|| json!({"paths": paths, "definitions": definitions}))
}

/// The names of the definitions that something refers to.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().and_then(|text| text.strip_prefix(DEFINITION)) {
                    Some(definition) if name == "$ref" => drop(found.insert(definition.to_owned())),
                    _ => references(value, found),
                }
            }
        }
        _ => {}
    }
}

/// Puts a part into a document; definitions that are called as others here get other names.
fn merge(document: &mut Value, mut part: Value) {
    let Value::Object(definitions) = part["definitions"].take() else { return };
    let Some(known) = document["definitions"].as_object() else { return };
    let mut renamed = BTreeMap::new();
    for (name, definition) in &definitions {
        if known.get(name).is_some_and(|other| other != definition) {
            let free = |name: &String| !known.contains_key(name) && !definitions.contains_key(name);
            let other = (2..).map(|number| format!("{name}_v{number}")).find(free);
            renamed.extend(other.map(|other| (name.clone(), other)));
        }
    }
    let mut add = |field: &str, entries: Map<String, Value>| {
        let Some(known) = document[field].as_object_mut() else { return };
        for (name, mut entry) in entries {
            rename(&mut entry, &renamed);
            let name = renamed.get(&name).cloned().unwrap_or(name);
            known.entry(name).or_insert(entry);
        }
    };
    add("definitions", definitions);
    if let Value::Object(paths) = part["paths"].take() {
        add("paths", paths);
    }
}

fn rename(value: &mut Value, renamed: &BTreeMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let other =
                    value.as_str().filter(|_| name == "$ref").and_then(|text| text.strip_prefix(DEFINITION));
                match other.and_then(|definition| renamed.get(definition)) {
                    Some(other) => *value = format!("{DEFINITION}{other}").into(),
                    None => rename(value, renamed),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_brings_what_it_needs_under_names_that_are_free() {
        let reference = |name: &str| json!({"$ref": format!("{DEFINITION}{name}")});
        let theirs = json!({"swagger": "2.0",
            "paths": {"/apis/g/v1/things": {"get": {"schema": reference("Thing")}}, "/apis/g/v10/": {}, "/version/": {"x": reference("Info")}},
            "definitions": {"Thing": {"properties": {"meta": reference("Meta"), "part": reference("Part")}},
                "Meta": {"type": "object", "description": "theirs"}, "Part": {"type": "string"}, "Info": {}}});
        let part = part(theirs, "/apis/g/v1").expect("a part");
        assert_eq!(part["paths"].as_object().map(Map::len), Some(1));
        assert_eq!(part["definitions"].as_object().map(Map::len), Some(3));
        let mut ours = json!({"paths": {"/api": {}}, "definitions": {"Meta": {"type": "object"}, "Part": {"type": "string"}}});
        merge(&mut ours, part);
        assert_eq!(ours["definitions"]["Meta"], json!({"type": "object"}));
        assert_eq!(ours["definitions"]["Meta_v2"]["description"], "theirs");
        assert_eq!(ours["definitions"]["Thing"]["properties"]["meta"], reference("Meta_v2"));
        assert_eq!(ours["definitions"]["Thing"]["properties"]["part"], reference("Part"));
        assert_eq!(ours["paths"]["/apis/g/v1/things"]["get"]["schema"], reference("Thing"));
    }
}
