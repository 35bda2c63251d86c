//! A Docker engine of a test's own, which may be killed without harm to anybody's containers.
//!
//! **Contract**: its data, its socket, its programs and its network are its own: in a network namespace of its own it can
//! neither touch the machine's bridge `docker0` nor its packet filter, and nobody outside reaches its containers' addresses.
//! All of it goes with the value. Needs root and `dockerd`.

use crate::docker::docker_at;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// An engine that runs, or was killed.
pub struct Engine {
    process: Option<Child>,
    folder: TempDir,
}

impl Engine {
    /// Starts an engine with these images of the machine's own.
    ///
    /// # Panics
    /// If it does not answer in time.
    pub fn start(images: &[&str]) -> Self {
        let mut engine = Self { process: None, folder: TempDir::new().expect("a folder") };
        engine.start_again();
        let mut save = Command::new("docker");
        let mut saving = save.arg("save").args(images).stdout(Stdio::piped()).spawn().expect("docker runs");
        let archive = saving.stdout.take().expect("a pipe");
        let mut load = Command::new("docker");
        load.args(["--host", &engine.host(), "load", "--quiet"]).stdin(archive).stdout(Stdio::null());
        assert!(load.status().expect("docker runs").success() && saving.wait().expect("it ends").success());
        engine
    }

    /// Starts it again after [`Self::kill`], with all that it had.
    ///
    /// # Panics
    /// If it does not answer in time.
    pub fn start_again(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        let log = std::fs::File::options().create(true).append(true).open(at("log")).expect("a log");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("unshare");
        command
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .args(["--net", "dockerd", "--host", &self.host()])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .stdout(Stdio::null())
            .stderr(log);
        let mut spawn = || {
            // What a killed one has left stands in the way of the next.
            let _ = std::fs::remove_file(at("pid"));
            command.spawn().expect("dockerd runs")
        };
        let mut process = spawn();
        let host = self.host();
        crate::eventually("the engine answers", || {
            // On a busy machine it may give up waiting for its containerd; a service manager starts it anew.
            if process.try_wait().is_ok_and(|ended| ended.is_some()) {
                process = spawn();
            }
            let said = docker_at(&host, &["version", "--format", "{{.Server.Version}}"]);
            let log = || std::fs::read_to_string(at("log")).unwrap_or_default();
            if said.trim().is_empty() { Err(log()) } else { Ok(()) }
        });
        self.process = Some(process);
    }

    /// Where it listens, for `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// Kills it as a crash would; its containers go on for the time being.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("killed");
        process.wait().expect("it ends");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It ends its containers and its own helpers.
            let _ = Command::new("kill").arg(process.id().to_string()).status();
            let _ = process.wait();
        }
        let removed = kubelet::remove_root_dir(self.folder.path());
        if !std::thread::panicking() {
            removed.expect("nothing is in use");
        }
    }
}
