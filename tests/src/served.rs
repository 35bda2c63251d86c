//! A cluster in the test's process that listens on a port, and a kubeconfig for programs that come from outside.

use crate::profile::Said;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::kubeconfig::{Entry, merge};
use minik::Cluster;
use serde_json::json;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

/// The cluster, and a home folder of its own for the programs.
pub struct Served {
    /// The cluster; it ends with the test.
    pub cluster: Cluster,
    home: TempDir,
}

impl Served {
    /// A cluster with so many simulated nodes, whose namespace `default` takes pods.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(nodes: u32) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let cluster = Cluster::builder().nodes(nodes).listener(listener).start().await.expect("it starts");
        crate::settled(&cluster.client()).await;
        let home = TempDir::new().expect("a folder");
        let pki = cluster.pki();
        let entry = Entry {
            name: "served".to_owned(),
            server: format!("https://127.0.0.1:{}", cluster.port()),
            certificate_authority_data: STANDARD.encode(&pki.ca.cert),
            client_certificate_data: STANDARD.encode(&pki.admin.cert),
            client_key_data: STANDARD.encode(&pki.admin.key),
            namespace: None,
        };
        let config = merge(json!({}), &entry).expect("an empty file is a kubeconfig");
        std::fs::write(home.path().join("config"), config.to_string()).expect("written");
        Self { cluster, home }
    }

    /// A folder that is gone with the test.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("config")
    }

    /// Writes a file into the home folder.
    ///
    /// # Panics
    /// If it cannot.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.to_str().expect("a path of letters").to_owned()
    }

    /// A program with the kubeconfig, and a home where nobody else's caches are. It ends when dropped.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.home.path())
            .env("NO_COLOR", "1")
            .env("TZ", "UTC")
            .current_dir(self.home.path())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a program to its end.
    ///
    /// # Panics
    /// If it cannot be run, or does not end in time.
    pub async fn run<S: AsRef<OsStr>>(&self, program: &Path, arguments: &[S]) -> Said {
        let ran = self.command(program).args(arguments).output();
        let output = tokio::time::timeout(crate::DEADLINE * 2, ran).await.expect("it ends in time");
        Said::of(output.unwrap_or_else(|error| panic!("{}: {error}", program.display())))
    }
}
