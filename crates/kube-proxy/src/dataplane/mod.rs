//! What carries rules out.

mod bridge;
mod conntrack;
mod nftables;
mod remote;

pub use conntrack::Frontend;
pub use nftables::Nftables;
pub use remote::{Remote, serve};

use async_trait::async_trait;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;

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
    /// The process that has the right to does not answer.
    #[error("no answer from the process that may change rules")]
    Remote(#[source] std::io::Error),
    /// The kernel's memory of flows could not be changed.
    #[error("cannot forget flows")]
    Flows(#[source] std::io::Error),
    /// The bridge's addresses may change with its ports.
    #[error("cannot hold the bridge's addresses: {0}")]
    Bridge(String),
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

    /// Has the bridge with this address keep its hardware address, whatever pods come and go, and this one, whether there are
    /// any.
    ///
    /// # Errors
    /// If that is not possible: then connections of pods may pause when others come and go.
    async fn hold(&self, bridge: IpAddr) -> Result<(), Error>;
}

/// No rules at all: ports are passed on by this process, cluster addresses lead nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Userspace;

#[async_trait]
impl Dataplane for Userspace {
    async fn apply(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn forget(&self, _: Vec<Frontend>) -> Result<(), Error> {
        Ok(())
    }

    async fn hold(&self, _: IpAddr) -> Result<(), Error> {
        Ok(())
    }
}

/// Whether answers can be told from questions among packets that do not leave a bridge.
pub async fn tracks_bridges(dataplane: &dyn Dataplane) -> bool {
    const PROBE: &str = "table bridge minik-probe { chain c { ct state established accept; }; }\n";
    let probe = PROBE.to_owned() + "delete table bridge minik-probe\n";
    dataplane.apply(&probe).await.is_ok()
}

/// Removes tables of a kind, as far as there are any.
///
/// # Errors
/// If they are still there.
pub async fn remove(dataplane: &dyn Dataplane, kind: &str, tables: &[String]) -> Result<(), Error> {
    let removal: String = tables.iter().map(|table| crate::rules::removal(kind, table)).collect();
    dataplane.apply(&removal).await
}

/// Where a program lies in one of these folders; its name, if it does not.
///
/// With the place known, and not looked for by the new process in folders of its own, the system starts a program without
/// a copy of this process, whose page tables are large: 20 ms of CPU among 10,000 services.
fn program(folders: &OsStr, name: &str) -> PathBuf {
    let mut files = std::env::split_paths(folders).map(|folder| folder.join(name));
    files.find(|file| file.is_file()).unwrap_or_else(|| name.into())
}
