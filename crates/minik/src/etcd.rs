//! A profile's own etcd: the machine's `etcd` binary, on loopback ports, with its data in the profile.
//!
//! **Contract**: data is durable (etcd's own log); the process ends with the server, even if that is killed.

use crate::problem::Problem;
use anyhow::{Context as _, Result};
use component_base::Context;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long etcd may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running etcd.
pub(crate) struct Etcd {
    child: Child,
    endpoint: String,
}

impl Etcd {
    /// Its client URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // A process that is gone already is what we want.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            tracing::warn!("etcd did not end in {STOP_LIMIT:?}; it is killed");
        }
    }
}

/// Starts etcd with this data folder and returns when it serves clients.
pub(crate) async fn start(data: &Path, context: &Context) -> Result<Etcd> {
    let (client, peer) = (free_port()?, free_port()?);
    let endpoint = format!("http://127.0.0.1:{client}");
    let peers = format!("http://127.0.0.1:{peer}");
    let mut command = Command::new("etcd");
    command
        .args(["--name", "minik", "--data-dir"])
        .arg(data)
        .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("minik={peers}"), "--logger", "zap", "--log-outputs", "stderr"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // kill_on_drop does not help when this process is killed: the kernel sends the signal then.
    crate::daemon::die_with_parent(command.as_std_mut());
    let mut child = command.spawn().map_err(|error| {
        Problem::error(
            format!("start etcd: {error}"),
            "install etcd (Debian: apt-get install etcd-server), or name a server with --etcd-servers",
        )
    })?;
    let mut lines = BufReader::new(child.stderr.take().context("etcd's output")?).lines();
    let serving = async {
        let mut last = String::new();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("ready to serve client requests") || line.contains("serving client traffic") {
                return Ok(());
            }
            last = line;
        }
        anyhow::bail!("etcd ended while it started: {last}")
    };
    tokio::time::timeout(START_LIMIT, serving).await.context("etcd does not serve clients")??;
    // Its output must be read, or it would block; what is wrong it says in our log, as a crate of its own.
    context.shutdown.spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("\"level\":\"error\"") || line.contains("\"level\":\"fatal\"") {
                tracing::warn!(target: "etcd", "{line}");
            } else {
                tracing::info!(target: "etcd", "{line}");
            }
        }
    });
    Ok(Etcd { child, endpoint })
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port for etcd")?;
    Ok(listener.local_addr().context("find a free port for etcd")?.port())
}
