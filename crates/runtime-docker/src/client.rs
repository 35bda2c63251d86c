//! The connection to the engine and what is known about it.
//!
//! Contract: connecting costs one ping on a local socket, from which the API version is learnt; the engine's `/version`
//! runs three programs and is asked only where there is no socket. Clones share everything.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use runtime::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use crate::config::DockerConfig;
use crate::oom::OomScore;
use crate::profile::Facts;
use crate::{error, pause};

/// Where a local engine listens.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// How long an engine may take to answer; waits that a caller asks for come on top.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// A runtime that drives a Docker engine.
#[derive(Clone)]
pub struct DockerRuntime {
    pub(crate) client: Docker,
    pub(crate) config: Arc<DockerConfig>,
    pub(crate) pause_image: Arc<str>,
    pub(crate) pause_loaded: Arc<OnceCell<()>>,
    pub(crate) network_ready: Arc<OnceCell<()>>,
    pub(crate) facts: Arc<OnceCell<Facts>>,
    pub(crate) oom_score: Arc<OomScore>,
    /// `repository@digest` of images that were looked at, by id.
    pub(crate) digests: Arc<Mutex<HashMap<String, String>>>,
    socket: Option<Arc<Path>>,
}

impl fmt::Debug for DockerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerRuntime").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What an engine says of itself in answer to a ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ping {
    pub(crate) api_version: String,
    pub(crate) version: String,
}

impl DockerRuntime {
    /// Connects and agrees on an API version. [`Error::Unavailable`] if no engine answers.
    pub async fn connect(config: DockerConfig) -> Result<Self> {
        let host = match config.host.as_str() {
            "" => DEFAULT_HOST.to_owned(),
            path if path.starts_with('/') => format!("unix://{path}"),
            host => host.to_owned(),
        };
        let socket: Option<Arc<Path>> = host.strip_prefix("unix://").map(|path| Path::new(path).into());
        let unavailable = |error| Error::Unavailable { message: error::message(&error) };
        let client = match &socket {
            Some(path) => {
                let ping = ping(path).await?;
                let version = client_version(&ping.api_version);
                Docker::connect_with_unix(&host, TIMEOUT.as_secs(), &version).map_err(unavailable)?
            }
            None => {
                let client = Docker::connect_with_host(&host).map_err(unavailable)?;
                client.negotiate_version().await.map_err(unavailable)?
            }
        };
        Ok(Self {
            client,
            config: Arc::new(config),
            pause_image: pause::reference().into(),
            pause_loaded: Arc::default(),
            network_ready: Arc::default(),
            facts: Arc::default(),
            oom_score: Arc::new(OomScore::detect()),
            digests: Arc::default(),
            socket,
        })
    }

    /// How it was set up.
    pub fn config(&self) -> &DockerConfig {
        &self.config
    }

    /// The image of sandboxes.
    pub fn pause_image(&self) -> &str {
        &self.pause_image
    }

    /// Does now what the first sandbox would wait for: the pause image, the profile's network.
    pub async fn prepare(&self) -> Result<()> {
        tokio::try_join!(self.ensure_pause_image(), self.ensure_network())?;
        Ok(())
    }

    /// Whether the engine is reached by a socket in the file system, so that it may run on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.socket.is_some()
    }

    /// Asks the engine who it is.
    pub(crate) async fn ping(&self) -> Result<Ping> {
        if let Some(socket) = &self.socket {
            return ping(socket).await;
        }
        let version = self.client.version().await.map_err(error::other("version"))?;
        Ok(Ping {
            api_version: version.api_version.unwrap_or_default(),
            version: version.version.unwrap_or_default(),
        })
    }
}

/// The lower of what the engine and this program speak.
fn client_version(engine: &str) -> ClientVersion {
    let ours = ClientVersion {
        major_version: API_DEFAULT_VERSION.major_version,
        minor_version: API_DEFAULT_VERSION.minor_version,
    };
    let number = |text: &str| text.parse::<usize>().ok();
    let parsed = engine.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    match parsed {
        Some((major, minor)) if (major, minor) < (ours.major_version, ours.minor_version) => {
            ClientVersion { major_version: major, minor_version: minor }
        }
        _ => ours,
    }
}

/// The client library's ping drops the headers, which are all there is to know.
async fn ping(socket: &Path) -> Result<Ping> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(64 * 1024).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let failed = |why: String| Error::Unavailable {
        message: format!("cannot connect to the Docker daemon at unix://{}: {why}", socket.display()),
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(Ok(answer)) => parse_ping(&answer).ok_or_else(|| failed("this is no container engine".to_owned())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("no answer".to_owned())),
    }
}

fn parse_ping(answer: &str) -> Option<Ping> {
    let status = answer.lines().next()?.split(' ').nth(1)?;
    let header = |name: &str| {
        let mut fields = answer.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    // `Server: Docker/20.10.24+dfsg1 (linux)`
    let server = header("Server").unwrap_or_default();
    let version = server.split_once('/').map_or("", |(_, rest)| rest).split(' ').next().unwrap_or_default();
    (status == "200")
        .then(|| Ping { api_version: header("Api-Version").unwrap_or_default(), version: version.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_versions_from_a_ping() {
        let answer =
            "HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\nServer: Docker/20.10.24+dfsg1 (linux)\r\n\r\nOK";
        let ping = parse_ping(answer).expect("an engine");
        assert_eq!(ping, Ping { api_version: "1.41".into(), version: "20.10.24+dfsg1".into() });
        assert_eq!(parse_ping("HTTP/1.0 404 Not Found\r\n\r\n"), None);
        assert_eq!(parse_ping(""), None);
    }

    #[test]
    fn never_asks_for_more_than_the_engine_speaks() {
        assert_eq!(client_version("1.41").to_string(), "1.41");
        assert_eq!(client_version("9.9").to_string(), API_DEFAULT_VERSION.to_string());
    }

    #[tokio::test]
    async fn says_where_no_engine_is() {
        let config = DockerConfig { host: "/nonexistent/docker.sock".into(), ..DockerConfig::new("p") };
        let error = DockerRuntime::connect(config).await.expect_err("no engine there");
        assert!(error.is_unavailable());
        assert!(error.to_string().contains("unix:///nonexistent/docker.sock"), "{error}");
    }
}
