//! What can go wrong between the registry and its storage, and how much of it a client is told.

use api::kind::Resource;
use api::status::Status;
use component_base::logging::Chain;

/// Why the registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The storage could not be read.
    #[error("cannot load the registry")]
    Load(#[source] storage::Error),
    /// A stored object is not JSON.
    #[error("stored object {key} is damaged")]
    Damaged {
        /// Its key.
        key: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

/// The Status for a storage failure that is not a matter of the request; the cause is logged, not sent.
pub(crate) fn storage_status(resource: &Resource, error: &storage::Error) -> Status {
    match error {
        storage::Error::Compacted { .. } => {
            Status::expired("The provided continue parameter is too old to display a consistent list result.")
        }
        storage::Error::FutureRevision { requested, current } => {
            Status::too_large_resource_version(*requested, *current)
        }
        storage::Error::TooLarge { size } => too_large(*size),
        storage::Error::Unavailable { .. } => {
            tracing::warn!(resource = %resource.qualified(), error = %Chain(error), "storage is unavailable");
            Status::server_timeout(resource, "storage", 1)
        }
        storage::Error::Full => Status::internal("no space left on the server's disk"),
        storage::Error::Closed => Status::unavailable("the server is shutting down"),
        other => {
            tracing::error!(resource = %resource.qualified(), error = %Chain(other), "storage failed");
            Status::internal("storage failed")
        }
    }
}

/// The error for an object that is bigger than the store takes, as upstream words etcd's.
pub(crate) fn too_large(size: usize) -> Status {
    Status::new(
        413,
        "RequestEntityTooLarge",
        format!(
            "etcdserver: request is too large ({size} bytes, the limit is {})",
            super::transaction::MAX_OBJECT_BYTES
        ),
    )
}
