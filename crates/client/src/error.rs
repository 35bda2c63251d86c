//! What can go wrong between a component and the API server.

use std::path::PathBuf;

/// A request to the API server that failed: a component's errors have it as a variant.
#[derive(Debug, thiserror::Error)]
#[error("could not {verb} {what}")]
pub struct RequestError {
    /// `get`, `update`, …
    pub verb: &'static str,
    /// The object or collection.
    pub what: String,
    /// Why.
    pub source: kube::Error,
}

impl RequestError {
    /// For `map_err`: names the request that failed.
    pub fn of(verb: &'static str, what: impl std::fmt::Display) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self { verb, what: what.to_string(), source }
    }
}

/// A failed operation of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kubeconfig could not be read for a connection.
    #[error("could not use kubeconfig {}", .path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// The client could not be built.
    #[error("could not set up the client for kubeconfig {}", .path.display())]
    Connect {
        /// The file whose context was used.
        path: PathBuf,
        /// Why.
        source: kube::Error,
    },
    /// A file could not be read or written.
    #[error("could not {verb} {}", .path.display())]
    File {
        /// `read`, `write`, `lock`, …
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A kubeconfig file is not what it should be; it was left alone.
    #[error("{} is not a kubeconfig file: {reason}", .path.display())]
    NotAKubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process holds the file's lock.
    #[error("{} is locked by another process (remove {} if none is running)", .path.display(), .lock.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Its lock.
        lock: PathBuf,
    },
}
