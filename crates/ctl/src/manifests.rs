//! `-f`: files, folders and standard input as a list of objects with their place.
//!
//! **Contract.** Folders give their `.json`, `.yaml` and `.yml` files in name order, lists give their items. Nothing is
//! fetched from the network.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::client_config::os_text;
use crate::commands::Context;
use crate::discovery::Resource;
use crate::report::{Error, message};
use crate::resolve;
use crate::yaml_input;

/// One object of a manifest.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    /// The object as written.
    pub(crate) object: Value,
    /// File name, or `STDIN`.
    pub(crate) source: String,
    /// Its type.
    pub(crate) resource: Resource,
    /// Its namespace, where its type has them.
    pub(crate) namespace: Option<String>,
}

impl Manifest {
    /// The object's name; empty with `generateName`.
    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or("")
    }
}

impl From<Manifest> for resolve::Target {
    /// The object of the server that a manifest names.
    fn from(manifest: Manifest) -> Self {
        Self {
            name: Some(manifest.name().to_owned()),
            source: Some(manifest.source),
            namespace: manifest.namespace,
            resource: manifest.resource,
        }
    }
}

/// Whether a manifest must name its type before anything is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    /// Yes, and the refusal says how to do without.
    On,
    /// It fails later.
    Off,
}

/// Reads every `-f` without validation.
pub(crate) async fn read(
    context: &Context,
    files: &[String],
    recursive: bool,
) -> Result<(Vec<Manifest>, Vec<Error>), Error> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for one in read_validated(context, files, recursive, Validation::Off).await? {
        match one {
            Ok(manifest) => found.push(manifest),
            Err(error) => errors.push(error),
        }
    }
    Ok((found, errors))
}

/// Reads every `-f` and resolves the objects' types: in the files' order, each object or why it is none.
pub(crate) async fn read_validated(
    context: &Context,
    files: &[String],
    recursive: bool,
    validation: Validation,
) -> Result<Vec<Result<Manifest, Error>>, Error> {
    let mut objects: Vec<Read> = Vec::new();
    for file in files {
        if file.starts_with("http://") || file.starts_with("https://") {
            return Err(message(format!(
                "unable to read URL {file:?}: kctl reads files, folders and standard input only"
            )));
        }
        if file == "-" {
            let bytes = context.terminal.read_stdin()?;
            let text =
                String::from_utf8(bytes).map_err(|_| message("error parsing STDIN: it is not UTF-8"))?;
            collect(&text, "STDIN", validation, &mut objects);
            continue;
        }
        for path in paths(Path::new(file), recursive)? {
            let shown = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => collect(&text, &shown, validation, &mut objects),
                Err(error) => objects.push(Err(message(format!("open {shown}: {}", os_text(&error))))),
            }
        }
    }
    let mut found = Vec::new();
    for one in objects {
        found.push(match one {
            Ok((object, source)) => locate(context, context.discovery().await?, object, source),
            Err(error) => Err(error),
        });
    }
    Ok(found)
}

/// An object and its source, or why it is none.
type Read = Result<(Value, String), Error>;

fn locate(
    context: &Context,
    discovery: &crate::discovery::Discovery,
    object: Value,
    source: String,
) -> Result<Manifest, Error> {
    let (kind, api_version) =
        (object["kind"].as_str().unwrap_or(""), object["apiVersion"].as_str().unwrap_or(""));
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    let written = object["metadata"]["namespace"].as_str().unwrap_or("");
    let Some(resource) = resolve::by_kind(discovery, api_version, kind) else {
        return Err(message(format!(
            "resource mapping not found for name: {name:?} namespace: {written:?} from {source:?}: no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first"
        )));
    };
    let namespace = if !resource.namespaced {
        None
    } else if written.is_empty() {
        Some(context.namespace().to_owned())
    } else if context.globals.namespace.is_some() && written != context.namespace() {
        return Err(message(format!(
            "the namespace from the provided object {written:?} does not match the namespace {:?}. You must pass '--namespace={written}' to perform this operation.",
            context.namespace()
        )));
    } else {
        Some(written.to_owned())
    };
    let resource = resource.clone();
    Ok(Manifest { object, source, resource, namespace })
}

/// The objects of one text; lists give their items.
fn collect(text: &str, source: &str, validation: Validation, objects: &mut Vec<Read>) {
    for document in yaml_input::documents(text) {
        match document {
            Ok(document) => {
                flatten(document, source, validation, objects);
                // A document that is refused is the last one of its text.
                if validation == Validation::On && objects.last().is_some_and(Result::is_err) {
                    return;
                }
            }
            Err(error) => objects.push(Err(message(format!("error parsing {source}: {error}")))),
        }
    }
}

fn flatten(document: Value, source: &str, validation: Validation, objects: &mut Vec<Read>) {
    if validation == Validation::On && !document.is_object() {
        objects.push(Err(message(format!(
            "error validating {source:?}: error validating data: invalid object to validate; if you choose to ignore these errors, turn validation off with --validate=false"
        ))));
        return;
    }
    let missing: Vec<String> = ["apiVersion", "kind"]
        .iter()
        .filter(|field| document[**field].as_str().is_none_or(str::is_empty))
        .map(|field| format!("{field} not set"))
        .collect();
    if validation == Validation::On && !missing.is_empty() {
        let list = if missing.len() == 1 { missing.concat() } else { format!("[{}]", missing.join(", ")) };
        objects.push(Err(message(format!(
            "error validating {source:?}: error validating data: {list}; if you choose to ignore these errors, turn validation off with --validate=false"
        ))));
        return;
    }
    for (field, label) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if document[field].as_str().is_none_or(str::is_empty) {
            let text = crate::output::json::compact(&document);
            objects.push(Err(message(format!(
                "unable to decode {source:?}: Object '{label}' is missing in '{text}'"
            ))));
            return;
        }
    }
    let is_list =
        document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && document["items"].is_array();
    if !is_list {
        objects.push(Ok((document, source.to_owned())));
        return;
    }
    let kind = document["kind"].as_str().unwrap_or("").trim_end_matches("List").to_owned();
    let api_version = document["apiVersion"].clone();
    for item in document["items"].as_array().into_iter().flatten() {
        let mut item = item.clone();
        if !kind.is_empty() && item["kind"].is_null() && item.is_object() {
            item["kind"] = kind.as_str().into();
            item["apiVersion"] = api_version.clone();
        }
        flatten(item, source, validation, objects);
    }
}

fn paths(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, Error> {
    let shown = path.display().to_string();
    if shown.contains(['*', '?', '[']) && !path.exists() {
        return Err(message(format!("the path {shown:?} does not exist")));
    }
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => message(format!("the path {shown:?} does not exist")),
        _ => message(format!("the path {shown:?} cannot be accessed: stat {shown}: {}", os_text(&error))),
    })?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    walk(path, recursive, &mut found)?;
    if found.is_empty() {
        return Err(message(format!(
            "error reading [{shown}]: recognized file extensions are [.json .yaml .yml]"
        )));
    }
    Ok(found)
}

fn walk(folder: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                walk(&entry, recursive, found)?;
            }
        } else if entry
            .extension()
            .and_then(|text| text.to_str())
            .is_some_and(|text| matches!(text, "json" | "yaml" | "yml"))
        {
            found.push(entry);
        }
    }
    Ok(())
}
