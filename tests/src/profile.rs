//! A profile of the real `minik`, in a home of its own, gone with its value.

use crate::binary;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A home folder, a kubeconfig and a profile name that no other test has.
pub struct Profile {
    home: TempDir,
    /// Its name; containers carry it.
    pub name: String,
    /// A port that was free a moment ago.
    pub port: u16,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; -1 after a signal.
    pub code: i32,
}

impl Said {
    /// Of this output.
    pub fn of(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Standard output of a command that succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }
}

impl Profile {
    /// A profile called after the test.
    pub fn new(test: &str) -> Self {
        let port = free_port();
        Self { home: TempDir::new().expect("a folder"), name: format!("{test}-{}", std::process::id()), port }
    }

    /// The folder of everything.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The profile's own folder.
    pub fn dir(&self) -> PathBuf {
        self.home().join("home/profiles").join(&self.name)
    }

    /// The kubeconfig that `minik start` writes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.home().join("kubeconfig")
    }

    /// A command with this profile's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("MINIK_HOME", self.home().join("home"))
            .env("KUBECONFIG", self.kubeconfig())
            // Clients keep their caches here.
            .env("HOME", self.home())
            .env("NO_COLOR", "1");
        command
    }

    /// Runs `minik -p NAME …`.
    pub fn minik(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(&binary("minik"));
        command.args(["-p", &self.name]).args(arguments);
        Said::of(command.output().expect("minik runs"))
    }

    /// `minik start` on the port of its own, with more arguments.
    pub fn start(&self, arguments: &[&str]) -> Said {
        let port = self.port.to_string();
        let mut all = vec!["start", "--api-port", &port];
        all.extend(arguments);
        self.minik(&all)
    }

    /// Runs `kctl …`.
    pub fn kctl(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(&binary("kctl"));
        Said::of(command.args(arguments).output().expect("kctl runs"))
    }

    /// Process id of the server.
    ///
    /// # Panics
    /// If none runs.
    pub fn pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.dir().join("minik.pid")).expect("the server runs");
        text.trim().parse().expect("a process id")
    }

    /// Kills the server as a crash would.
    pub fn kill(&self) {
        let status = Command::new("kill").args(["-9", &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Names of the engine's containers of this profile; all of them, or those that run.
    pub fn containers(&self, all: bool) -> Vec<String> {
        let mut command = Command::new("docker");
        command.args(["ps", "--format", "{{.ID}} {{.Names}}", "--filter"]);
        command.arg(format!("label=minik.profile={}", self.name));
        if all {
            command.arg("--all");
        }
        let said = Said::of(command.output().expect("docker runs")).ok();
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if self.dir().exists() {
            let said = self.minik(&["delete"]);
            // A second panic would hide the first.
            if said.code != 0 && !std::thread::panicking() {
                panic!("delete the profile: {said:?}");
            }
        }
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}
