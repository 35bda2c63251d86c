//! Why an API server cannot start.

use crate::auth::token::TokenError;
use crate::registry;
use api::status::Status;
use std::path::PathBuf;

/// Why an API server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is stored cannot be read.
    #[error("cannot open the registry")]
    Registry(#[source] registry::Error),
    /// The key for service account tokens cannot be used.
    #[error("cannot set up service account tokens")]
    Tokens(#[source] TokenError),
    /// A certificate or key is not PEM, or does not fit.
    #[error("cannot read the {0}")]
    Pem(&'static str, #[source] rustls::pki_types::pem::Error),
    /// Certificates and key do not make a TLS server.
    #[error("cannot set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file that a flag names cannot be read.
    #[error("cannot read {}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// What a flag, or a file that it names, says makes no sense.
    #[error("{0}")]
    Configuration(String),
    /// The objects that must exist from the start cannot be written.
    #[error("cannot write the objects that a cluster starts with")]
    Bootstrap(#[source] Status),
}
