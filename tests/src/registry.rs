//! A registry on this machine's loopback, open or with a password, gone with its value.
//!
//! Needs Debian's `docker-registry`.

use crate::docker::docker;
use crate::profile::{Said, free_port};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// `secret`, as bcrypt writes it.
const HASH: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Whom a registry lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// `user` with the password `secret`.
    Password,
}

/// A registry that runs.
pub struct Registry {
    process: Child,
    folder: TempDir,
    /// `127.0.0.1:PORT`, the beginning of its images' names.
    pub address: String,
}

impl Registry {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not start: `docker-registry` is missing, for example.
    pub fn start(access: Access) -> Self {
        let folder = TempDir::new().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let mut config = json!({
            "version": 0.1, "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": at("data")}},
            "http": {"addr": address, "secret": "test"},
        });
        if access == Access::Password {
            std::fs::write(at("users"), HASH).expect("written");
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": at("users")}});
        }
        // JSON is YAML.
        std::fs::write(at("config.yml"), config.to_string()).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(at("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("docker-registry runs: ./xtask/setup --tests");
        let logins = json!({"auths": {&address: {"auth": STANDARD.encode("user:secret")}}});
        std::fs::write(at("config.json"), logins.to_string()).expect("written");
        let registry = Self { process, folder, address };
        crate::eventually("the registry answers", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|error| error.to_string())
        });
        registry
    }

    /// A folder with a `config.json` that has the password, for `DOCKER_CONFIG`.
    pub fn logins(&self) -> &Path {
        self.folder.path()
    }

    /// A Secret of type `kubernetes.io/dockerconfigjson` with this password.
    pub fn secret(&self, name: &str, password: &str) -> Value {
        let config = json!({"auths": {&self.address: {"username": "user", "password": password}}});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config.to_string()}})
    }

    /// Puts a local image into the registry under a name, and gives that name; the engine has it no more.
    ///
    /// # Panics
    /// If the registry does not take it.
    pub fn push(&self, image: &str, name: &str) -> String {
        let name = format!("{}/{name}", self.address);
        let run = |arguments: &[&str]| {
            let mut command = Command::new("docker");
            command.env("DOCKER_CONFIG", self.logins()).args(arguments);
            Said::of(command.output().expect("docker runs")).ok();
        };
        run(&["tag", image, &name]);
        run(&["push", "--quiet", &name]);
        run(&["image", "rm", &name]);
        name
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // What was pulled from it.
        let pulled = docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
        for image in pulled.lines().filter(|image| image.starts_with(&self.address)) {
            docker(&["image", "rm", "--force", image]);
        }
    }
}
