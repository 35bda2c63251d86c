//! ConfigMaps and Secrets from literals, files and environment files, and the hash at the end of their names.
//!
//! **Upstream.** `kustomize/api/internal/generators`, `kustomize/api/hasher` (behaviour).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::kustomization::{Behavior, Generator, GeneratorOptions};
use crate::load::Loader;
use crate::resource::{Resource, Set};
use crate::{Error, invalid};

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    ConfigMap,
    Secret,
}

/// Makes an object, with the options of the kustomization for all that it makes.
pub(crate) fn generate(
    loader: &Loader,
    what: What,
    generator: &Generator,
    common: Option<&GeneratorOptions>,
) -> Result<Resource, Error> {
    if generator.name.is_empty() {
        return invalid("a configmap must have a name");
    }
    let options = merged(generator.options.as_ref(), common);
    let data = data(loader, generator)?;
    let kind = match what {
        What::ConfigMap if !generator.secret_type.is_empty() => {
            return invalid("invalid Kustomization: json: unknown field \"type\"");
        }
        What::ConfigMap => "ConfigMap",
        What::Secret => "Secret",
    };
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": generator.name}});
    let (mut text, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in data {
        match (what, String::from_utf8(bytes)) {
            (What::ConfigMap, Ok(value)) => text.insert(key, value.into()),
            (What::ConfigMap, Err(bytes)) => binary.insert(key, base64(bytes.as_bytes()).into()),
            (What::Secret, Ok(value)) => text.insert(key, base64(value.as_bytes()).into()),
            (What::Secret, Err(bytes)) => text.insert(key, base64(bytes.as_bytes()).into()),
        };
    }
    for (field, map) in [("data", text), ("binaryData", binary)] {
        if !map.is_empty() {
            object[field] = Value::Object(map);
        }
    }
    if what == What::Secret {
        let given = generator.secret_type.as_str();
        object["type"] = if given.is_empty() { "Opaque" } else { given }.into();
    }
    if options.immutable {
        object["immutable"] = true.into();
    }
    let mut made = Resource::new(object);
    made.set_metadata("namespace", &generator.namespace);
    for (field, pairs) in [("labels", &options.labels), ("annotations", &options.annotations)] {
        made.set_pairs(
            field,
            pairs.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect(),
        );
    }
    made.wants_hash = !options.disable_name_suffix_hash;
    Ok(made)
}

/// Puts a generated object in its place: new, or over one that is there.
pub(crate) fn absorb(set: &mut Set, mut made: Resource, behavior: Behavior) -> Result<(), Error> {
    let id = made.id();
    let found = set.any_id(|other| *other == id);
    let place = match (found.as_slice(), behavior) {
        ([], Behavior::Create) => return set.append(made),
        ([], _) => return invalid(format!("id {id} does not exist; cannot merge or replace")),
        ([_], Behavior::Create) => {
            return invalid(format!(
                "id {id} exists; can not use behavior: 'create', behavior must be merge or replace"
            ));
        }
        ([place], _) => *place,
        _ => return invalid(format!("found multiple objects that could accept merge of {id}")),
    };
    let old = set.0[place].clone();
    for field in ["labels", "annotations"] {
        let mut pairs = old.pairs(field);
        pairs.extend(made.pairs(field));
        made.set_pairs(field, pairs);
    }
    made.set_metadata("name", old.name());
    made.set_metadata("namespace", old.namespace());
    if behavior == Behavior::Merge {
        for field in ["data", "binaryData"] {
            let mut data = old.object[field].as_object().cloned().unwrap_or_default();
            data.extend(made.object[field].as_object().cloned().unwrap_or_default());
            if !data.is_empty() {
                made.object[field] = Value::Object(data);
            }
        }
    }
    (made.previous, made.prefixes, made.suffixes) = (old.previous, old.prefixes, old.suffixes);
    set.0[place] = made;
    Ok(())
}

/// The generator's own options over those of the kustomization.
fn merged(own: Option<&GeneratorOptions>, common: Option<&GeneratorOptions>) -> GeneratorOptions {
    let mut options = common.cloned().unwrap_or_default();
    if let Some(own) = own {
        options.labels.extend(own.labels.clone());
        options.annotations.extend(own.annotations.clone());
        options.disable_name_suffix_hash |= own.disable_name_suffix_hash;
        options.immutable |= own.immutable;
    }
    options
}

fn data(loader: &Loader, generator: &Generator) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let loading = |error: Error, what: &str, given: &[String]| {
        error.within(format!("{what}: {given:?}").replace(['"', ','], "")).within("loading KV pairs")
    };
    let mut pairs = Vec::new();
    let mut envs = generator.envs.clone();
    if !generator.env.is_empty() {
        envs.push(generator.env.clone());
    }
    for path in &envs {
        let lines = loader.text(path).and_then(|text| env_lines(&text));
        pairs.extend(lines.map_err(|error| loading(error, "env source files", &envs))?);
    }
    for literal in &generator.literals {
        pairs.push(self::literal(literal).map_err(|error| {
            let given = generator.literals.join(" ");
            error.within(format!("literal sources [{given}]")).within("loading KV pairs")
        })?);
    }
    for source in &generator.files {
        let read = file_source(source).and_then(|(key, path)| Ok((key, loader.bytes(&path)?)));
        pairs.push(read.map_err(|error| loading(error, "file sources", &generator.files))?);
    }
    let mut data = BTreeMap::new();
    for (key, value) in pairs {
        if data.insert(key.clone(), value).is_some() {
            return invalid(format!("configmap {} illegally repeats the key `{key}`", generator.name));
        }
    }
    Ok(data)
}

/// `key=value`, the value with or without quotes.
fn literal(text: &str) -> Result<(String, Vec<u8>), Error> {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return invalid(format!("invalid literal source {text}, expected key=value"));
    };
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Ok((key.to_owned(), inner.unwrap_or(value).as_bytes().to_vec()))
}

/// `[key=]path`
fn file_source(text: &str) -> Result<(String, String), Error> {
    match text.split('=').collect::<Vec<_>>()[..] {
        [path] => Ok((path.rsplit('/').next().unwrap_or(path).to_owned(), path.to_owned())),
        ["", path] => invalid(format!("missing key name for file path {path:?} in source {text:?}")),
        [key, ""] => invalid(format!("missing file path for key name {key:?} in source {text:?}")),
        [key, path] => Ok((key.to_owned(), path.to_owned())),
        _ => invalid(format!("source {text:?} key name or file path contains '='")),
    }
}

/// `KEY=value` a line; a key alone has no value.
fn env_lines(text: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut pairs = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return invalid(format!("{key:?} is not a valid key name for an environment variable"));
        }
        pairs.push((key.to_owned(), value.as_bytes().to_vec()));
    }
    Ok(pairs)
}

/// In lines of 70 letters where it is longer than that.
fn base64(bytes: &[u8]) -> String {
    const LINE: usize = 70;
    let whole = STANDARD.encode(bytes);
    if whole.len() < LINE {
        return whole;
    }
    whole.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line).into_owned() + "\n").collect()
}

/// Ends the names of generated objects with a hash of their content.
pub(crate) fn add_hashes(set: &mut Set) {
    for one in set.0.iter_mut().filter(|one| one.wants_hash) {
        let name = format!("{}-{}", one.name(), hash(&one.object));
        one.remember();
        one.set_metadata("name", &name);
    }
}

/// The name is no part of it, whatever upstream means to do.
fn hash(object: &Value) -> String {
    let of = |field: &str| object.get(field).cloned().unwrap_or_else(|| "".into());
    let mut content = BTreeMap::from([("data", of("data")), ("kind", of("kind")), ("name", "".into())]);
    let optional = match object["kind"].as_str() {
        Some("Secret") => {
            content.insert("type", of("type"));
            "stringData"
        }
        _ => "binaryData",
    };
    if object[optional].is_object() {
        content.insert(optional, of(optional));
    }
    let content: Value = content.into_iter().map(|(key, value)| (key.to_owned(), sorted(value))).collect();
    // Go's JSON has no letters that mean something in HTML.
    let text = content.to_string();
    let text = [
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u{2028}", "\\u2028"),
        ("\u{2029}", "\\u2029"),
    ]
    .iter()
    .fold(text, |text, (letter, escaped)| text.replace(letter, escaped));
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    // No vowels, and nothing that looks like one: no words.
    hex[..10]
        .chars()
        .map(|letter| match letter {
            '0' => 'g',
            '1' => 'h',
            '3' => 'k',
            'a' => 'm',
            'e' => 't',
            other => other,
        })
        .collect()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map.into_iter().collect();
            Value::Object(sorted.into_iter().collect())
        }
        other => other,
    }
}
