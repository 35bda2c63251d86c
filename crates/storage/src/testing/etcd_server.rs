//! A real etcd on free ports of the loopback, in a folder of its own, for as long as a test holds it.
//!
//! **Contract:** panics if etcd is not installed or does not start: a test that needs it must not pass in silence.

use std::ffi::OsString;
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
    tls: Option<ServerTls>,
    process: Option<Child>,
}

/// Certificates for the server, as PEM. Clients must show one of the same authority.
#[derive(Clone)]
pub struct ServerTls {
    /// Who signed all of them.
    pub ca: String,
    /// The server's, for 127.0.0.1.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl EtcdServer {
    /// Starts etcd and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts etcd, over TLS if there are certificates.
    pub async fn start_with(tls: Option<ServerTls>) -> Self {
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().expect("a folder for etcd");
            let mut server = Self {
                folder,
                client_port: free_port(),
                peer_port: free_port(),
                tls: tls.clone(),
                process: None,
            };
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
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
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

    fn tls_arguments(&self) -> Vec<OsString> {
        let Some(tls) = &self.tls else { return Vec::new() };
        let mut arguments: Vec<OsString> = vec!["--client-cert-auth".into()];
        let files = [
            ("--trusted-ca-file", "ca", &tls.ca),
            ("--cert-file", "certificate", &tls.certificate),
            ("--key-file", "key", &tls.key),
        ];
        for (argument, name, pem) in files {
            let path = self.folder.path().join(name);
            std::fs::write(&path, pem).expect("a file for etcd's TLS");
            arguments.extend([argument.into(), path.into()]);
        }
        arguments
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
            .args(self.tls_arguments())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log()).expect("a log for etcd"))
            .spawn()
            .expect("start etcd: is etcd-server installed?");
        self.process = Some(child);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
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
