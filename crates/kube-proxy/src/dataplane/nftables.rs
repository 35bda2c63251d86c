//! Rules by the `nft` program: one call a transaction.

use super::{Dataplane, Error, Frontend, bridge, conntrack, program};
use crate::family::Family;
use async_trait::async_trait;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PROGRAM: &str = "nft";
/// Whether packets between pods of one bridge pass the rules. **Upstream**: kube-proxy asks for the same.
const BRIDGE_NETFILTER: [(Family, &str); 2] = [
    (Family::V4, "/proc/sys/net/bridge/bridge-nf-call-iptables"),
    (Family::V6, "/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
];

/// nftables of this machine.
#[derive(Debug, Clone)]
pub struct Nftables {
    /// Where the program is looked for.
    path: OsString,
}

impl Nftables {
    /// With a program in one of these folders (`PATH`), or in one for administrators.
    pub fn new(path: &OsStr) -> Self {
        // Programs for administrators are not on everybody's PATH.
        let mut folders = path.to_owned();
        folders.push(":/usr/sbin:/sbin");
        Self { path: folders }
    }

    /// Whether rules can be changed here: the program is installed, and we have the right.
    ///
    /// # Errors
    /// With the reason if not.
    pub async fn check(&self) -> Result<(), Error> {
        self.run("list tables\n").await
    }

    /// Whether packets between pods of one bridge pass the rules both ways.
    pub fn sees_bridges(family: Family) -> bool {
        let on = |path| std::fs::read_to_string(Path::new(path)).is_ok_and(|text| text.trim() == "1");
        BRIDGE_NETFILTER.iter().any(|(of, path)| *of == family && on(path))
    }

    async fn run(&self, transaction: &str) -> Result<(), Error> {
        let failed = |source| Error::Run { program: PROGRAM, source };
        let mut command = Command::new(program(&self.path, PROGRAM));
        command
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(transaction.as_bytes()).await.map_err(failed)?;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Error::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }
}

#[async_trait]
impl Dataplane for Nftables {
    async fn apply(&self, transaction: &str) -> Result<(), Error> {
        self.run(transaction).await
    }

    async fn forget(&self, places: Vec<Frontend>) -> Result<(), Error> {
        let forgotten = tokio::task::spawn_blocking(move || conntrack::forget(&places)).await;
        let forgotten = forgotten.map_err(std::io::Error::other).and_then(|forgotten| forgotten);
        forgotten.map(|count| tracing::debug!(count, "forgot flows")).map_err(Error::Flows)
    }

    async fn hold(&self, address: IpAddr) -> Result<(), Error> {
        bridge::hold(&self.path, address).await
    }
}
