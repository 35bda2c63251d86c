//! What a controller can fail at.

/// A failed operation of a controller; its key is retried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request to the API server failed.
    #[error(transparent)]
    Request(#[from] client::RequestError),
    /// What the server serves could not be found out.
    #[error("unable to retrieve the complete list of server APIs: {0}")]
    Discovery(String),
    /// Objects that should be gone are still there.
    #[error("unexpected items still remain in namespace: {namespace} for gvr: {resources}")]
    ItemsRemain {
        /// The namespace.
        namespace: String,
        /// The resources that still have objects.
        resources: String,
    },
    /// An owner is of a kind that the server does not serve.
    #[error("no matches for kind \"{kind}\" in version \"{api_version}\"")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// Its group and version.
        api_version: String,
    },
    /// A token cannot be signed.
    #[error("cannot sign a token")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// Something that is needed is not there.
    #[error("{0}")]
    Missing(String),
    /// A claim has to go before it can be made again.
    #[error("pvc {0} is being deleted")]
    ClaimGoing(String),
    /// Something has a name that is meant for something else.
    #[error("{what} exists and is not controlled by {by}")]
    Occupied {
        /// What is there.
        what: String,
        /// Who wants the name.
        by: String,
    },
    /// A name on the list of controllers to run that no controller has.
    #[error("\"{0}\" is not in the list of known controllers")]
    UnknownController(String),
}

impl Error {
    /// For `map_err`: names the request that failed.
    pub(crate) fn request(
        verb: &'static str,
        what: impl std::fmt::Display,
    ) -> impl FnOnce(kube::Error) -> Self {
        move |source| client::RequestError::of(verb, what)(source).into()
    }
}

/// The code of a `Status` that the server answered with, 0 for everything else.
pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// Whether a create failed because its namespace is going away.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}
