//! nginx, Debian's, as what ingress is compared with: a container in the machine's own network.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::super::docker::docker;

/// A running nginx that passes requests on; gone with its value.
pub(super) struct Nginx {
    name: String,
    folder: PathBuf,
    /// Where it listens on the loopback.
    pub(super) port: u16,
}

impl Nginx {
    /// One worker a core, which keeps its connections to the backends.
    pub(super) fn start(name: &str, image: &str, backends: &[String]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = std::env::temp_dir().join(format!("{name}-nginx"));
        fs::create_dir_all(&folder)?;
        let file = folder.join("nginx.conf");
        fs::File::create(&file)
            .and_then(|mut file| file.write_all(configuration(port, backends).as_bytes()))
            .context("write the configuration of nginx")?;
        let this = Self { name: format!("{name}-nginx"), folder, port };
        let mount = format!("{}:/etc/nginx/nginx.conf:ro", file.display());
        docker(&["run", "--detach", "--network", "host", "--name", &this.name, "--volume", &mount, image])?;
        Ok(this)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", "--volumes", &self.name]) {
            eprintln!("warning: {} is not gone: {error:#}", self.name);
        }
        // Nothing depends on it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn configuration(port: u16, backends: &[String]) -> String {
    let servers: String = backends.iter().map(|backend| format!("server {backend};\n")).collect();
    format!(
        "user nginx;
worker_processes auto;
pid /run/nginx-bench.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  upstream web {{ {servers} keepalive 320; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-ID $request_id;
    }}
  }}
}}
"
    )
}
