//! kustomize: a folder with a `kustomization.yaml` becomes a list of objects.
//!
//! **Contract.** What is in a kustomization is done, or refused by name: nothing is left out in silence. Files are read
//! from the folder and below it, other kustomizations from anywhere on this machine. The order of the objects is
//! kustomize's `legacy` order unless the kustomization says otherwise.
//! **Not here.** Reading YAML (the caller hands in a parser), writing it, and anything of a network: remote bases, Helm
//! charts, plugins.
//! **Upstream.** kustomize 5.8.1, as it is in kubectl 1.36 (behaviour).

mod build;
mod config;
mod fields;
mod generate;
mod json_patch;
mod kustomization;
mod load;
mod merge;
mod order;
mod patch;
mod references;
mod replace;
mod resource;
mod transform;

#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::Value;

/// The documents of a YAML text, in order; the first that cannot be read is the last.
pub type Documents = fn(&str) -> Vec<Result<Value, String>>;

/// How texts are read. kustomize has two readers, which agree in all but what is a boolean.
#[derive(Debug, Clone, Copy)]
pub struct Parse {
    /// Of objects: `true` and `false` alone are booleans.
    pub objects: Documents,
    /// Of kustomizations and JSON patches: `yes`, `on` and `n` are, too.
    pub settings: Documents,
}

/// The label value of `buildMetadata: [managedByLabel]`.
pub(crate) const MANAGED_BY: &str = "kustomize-v5.8.1";

/// Which files a kustomization may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoadRestrictor {
    /// Those in its folder and below.
    #[default]
    RootOnly,
    /// All.
    None,
}

/// Why a kustomization makes nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is wrong, in kustomize's words where it has some.
    #[error("{0}")]
    Invalid(String),
    /// The same, and in the course of what.
    #[error("{step}: {cause}")]
    Within {
        /// `accumulating resources`
        step: String,
        /// What is wrong.
        cause: Box<Error>,
    },
}

impl Error {
    pub(crate) fn within(self, step: impl Into<String>) -> Self {
        Self::Within { step: step.into(), cause: Box::new(self) }
    }
}

pub(crate) fn invalid<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(text.into()))
}

/// Builds the kustomization in a folder: its objects, in order. Fields that are out of use are told to `warn`.
///
/// # Errors
/// If it cannot be read, or says what cannot be done.
pub fn build(
    folder: &Path,
    restrictor: LoadRestrictor,
    parse: Parse,
    warn: &mut dyn FnMut(&str),
) -> Result<Vec<Value>, Error> {
    build::build(folder, restrictor, parse, warn)
}
