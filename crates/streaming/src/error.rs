//! What can go wrong on a streaming connection.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a connection could not be made or broke.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transport failed.
    #[error("streaming connection")]
    Io(#[from] std::io::Error),
    /// The peer answered the offer of an upgrade with something else.
    #[error("unable to upgrade connection: {0}")]
    NotUpgraded(String),
    /// The HTTP connection ended before it was handed over.
    #[error("upgrade the connection")]
    Upgrade(#[source] hyper::Error),
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The peer refused or took back a stream.
    #[error("stream was reset by the peer")]
    Reset,
    /// The connection ended.
    #[error("connection closed")]
    Closed,
    /// The peer did not open in time what was to be expected.
    #[error("timed out waiting for client to create streams")]
    StreamsTimeout,
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            Error::Reset => std::io::Error::new(std::io::ErrorKind::ConnectionReset, error),
            Error::Closed => std::io::Error::new(std::io::ErrorKind::NotConnected, error),
            other => std::io::Error::other(other),
        }
    }
}
