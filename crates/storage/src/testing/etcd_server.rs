//! A real etcd on free ports of the loopback, in a folder of its own, for as long as a test holds it.
//!
//! **Contract:** panics if etcd is not installed or does not start: a test that needs it must not pass in silence.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::EtcdConfig;

/// How often a start is tried, since a free port may be taken by somebody else before etcd has it.
const ATTEMPTS: usize = 5;

/// A running etcd.
pub struct EtcdServer {
    folder: TempDir,
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

impl EtcdServer {
    /// Starts etcd and waits until it answers.
    pub async fn start() -> Self {
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().expect("a folder for etcd");
            let mut server = Self { folder, client_port: free_port(), peer_port: free_port(), process: None };
            if server.run().await {
                return server;
            }
            said = std::fs::read_to_string(server.log()).unwrap_or_default();
        }
        panic!("etcd did not start after {ATTEMPTS} attempts: {said}");
    }

    /// How to reach it.
    pub fn config(&self) -> EtcdConfig {
        EtcdConfig { endpoints: vec![self.url()], ..EtcdConfig::default() }
    }

    /// Its client URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("kill etcd");
            process.wait().expect("wait for etcd");
        }
    }

    /// Starts it again on the same ports, with the same data.
    pub async fn restart(&mut self) {
        self.kill();
        assert!(self.run().await, "etcd did not start again");
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Whether etcd has started and answers.
    async fn run(&mut self) -> bool {
        let client = self.url();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--name", "test", "--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .args(["--logger", "zap", "--log-level", "error"])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log()).expect("a log for etcd"))
            .spawn()
            .expect("start etcd: is etcd-server installed?");
        self.process = Some(child);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while tokio::time::Instant::now() < deadline {
            let process = self.process.as_mut().expect("just started");
            if process.try_wait().expect("ask for etcd's state").is_some() {
                self.process = None;
                return false;
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", self.client_port)).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        false
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its number").port()
}
