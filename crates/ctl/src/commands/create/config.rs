//! `create configmap` and `create secret`: data from literals, files, folders and env files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::generate::{Generator, Given, object};
use crate::cli;
use crate::client_config::os_text;
use crate::output::json::compact;
use crate::report::{Error, message};

/// `create configmap`
pub(super) const CONFIG_MAP: Generator = Generator {
    names: &["configmap", "cm"],
    about: "Create a config map from a local file, directory or literal value",
    required: &[],
    flags: sources,
    make: |given| Box::pin(std::future::ready(config_map(given))),
    plural: "configmaps",
    failure: "failed to create configmap: ",
};

/// `create secret generic`
pub(super) const GENERIC: Generator = Generator {
    names: &["generic"],
    about: "Create a secret from a local file, directory, or literal value",
    required: &[],
    flags: || sources().into_iter().chain([cli::text("type", "The type of secret to create")]).collect(),
    make: |given| Box::pin(std::future::ready(generic(given))),
    plural: "secrets",
    failure: "failed to create secret ",
};

/// `create secret docker-registry`
pub(super) const DOCKER_REGISTRY: Generator = Generator {
    names: &["docker-registry"],
    about: "Create a secret for use with a Docker registry",
    required: &[],
    flags: || {
        vec![
            cli::text("docker-username", "Username for Docker registry authentication"),
            cli::text("docker-password", "Password for Docker registry authentication"),
            cli::text("docker-email", "Email for Docker registry"),
            cli::text("docker-server", "Server location for Docker registry")
                .default_value("https://index.docker.io/v1/"),
            cli::flag("append-hash", "Append a hash of the secret to its name."),
            cli::texts(
                "from-file",
                "Key files can be specified using their file path, in which case a default name of .dockerconfigjson will be given to them",
            ),
        ]
    },
    make: |given| Box::pin(std::future::ready(docker_registry(given))),
    plural: "secrets",
    failure: "failed to create secret ",
};

/// `create secret tls`
pub(super) const TLS: Generator = Generator {
    names: &["tls"],
    about: "Create a TLS secret",
    required: &[],
    flags: || {
        vec![
            cli::text("cert", "Path to PEM encoded public key certificate."),
            cli::text("key", "Path to private key associated with given certificate."),
            cli::flag("append-hash", "Append a hash of the secret to its name."),
        ]
    },
    make: |given| Box::pin(std::future::ready(tls(given))),
    plural: "secrets",
    failure: "failed to create secret ",
};

fn sources() -> Vec<clap::Arg> {
    vec![
        cli::texts(
            "from-file",
            "Key file can be specified using its file path, in which case file basename will be used as key, or optionally with a key and file path, in which case the given key will be used. Specifying a directory will iterate each named file in the directory whose basename is a valid key.",
        ),
        cli::text("from-literal", "Specify a key and literal value to insert (i.e. mykey=somevalue)")
            .action(clap::ArgAction::Append),
        cli::texts("from-env-file", "Specify the path to a file to read lines of key=val pairs"),
        cli::flag("append-hash", "Append a hash of the object to its name."),
    ]
}

/// Keys and their bytes, in the order in which they were given.
type Data = Vec<(String, Vec<u8>)>;

/// Reads what the flags name.
fn data(given: &Given<'_>, refuse: impl Fn(&str, &Data) -> Result<(), Error>) -> Result<Data, Error> {
    let (files, literals, env) =
        (given.values("from-file"), given.values("from-literal"), given.values("from-env-file"));
    if !(env.is_empty() || files.is_empty() && literals.is_empty()) {
        return Err(message("from-env-file cannot be combined with from-file or from-literal"));
    }
    let mut data = Data::new();
    let add = |data: &mut Data, key: String, bytes: Vec<u8>| {
        refuse(&key, data)?;
        data.push((key, bytes));
        Ok::<_, Error>(())
    };
    for literal in literals {
        let (key, text) = literal
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| message(format!("invalid literal source {literal}, expected key=value")))?;
        // A value in quotes loses them.
        let quoted = |quote| text.len() >= 2 && text.starts_with(quote) && text.ends_with(quote);
        let text = if quoted('"') || quoted('\'') { &text[1..text.len() - 1] } else { text };
        add(&mut data, key.to_owned(), text.as_bytes().to_vec())?;
    }
    for source in files {
        for (key, bytes) in file_source(&source)? {
            add(&mut data, key, bytes)?;
        }
    }
    for file in env {
        for (key, bytes) in env_file(&file, given)? {
            add(&mut data, key, bytes)?;
        }
    }
    Ok(data)
}

fn read_error<'a>(path: &'a str) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |error| message(format!("error reading {path}: {}", os_text(&error)))
}

/// `key=path`, a file, or every file of a folder whose name may be a key.
fn file_source(source: &str) -> Result<Data, Error> {
    let parts: Vec<&str> = source.split('=').collect();
    let (key, path) = match parts.as_slice() {
        [path] => (None, *path),
        ["", path] => return Err(message(format!("key name for file path {path} missing"))),
        [key, ""] => return Err(message(format!("file path for key name {key} missing"))),
        [key, path] => (Some((*key).to_owned()), *path),
        _ => return Err(message("key names or file paths cannot contain '='")),
    };
    let metadata = std::fs::metadata(path).map_err(read_error(path))?;
    if !metadata.is_dir() {
        let base =
            Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy().into_owned());
        return Ok(vec![(key.unwrap_or(base), std::fs::read(path).map_err(read_error(path))?)]);
    }
    if source.contains('=') {
        return Err(message("cannot give a key name for a directory path"));
    }
    let mut files: Vec<_> =
        std::fs::read_dir(path).map_err(read_error(path))?.filter_map(Result::ok).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let mut data = Data::new();
    for file in files.iter().filter(|file| file.path().is_file()) {
        let key = file.file_name().to_string_lossy().into_owned();
        if api::names::config_map_key(&key).is_empty() {
            data.push((key, std::fs::read(file.path())?));
        }
    }
    Ok(data)
}

/// `KEY=value` lines; a key alone takes its value from the environment.
fn env_file(path: &str, given: &Given<'_>) -> Result<Data, Error> {
    let metadata = std::fs::metadata(path).map_err(read_error(path))?;
    if metadata.is_dir() {
        return Err(message("env config file cannot be a directory"));
    }
    let text = std::fs::read_to_string(path).map_err(read_error(path))?;
    let mut data = Data::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let inherited = || (line, given.context.terminal.variable(line).unwrap_or_default());
        let (key, value) = line.split_once('=').unwrap_or_else(inherited);
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(message(format!(
                "{key:?} is not a valid key name: a valid environment variable name must consist only of printable ASCII characters other than '='"
            )));
        }
        data.push((key.to_owned(), value.as_bytes().to_vec()));
    }
    Ok(data)
}

fn config_map(given: &Given<'_>) -> Result<Value, Error> {
    let found = data(given, |key, data| {
        let wrong = api::names::config_map_key(key);
        if !wrong.is_empty() {
            return Err(message(format!(
                "{key:?} is not a valid key name for a ConfigMap: {}",
                wrong.join(",")
            )));
        }
        match data.iter().find(|(known, _)| known == key) {
            None => Ok(()),
            Some((_, bytes)) => {
                let place = if std::str::from_utf8(bytes).is_ok() { "Data" } else { "BinaryData" };
                let name = &given.name;
                Err(message(format!(
                    "cannot add key {key:?}, another key by that name already exists in {place} for ConfigMap {name:?}"
                )))
            }
        }
    })?;
    let (mut text, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in found {
        match String::from_utf8(bytes) {
            Ok(value) => drop(text.insert(key, value.into())),
            Err(error) => drop(binary.insert(key, STANDARD.encode(error.into_bytes()).into())),
        }
    }
    let mut rest = json!({});
    for (field, map) in [("data", text), ("binaryData", binary)] {
        if !map.is_empty() {
            rest[field] = map.into();
        }
    }
    let mut made = object("v1", "ConfigMap", given.metadata(), rest);
    if given.matches.get_flag("append-hash") {
        let mut hashed = json!({"kind": "ConfigMap", "name": given.name,
            "data": if made["data"].is_null() { json!("") } else { made["data"].clone() }});
        if !made["binaryData"].is_null() {
            hashed["binaryData"] = made["binaryData"].clone();
        }
        append_hash(&mut made, &hashed);
    }
    Ok(made)
}

fn generic(given: &Given<'_>) -> Result<Value, Error> {
    let found = data(given, secret_key)?;
    secret(given, given.value("type"), found)
}

fn secret_key(key: &str, data: &Data) -> Result<(), Error> {
    let wrong = api::names::config_map_key(key);
    if !wrong.is_empty() {
        return Err(message(format!("{key:?} is not valid key name for a Secret {}", wrong.join(";"))));
    }
    if data.iter().any(|(known, _)| known == key) {
        return Err(message(format!("cannot add key {key}, another key by that name already exists")));
    }
    Ok(())
}

fn secret(given: &Given<'_>, kind: &str, data: Data) -> Result<Value, Error> {
    let data: Map<String, Value> =
        data.into_iter().map(|(key, bytes)| (key, STANDARD.encode(bytes).into())).collect();
    let mut rest = json!({});
    if !data.is_empty() {
        rest["data"] = data.into();
    }
    if !kind.is_empty() {
        rest["type"] = kind.into();
    }
    let mut made = object("v1", "Secret", given.metadata(), rest);
    if given.matches.get_flag("append-hash") {
        let data = if made["data"].is_null() { json!({}) } else { made["data"].clone() };
        let hashed = json!({"kind": "Secret", "type": kind, "name": given.name, "data": data});
        append_hash(&mut made, &hashed);
    }
    Ok(made)
}

fn docker_registry(given: &Given<'_>) -> Result<Value, Error> {
    const TYPE: &str = "kubernetes.io/dockerconfigjson";
    const KEY: &str = ".dockerconfigjson";
    let [user, password, email, server] =
        ["username", "password", "email", "server"].map(|name| given.value(&format!("docker-{name}")));
    let files = given.values("from-file");
    if files.is_empty() && (user.is_empty() || password.is_empty() || server.is_empty()) {
        return Err(message(
            "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required",
        ));
    }
    let mut data = Data::new();
    for source in &files {
        // A file without a key is the one that such a secret has.
        let source = if source.contains('=') { source.clone() } else { format!("{KEY}={source}") };
        for (key, bytes) in file_source(&source)? {
            secret_key(&key, &data)?;
            data.push((key, bytes));
        }
    }
    if files.is_empty() {
        // Go's order of fields, and those that are empty left out.
        let mut fields = vec![
            format!("\"username\":{}", compact(&user.into())),
            format!("\"password\":{}", compact(&password.into())),
        ];
        if !email.is_empty() {
            fields.push(format!("\"email\":{}", compact(&email.into())));
        }
        fields.push(format!("\"auth\":\"{}\"", STANDARD.encode(format!("{user}:{password}"))));
        let text = format!("{{\"auths\":{{{}:{{{}}}}}}}", compact(&server.into()), fields.join(","));
        data.push((KEY.to_owned(), text.into_bytes()));
    }
    secret(given, TYPE, data)
}

fn tls(given: &Given<'_>) -> Result<Value, Error> {
    let (cert, key) = (given.value("cert"), given.value("key"));
    if cert.is_empty() || key.is_empty() {
        return Err(message("key and cert must be specified"));
    }
    let read = |path: &str| {
        std::fs::read(path)
            .map_err(|error| message(format!("Cannot read file {path}, open {path}: {}", os_text(&error))))
    };
    let data = vec![("tls.crt".to_owned(), read(cert)?), ("tls.key".to_owned(), read(key)?)];
    secret(given, "kubernetes.io/tls", data)
}

/// Ten characters of the digest of an object's content, none of which makes a word.
fn append_hash(made: &mut Value, hashed: &Value) {
    let digest = Sha256::digest(compact(hashed));
    let hex: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let hash = hex.replace('0', "g").replace('1', "h").replace('3', "k").replace('a', "m").replace('e', "t");
    made["metadata"]["name"] = format!("{}-{hash}", made["metadata"]["name"].as_str().unwrap_or("")).into();
}
