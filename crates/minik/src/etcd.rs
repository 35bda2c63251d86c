//! A profile's own etcd: the machine's `etcd` binary, on loopback ports, with its data in the profile.
//!
//! **Contract**: data is durable (etcd's own log); the process ends with the server, even if that is killed.

use crate::companion::{Companion, Program};
use anyhow::{Context as _, Result};
use component_base::Context;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

const ETCD: Program = Program {
    name: "etcd",
    hint: "install etcd (Debian: apt-get install etcd-server), or name a server with --etcd-servers",
    serves: |line| line.contains("ready to serve client requests") || line.contains("serving client traffic"),
    // What is wrong it says in our log, as a crate of its own.
    log: |line| match line.contains("\"level\":\"error\"") || line.contains("\"level\":\"fatal\"") {
        true => tracing::warn!(target: "etcd", "{line}"),
        false => tracing::info!(target: "etcd", "{line}"),
    },
};

/// A running etcd.
pub(crate) struct Etcd {
    companion: Companion,
    endpoint: String,
}

impl Etcd {
    /// Its client URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.companion.stop().await;
    }
}

/// Starts etcd with this data folder and returns when it serves clients.
pub(crate) async fn start(data: &Path, context: &Context) -> Result<Etcd> {
    let (client, peer) = (free_port()?, free_port()?);
    let endpoint = format!("http://127.0.0.1:{client}");
    let peers = format!("http://127.0.0.1:{peer}");
    let companion = Companion::start(ETCD, context, |command| {
        command
            .args(["--name", "minik", "--data-dir"])
            .arg(data)
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("minik={peers}")])
            .args(["--logger", "zap", "--log-outputs", "stderr"]);
    });
    Ok(Etcd { companion: companion.await?, endpoint })
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port for etcd")?;
    Ok(listener.local_addr().context("find a free port for etcd")?.port())
}
