//! Rules by the `nft` program: one call a transaction.

use super::{Dataplane, Error, Frontend, conntrack};
use crate::rules::removal;
use async_trait::async_trait;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PROGRAM: &str = "nft";
/// Whether packets between pods of one bridge pass the rules. **Upstream**: kube-proxy asks for the same.
const BRIDGE_NETFILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// nftables of this machine.
#[derive(Debug, Clone, Default)]
pub struct Nftables;

impl Nftables {
    /// Whether rules can be changed here: the program is installed, and we have the right.
    ///
    /// # Errors
    /// With the reason if not.
    pub async fn check() -> Result<(), Error> {
        run("list tables\n").await
    }

    /// Whether packets between pods of one bridge pass the rules both ways.
    pub fn sees_bridges() -> bool {
        std::fs::read_to_string(Path::new(BRIDGE_NETFILTER)).is_ok_and(|text| text.trim() == "1")
    }

    /// Whether answers can be told from questions among packets that do not leave a bridge.
    pub async fn tracks_bridges() -> bool {
        const PROBE: &str = "table bridge minik-probe { chain c { ct state established accept; }; }\n";
        let probe = PROBE.to_owned() + "delete table bridge minik-probe\n";
        run(&probe).await.is_ok()
    }

    /// Removes a table, if there is one.
    ///
    /// # Errors
    /// If it is still there.
    pub async fn remove(family: &str, table: &str) -> Result<(), Error> {
        run(&removal(family, table)).await
    }
}

#[async_trait]
impl Dataplane for Nftables {
    async fn apply(&self, transaction: &str) -> Result<(), Error> {
        run(transaction).await
    }

    async fn forget(&self, places: Vec<Frontend>) -> Result<(), Error> {
        let forgotten = tokio::task::spawn_blocking(move || conntrack::forget(&places)).await;
        let forgotten = forgotten.map_err(std::io::Error::other).and_then(|forgotten| forgotten);
        forgotten.map(|count| tracing::debug!(count, "forgot flows")).map_err(Error::Flows)
    }
}

async fn run(transaction: &str) -> Result<(), Error> {
    let failed = |source| Error::Run { program: PROGRAM, source };
    let mut command = Command::new(PROGRAM);
    command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Programs for administrators are not on everybody's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = command.env("PATH", format!("{path}:/usr/sbin:/sbin")).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(transaction.as_bytes()).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
