//! What can go wrong in the kubelet as a whole; what goes wrong with one pod becomes its status and an event.

/// Why the kubelet, or one of its requests, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to the API server failed.
    #[error("{operation}")]
    Api {
        /// What was tried: `register node`.
        operation: &'static str,
        /// What the client said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A call of the runtime failed.
    #[error("{operation}")]
    Runtime {
        /// What was tried: `list pod sandboxes`.
        operation: &'static str,
        /// What the runtime said.
        #[source]
        source: runtime::Error,
    },
}

impl Error {
    /// Whether the API server has no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        match self {
            Self::Api { source, .. } => matches!(&**source, kube::Error::Api(status) if status.code == 404),
            Self::Runtime { .. } => false,
        }
    }

    /// A request to the API server that failed.
    pub(crate) fn api(operation: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { operation, source: Box::new(source) }
    }

    /// A call of the runtime that failed.
    pub(crate) fn runtime(operation: &'static str) -> impl FnOnce(runtime::Error) -> Self {
        move |source| Self::Runtime { operation, source }
    }
}
