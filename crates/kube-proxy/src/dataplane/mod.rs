//! What carries rules out.

mod conntrack;
mod nftables;

pub use conntrack::Frontend;
pub use nftables::Nftables;

use async_trait::async_trait;

/// Why rules are not in place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel or the program refused; nothing of the transaction is in place.
    #[error("nft refused: {0}")]
    Refused(String),
    /// The kernel's memory of flows could not be changed.
    #[error("cannot forget flows")]
    Flows(#[source] std::io::Error),
}

/// Where rules go. A text is carried out as a whole or not at all.
#[async_trait]
pub trait Dataplane: Send + Sync + 'static {
    /// Carries out one transaction.
    ///
    /// # Errors
    /// Nothing has changed then.
    async fn apply(&self, transaction: &str) -> Result<(), Error>;

    /// Lets clients over UDP begin anew whose flows do not lead to one of the endpoints of these places.
    ///
    /// # Errors
    /// If that is not possible: then some go on to where nobody is, until they pause.
    async fn forget(&self, places: Vec<Frontend>) -> Result<(), Error>;
}
