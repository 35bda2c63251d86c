//! What can go wrong in a runtime, told apart as far as the kubelet acts differently.
//!
//! Contract: `message` fields hold the engine's own text, because users read it in events and container
//! statuses. Errors are `Clone`, so that a fake can be told to return one many times.

/// A runtime's answer, or why there is none.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a runtime or image service refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such sandbox or container. Stop and remove never answer this: gone is what they want.
    #[error("no such {kind}: {id}")]
    NotFound {
        /// `sandbox` or `container`.
        kind: &'static str,
        /// The id or name that was asked for.
        id: String,
    },
    /// The name of a sandbox or container is taken: the same attempt was created before.
    #[error("the name {name:?} is already in use by {id}")]
    AlreadyExists {
        /// The runtime's name for it.
        name: String,
        /// Who has it; empty where the runtime cannot tell.
        id: String,
    },
    /// The engine has no such image, or no registry knows it.
    #[error("{message}")]
    ImageNotFound {
        /// The reference that was asked for.
        image: String,
        /// The engine's text.
        message: String,
    },
    /// The image reference cannot be parsed. Kubelet reason: `InvalidImageName`.
    #[error("couldn't parse image name {image:?}: {message}")]
    InvalidImageName {
        /// The reference as given.
        image: String,
        /// What is wrong with it.
        message: String,
    },
    /// The registry refused these credentials, or their absence. Kubelet reason: `ErrImagePull`.
    #[error("{message}")]
    ImageUnauthorized {
        /// The reference that was asked for.
        image: String,
        /// The engine's text.
        message: String,
    },
    /// The registry cannot be reached or is failing. Kubelet reason: `RegistryUnavailable`.
    #[error("{message}")]
    RegistryUnavailable {
        /// The reference that was asked for.
        image: String,
        /// The engine's text.
        message: String,
    },
    /// The image is used by a container and was not removed.
    #[error("{message}")]
    ImageInUse {
        /// The reference that was asked for.
        image: String,
        /// The engine's text.
        message: String,
    },
    /// A host port of the sandbox is taken.
    #[error("{message}")]
    PortInUse {
        /// The engine's text.
        message: String,
    },
    /// The container exists and its process cannot be started: no such command, bad working directory, …
    /// The container is then `Exited` with [`reason::CONTAINER_CANNOT_RUN`] and this message.
    #[error("{message}")]
    CannotStart {
        /// The engine's text.
        message: String,
        /// The exit code that the engine recorded: 127 for a missing command, 126 for one it may not run, else 128.
        exit_code: i32,
    },
    /// The request makes no sense to the engine; repeating it will not help.
    #[error("{message}")]
    Invalid {
        /// The engine's text.
        message: String,
    },
    /// The command of an `exec_sync` ran longer than allowed.
    #[error("command {command:?} timed out")]
    DeadlineExceeded {
        /// The command, joined by blanks.
        command: String,
    },
    /// The engine does not answer: not running, restarting, no permission on its socket.
    #[error("container runtime is down: {message}")]
    Unavailable {
        /// What the connection said.
        message: String,
    },
    /// Anything else, with the call that failed.
    #[error("{operation}: {message}")]
    Other {
        /// The call, as a gerund or noun: `create container`.
        operation: &'static str,
        /// The engine's text.
        message: String,
    },
}

impl Error {
    /// A missing sandbox.
    pub fn sandbox_not_found(id: impl Into<String>) -> Self {
        Self::NotFound { kind: "sandbox", id: id.into() }
    }

    /// A missing container.
    pub fn container_not_found(id: impl Into<String>) -> Self {
        Self::NotFound { kind: "container", id: id.into() }
    }

    /// Whether the thing asked for is not there (sandbox, container or image).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::ImageNotFound { .. })
    }

    /// Whether the engine could not be asked at all, so that nothing is known.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
