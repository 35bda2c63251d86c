//! `-f` and `-k`: files, folders, URLs, standard input and kustomizations as a list of objects with their place.
//!
//! **Contract.** Folders give their `.json`, `.yaml` and `.yml` files in name order, lists give their items.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::Value;

use crate::cli::{value, values};
use crate::client_config::os_text;
use crate::commands::Context;
use crate::discovery::Resource;
use crate::fetch;
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

/// Where a command line says that objects are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    files: Vec<String>,
    kustomization: String,
    recursive: bool,
}

impl Sources {
    /// Reads `-f`, `-k` and `-R`, as far as the command has them.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let has = |flag: &str| matches.try_contains_id(flag).is_ok();
        let sources = Self {
            files: if has("filename") { values(matches, "filename") } else { Vec::new() },
            kustomization: if has("kustomize") {
                value(matches, "kustomize").to_owned()
            } else {
                String::new()
            },
            recursive: has("recursive") && matches.get_flag("recursive"),
        };
        if !sources.kustomization.is_empty() && !sources.files.is_empty() {
            return Err(message("only one of -f or -k can be specified"));
        }
        if !sources.kustomization.is_empty() && sources.recursive {
            return Err(message("the -k flag can't be used with -f or -R"));
        }
        Ok(sources)
    }

    /// Whether the command line names any.
    pub(crate) fn given(matches: &ArgMatches) -> bool {
        !Self::from_matches(matches).is_ok_and(|sources| sources.is_empty())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.kustomization.is_empty()
    }

    /// What stands behind `-f`.
    pub(crate) fn files(&self) -> &[String] {
        &self.files
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
pub(crate) async fn read(context: &Context, sources: &Sources) -> Result<(Vec<Manifest>, Vec<Error>), Error> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for one in read_validated(context, sources, Validation::Off).await? {
        match one {
            Ok(manifest) => found.push(manifest),
            Err(error) => errors.push(error),
        }
    }
    Ok((found, errors))
}

/// The objects of every `-f` as they are written; no server is asked about them.
pub(crate) async fn read_local(
    context: &Context,
    sources: &Sources,
) -> Result<(Vec<Value>, Vec<Error>), Error> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for one in objects(context, sources, Validation::Off).await? {
        match one {
            Ok((object, _)) => found.push(object),
            Err(error) => errors.push(error),
        }
    }
    Ok((found, errors))
}

/// Reads every `-f` and resolves the objects' types: in the files' order, each object or why it is none.
pub(crate) async fn read_validated(
    context: &Context,
    sources: &Sources,
    validation: Validation,
) -> Result<Vec<Result<Manifest, Error>>, Error> {
    let mut found = Vec::new();
    for one in objects(context, sources, validation).await? {
        found.push(match one {
            Ok((object, source)) => locate(context, context.discovery().await?, object, source),
            Err(error) => Err(error),
        });
    }
    Ok(found)
}

/// The objects of every `-f`, in the files' order.
async fn objects(context: &Context, sources: &Sources, validation: Validation) -> Result<Vec<Read>, Error> {
    let mut objects: Vec<Read> = Vec::new();
    if !sources.kustomization.is_empty() {
        let folder = &sources.kustomization;
        for object in kustomization(context, folder, kustomize::LoadRestrictor::RootOnly)? {
            flatten(object, folder, validation, &mut objects);
        }
    }
    for file in &sources.files {
        if fetch::is_url(file) {
            match fetch::text(file).await {
                Ok(text) => collect(&text, file, validation, &mut objects),
                Err(error) => objects.push(Err(error)),
            }
            continue;
        }
        if file == "-" {
            let bytes = context.terminal.read_stdin()?;
            let text =
                String::from_utf8(bytes).map_err(|_| message("error parsing STDIN: it is not UTF-8"))?;
            collect(&text, "STDIN", validation, &mut objects);
            continue;
        }
        for path in paths(Path::new(file), sources.recursive)? {
            let shown = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => collect(&text, &shown, validation, &mut objects),
                Err(error) => objects.push(Err(message(format!("open {shown}: {}", os_text(&error))))),
            }
        }
    }
    Ok(objects)
}

/// The objects of a kustomization; what is out of use in it is told on standard error.
pub(crate) fn kustomization(
    context: &Context,
    folder: &str,
    restrictor: kustomize::LoadRestrictor,
) -> Result<Vec<Value>, Error> {
    let mut warn = |line: &str| context.terminal.err(&format!("{line}\n"));
    let parse = kustomize::Parse { objects: yaml_input::strict_documents, settings: yaml_input::documents };
    kustomize::build(Path::new(folder), restrictor, parse, &mut warn)
        .map_err(|error| message(error.to_string()))
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
