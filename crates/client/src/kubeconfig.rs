//! A profile's entry in the user's kubeconfig file: merged in, and taken out again.
//!
//! **Contract**: everything else in the file stays, fields that we do not know included (comments do not survive
//! YAML). A file that is not a kubeconfig is an error and is never overwritten. Written atomically (rename), mode
//! 0600, under client-go's lock file (`config.lock`).
//! **Upstream**: `client-go/tools/clientcmd` (`ModifyConfig`, `lockFile`).

use crate::Error;
use serde_json::{Map, Value, json};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A cluster and a user's way into it, as a context of one name.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name of the cluster, the user and the context.
    pub name: String,
    /// `https://127.0.0.1:6443`.
    pub server: String,
    /// PEM, in base64.
    pub certificate_authority_data: String,
    /// PEM, in base64.
    pub client_certificate_data: String,
    /// PEM, in base64.
    pub client_key_data: String,
    /// The context's namespace.
    pub namespace: Option<String>,
}

/// The file that `kubectl` would write to: `$KUBECONFIG`'s first file, or the default.
pub fn target(kubeconfig: Option<&str>, default: &Path) -> PathBuf {
    kubeconfig
        .into_iter()
        .flat_map(|list| list.split(':'))
        .find(|path| !path.is_empty())
        .map_or_else(|| default.to_owned(), PathBuf::from)
}

/// Merges an entry into the file (which need not exist) and makes it current.
///
/// # Errors
/// If the file cannot be read or written, is locked, or is not a kubeconfig file.
pub fn install(path: &Path, entry: &Entry) -> Result<(), Error> {
    modify(path, |config| merge(config, entry))
}

/// Takes the entries of this name out of the file; a file that does not exist is left so.
///
/// # Errors
/// As [`install`].
pub fn uninstall(path: &Path, name: &str) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    modify(path, |config| remove(config, name))
}

/// The file with the entry merged in and made current.
///
/// # Errors
/// Says what is not as in a kubeconfig.
pub fn merge(config: Value, entry: &Entry) -> Result<Value, String> {
    let mut config = object(config)?;
    config.entry("apiVersion").or_insert_with(|| json!("v1"));
    config.entry("kind").or_insert_with(|| json!("Config"));
    config.entry("preferences").or_insert_with(|| json!({}));
    let cluster = json!({
        "certificate-authority-data": entry.certificate_authority_data,
        "server": entry.server,
    });
    let user = json!({
        "client-certificate-data": entry.client_certificate_data,
        "client-key-data": entry.client_key_data,
    });
    let mut context = json!({ "cluster": entry.name, "user": entry.name });
    if let Some(namespace) = &entry.namespace {
        context["namespace"] = json!(namespace);
    }
    for (list, field, value) in
        [("clusters", "cluster", cluster), ("contexts", "context", context), ("users", "user", user)]
    {
        let items = named(&mut config, list)?;
        let item = json!({ "name": entry.name, field: value });
        match items.iter_mut().find(|item| item["name"] == entry.name.as_str()) {
            Some(known) => *known = item,
            None => items.push(item),
        }
    }
    config.insert("current-context".to_owned(), json!(entry.name));
    Ok(Value::Object(config))
}

/// The file without the entries of this name; if the context was current, none is.
///
/// # Errors
/// Says what is not as in a kubeconfig.
pub fn remove(config: Value, name: &str) -> Result<Value, String> {
    let mut config = object(config)?;
    for list in ["clusters", "contexts", "users"] {
        named(&mut config, list)?.retain(|item| item["name"] != name);
    }
    if config.get("current-context").is_some_and(|current| current == name) {
        config.insert("current-context".to_owned(), json!(""));
    }
    Ok(Value::Object(config))
}

fn object(config: Value) -> Result<Map<String, Value>, String> {
    match config {
        Value::Null => Ok(Map::new()),
        Value::Object(config) => match config.get("kind") {
            None => Ok(config),
            Some(kind) if kind == "Config" => Ok(config),
            Some(kind) => Err(format!("its kind is {kind}")),
        },
        _ => Err("it is not a mapping".to_owned()),
    }
}

fn named<'a>(config: &'a mut Map<String, Value>, list: &str) -> Result<&'a mut Vec<Value>, String> {
    let value = config.entry(list).or_insert_with(|| json!([]));
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| format!("{list} is not a list"))
}

/// Reads, changes and writes the file under its lock.
fn modify(path: &Path, change: impl FnOnce(Value) -> Result<Value, String>) -> Result<(), Error> {
    // A link (a synchronised home, for instance) stays a link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(file("create", directory))?;
    }
    let _lock = Lock::take(path)?;
    let invalid = |reason: String| Error::NotAKubeconfig { path: path.clone(), reason };
    let old = match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Value::Null,
        Ok(text) => serde_saphyr::from_str(&text).map_err(|error| invalid(error.to_string()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(file("read", path)(error)),
    };
    let new = change(old.clone()).map_err(invalid)?;
    if new == old {
        return Ok(());
    }
    // Each value on its key's line: people grep certificates out of this file.
    let style = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let text =
        serde_saphyr::to_string_with_options(&new, style).map_err(|error| invalid(error.to_string()))?;
    write(path, &text).map_err(file("write", path))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = suffixed(path, &format!(".{}.tmp", std::process::id()));
    let result = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// client-go's lock: a file that exists while somebody writes.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, Error> {
        let lock = suffixed(path, ".lock");
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock) {
            Ok(_) => Ok(Self(lock)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::Locked { path: path.to_owned(), lock })
            }
            Err(error) => Err(file("lock", path)(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn file(verb: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::File { verb, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
