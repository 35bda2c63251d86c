//! Files and folders, as the kustomization in a folder may name them.
//!
//! **Upstream.** `kustomize/api/internal/loader` (behaviour).

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::{Documents, Error, LoadRestrictor, Parse, invalid};

/// The folder of one kustomization, and of those that led to it.
pub(crate) struct Loader<'a> {
    root: PathBuf,
    referrer: Option<&'a Loader<'a>>,
    restrictor: LoadRestrictor,
    parse: Parse,
}

/// The names that a kustomization may have.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

impl Loader<'static> {
    /// The folder that a user names.
    pub(crate) fn new(folder: &Path, restrictor: LoadRestrictor, parse: Parse) -> Result<Self, Error> {
        let shown = folder.display().to_string();
        if is_remote(&shown) {
            return invalid(format!("{shown}: kustomizations are read from folders of this machine only"));
        }
        let root = confirmed(folder, &shown).map_err(|error| error.within("must build at directory"))?;
        Ok(Self { root, referrer: None, restrictor, parse })
    }
}

impl<'a> Loader<'a> {
    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of another kustomization, which may not be one that led here.
    pub(crate) fn descend(&'a self, path: &str) -> Result<Loader<'a>, Error> {
        if path.is_empty() {
            return invalid("new root cannot be empty");
        }
        if Path::new(path).is_absolute() {
            return invalid(format!("new root '{path}' cannot be absolute"));
        }
        let joined = join(&self.root, path);
        let root = confirmed(&joined, &joined.display().to_string())
            .map_err(|error| error.within("must build at directory"))?;
        let mut visited = Some(self);
        while let Some(one) = visited {
            if one.root.starts_with(&root) {
                return invalid(format!(
                    "cycle detected: candidate root '{}' contains visited root '{}'",
                    root.display(),
                    one.root.display()
                ));
            }
            visited = one.referrer;
        }
        Ok(Loader { root, referrer: Some(self), restrictor: self.restrictor, parse: self.parse })
    }

    /// A file's bytes.
    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>, Error> {
        if is_remote(path) {
            return invalid(format!("{path}: files are read from this machine only"));
        }
        let joined = join(&self.root, path);
        let real = real(&joined, &joined.display().to_string())?;
        if real.is_dir() {
            return invalid(format!("'{}' must resolve to a file", real.display()));
        }
        if self.restrictor == LoadRestrictor::RootOnly && !real.starts_with(&self.root) {
            return invalid(format!(
                "security; file '{}' is not in or below '{}'",
                real.display(),
                self.root.display()
            ));
        }
        std::fs::read(&real)
            .map_err(|error| Error::Invalid(format!("open {}: {}", real.display(), plain(&error))))
    }

    /// A file's text.
    pub(crate) fn text(&self, path: &str) -> Result<String, Error> {
        String::from_utf8(self.bytes(path)?).map_err(|_| Error::Invalid(format!("{path} is not UTF-8")))
    }

    /// The objects of a text.
    pub(crate) fn documents(&self, text: &str) -> Result<Vec<Value>, String> {
        read(self.parse.objects, text)
    }

    /// The settings of a text.
    pub(crate) fn settings(&self, text: &str) -> Result<Vec<Value>, String> {
        read(self.parse.settings, text)
    }

    /// The kustomization of this folder.
    pub(crate) fn kustomization(&self) -> Result<Value, Error> {
        let found: Vec<&str> = NAMES.into_iter().filter(|name| self.root.join(name).is_file()).collect();
        match found.as_slice() {
            [] => invalid(format!(
                "unable to find one of '{}', '{}' or '{}' in directory '{}'",
                NAMES[0],
                NAMES[1],
                NAMES[2],
                self.root.display()
            )),
            [name] => {
                let documents =
                    self.settings(&self.text(name)?).map_err(|error| invalid_kustomization(&error))?;
                Ok(documents.into_iter().next().unwrap_or(Value::Null))
            }
            _ => invalid(format!("Found multiple kustomization files under: {}\n", self.root.display())),
        }
    }
}

fn read(documents: Documents, text: &str) -> Result<Vec<Value>, String> {
    let found: Result<Vec<Value>, String> = documents(text).into_iter().collect();
    found.map_err(|error| error.trim_start_matches("error converting YAML to JSON: ").to_owned())
}

fn invalid_kustomization(error: &str) -> Error {
    Error::Invalid(format!("invalid Kustomization: {error}"))
}

/// A URL, or git's way to name a repository.
fn is_remote(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@") || path.starts_with("github.com/")
}

/// A path below a folder, without `.` and `..`.
fn join(root: &Path, path: &str) -> PathBuf {
    let mut joined = PathBuf::new();
    for part in root.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                joined.pop();
            }
            other => joined.push(other),
        }
    }
    joined
}

fn confirmed(folder: &Path, shown: &str) -> Result<PathBuf, Error> {
    let real = real(folder, shown).map_err(|error| error.within("not a valid directory"))?;
    if !real.is_dir() {
        return invalid(format!("'{shown}': file is not directory"));
    }
    Ok(real)
}

/// A path without links.
fn real(path: &Path, shown: &str) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(|error| {
        // The first part that is not there is what a look along the path stumbles over.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let missing = absolute.ancestors().filter(|part| std::fs::symlink_metadata(part).is_err()).last();
        let missing = missing.unwrap_or(&absolute).display();
        Error::Invalid(format!("evalsymlink failure on '{shown}' : lstat {missing}: {}", plain(&error)))
    })
}

/// An error of the system as Go words it.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
