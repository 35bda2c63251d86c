//! Everything that can go wrong with a store.

use std::path::PathBuf;

use crate::{Key, KeyValue, Revision};

/// The result of a storage call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. A failed commit wrote nothing, except with [`Error::Unavailable`] and [`Error::Backend`] of a
/// remote backend, after which the outcome is unknown: read again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A condition of a transaction did not hold. Carries the present value, so that the caller can try again
    /// without a read.
    #[error("key {key} was changed by somebody else")]
    Conflict {
        /// The first key, in the order of the operations, whose condition failed.
        key: Key,
        /// What is stored there now.
        current: Option<Box<KeyValue>>,
    },
    /// The revision is older than the history that is kept.
    #[error("revision {requested} has been compacted, the oldest is {compacted}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest revision that can be read at or watched from (0 if the backend did not say).
        compacted: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {requested} is in the future, the current one is {current}")]
    FutureRevision {
        /// The revision asked for.
        requested: Revision,
        /// The newest revision (0 if the backend did not say).
        current: Revision,
    },
    /// A transaction named the same key twice, or has a malformed argument.
    #[error("invalid transaction: {0}")]
    InvalidTxn(String),
    /// The transaction is bigger than the backend takes.
    #[error("transaction of {size} bytes is too large")]
    TooLarge {
        /// Bytes of the keys and values in the transaction.
        size: usize,
    },
    /// The file is not a store, or is damaged. It was left as it is.
    #[error("store file {} is corrupt", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has the file open.
    #[error("store file {} is in use by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened, read or written (permissions, missing folder, disk fault).
    #[error("cannot {operation} store file {}", path.display())]
    Io {
        /// What was tried: `open`, `read`, `write`, …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// No space is left where the store lives. Nothing was written; the store works again once there is space.
    #[error("no space left for the store")]
    Full,
    /// The backend cannot be reached at the moment; trying again later is right.
    #[error("storage is unavailable while trying to {operation}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This build does not contain the backend.
    #[error("this build has no {0} storage")]
    Unsupported(&'static str),
    /// The store was closed.
    #[error("storage is closed")]
    Closed,
    /// Any other failure of the backend.
    #[error("storage failed to {operation}")]
    Backend {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
