//! A profile of the measured binary: made, started, killed, deleted.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use tokio::time::Instant;

/// A profile in a folder of its own; dropping it deletes what is left of it.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The profile's name; its containers carry it.
    pub(super) name: String,
    minik: PathBuf,
    home: PathBuf,
    port: u16,
    deleted: std::cell::Cell<bool>,
}

/// When the command that starts a cluster reported its steps, since it was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) api_ready: Duration,
    pub(super) node_ready: Duration,
}

impl Cluster {
    pub(super) fn new(minik: &Path, purpose: &str) -> Result<Self> {
        let name = format!("bench-{purpose}-{}", std::process::id());
        let home = env::temp_dir().join(&name);
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let minik = fs::canonicalize(minik).context("find the binary")?;
        Ok(Self { name, minik, home, port, deleted: false.into() })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.minik);
        command.args(["--profile", &self.name]).args(arguments);
        command.env("MINIK_HOME", &self.home).env("KUBECONFIG", self.home.join("kubeconfig"));
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// A command of a client, with the profile's kubeconfig; what the client keeps is in the profile's folder.
    pub(super) fn client_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.home.join("kubeconfig")).env("HOME", &self.home);
        command
    }

    /// Runs `minik start` and notes when each step is reported.
    pub(super) fn start(&self) -> Result<Steps> {
        self.start_with(&[])
    }

    /// The same with more arguments.
    pub(super) fn start_with(&self, arguments: &[&str]) -> Result<Steps> {
        let port = self.port.to_string();
        let mut command = self.command(&[&["start", "--api-port", &port], arguments].concat());
        let before = Instant::now();
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("run minik start")?;
        let (mut api_ready, mut node_ready) = (None, None);
        let stdout = child.stdout.take().context("its output")?;
        for line in BufReader::new(stdout).lines() {
            let line = line.context("read its output")?;
            let step = if line.contains("API server") {
                &mut api_ready
            } else if line.contains("Node Ready") || line.contains("Nodes Ready") {
                &mut node_ready
            } else {
                continue;
            };
            step.get_or_insert(before.elapsed());
        }
        let mut said = String::new();
        child.stderr.take().context("its errors")?.read_to_string(&mut said)?;
        ensure!(child.wait()?.success(), "minik start failed: {}", said.trim());
        Ok(Steps {
            api_ready: api_ready.context("minik start told no step `API server`")?,
            node_ready: node_ready.context("minik start told no step `Node Ready`")?,
        })
    }

    fn pid_file(&self) -> PathBuf {
        self.home.join("profiles").join(&self.name).join("minik.pid")
    }

    /// The server's process id.
    pub(super) fn pid(&self) -> Result<u32> {
        let path = self.pid_file();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        text.trim().parse().context("a process id")
    }

    /// Kills the server as a crash does, and waits until it is gone.
    pub(super) fn kill(&self) -> Result<()> {
        let pid = self.pid()?;
        let status = Command::new("kill").args(["-9", &pid.to_string()]).status().context("run kill")?;
        ensure!(status.success(), "kill failed");
        // The kernel lets go of the server's lock when its last thread has ended; then the profile may be started again.
        let file = fs::File::open(self.pid_file()).context("open the server's lock")?;
        file.lock_shared().context("wait for the server's end")?;
        Ok(())
    }

    /// A client with the user's rights.
    pub(super) async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// The server's address and the user's keys.
    pub(super) async fn config(&self) -> Result<kube::Config> {
        let file = Kubeconfig::read_from(self.home.join("kubeconfig")).context("read the kubeconfig")?;
        Ok(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
    }

    pub(super) async fn pods(&self) -> Result<Api<Pod>> {
        Ok(Api::default_namespaced(self.client().await?))
    }

    /// Deletes the profile and its folder.
    pub(super) fn delete(&self) -> Result<()> {
        if self.deleted.replace(true) {
            return Ok(());
        }
        let output = self.command(&["delete"]).output().context("run minik delete")?;
        fs::remove_dir_all(&self.home).with_context(|| format!("remove {}", self.home.display()))?;
        ensure!(output.status.success(), "minik delete: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.delete() {
            eprintln!("warning: profile {} is not gone: {error:#}", self.name);
        }
    }
}
