//! A program of this machine that runs for the server: its own etcd, the registry.
//!
//! **Contract**: it has started when it says so in a line on standard error; it ends with the server, even if that is killed.
//! **Not here**: which programs, with which arguments (`etcd`, `registry`).

use crate::problem::Problem;
use anyhow::{Context as _, Result};
use component_base::Context;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a program may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Which program it is.
pub(crate) struct Program {
    /// Its name, which is looked for on PATH.
    pub(crate) name: &'static str,
    /// What to do where there is none.
    pub(crate) hint: &'static str,
    /// Whether a line says that it serves.
    pub(crate) serves: fn(&str) -> bool,
    /// Passes a line on to our log.
    pub(crate) log: fn(&str),
}

/// A program that runs.
pub(crate) struct Companion {
    name: &'static str,
    child: Child,
}

impl Companion {
    /// Starts a program and returns when it serves.
    pub(crate) async fn start(
        program: Program,
        context: &Context,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let Program { name, hint, serves, log } = program;
        let mut command = Command::new(name);
        arguments(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        // kill_on_drop does not help when this process is killed: the kernel sends the signal then.
        crate::daemon::die_with_parent(command.as_std_mut());
        let mut child =
            command.spawn().map_err(|error| Problem::error(format!("start {name}: {error}"), hint))?;
        let mut lines = BufReader::new(child.stderr.take().context("a program's output")?).lines();
        let serving = async {
            let mut last = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                if serves(&line) {
                    return Ok(());
                }
                last = line;
            }
            anyhow::bail!("{name} ended while it started: {last}")
        };
        tokio::time::timeout(START_LIMIT, serving)
            .await
            .with_context(|| format!("{name} does not serve clients"))??;
        // Its output must be read, or it would block.
        context.shutdown.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log(&line);
            }
        });
        Ok(Self { name, child })
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // A process that is gone already is what we want.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            tracing::warn!("{} did not end in {STOP_LIMIT:?}; it is killed", self.name);
        }
    }
}
