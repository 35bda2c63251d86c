//! `port_forward`: a connection to `localhost` of a sandbox.
//!
//! Contract: where this process may enter the sandbox's network namespace, a thread does so and connects; else, also
//! for an engine on another machine, the pause program does it within the sandbox and passes the bytes on.
//!
//! Upstream: containerd's `portForward`, dockershim's use of socat.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;

use bollard::container::LogOutput;
use bollard::exec::CreateExecOptions;
use futures::StreamExt;
use runtime::{BoxDuplex, Error, Result, SandboxId};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;
use tokio_util::io::StreamReader;

use crate::client::DockerRuntime;
use crate::error;

/// `localhost`, in upstream's order.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

impl DockerRuntime {
    pub(crate) async fn connect_to(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex> {
        let found = self.client.inspect_container(id.as_str(), None).await;
        let found = found.map_err(error::sandbox("inspect pod sandbox", id.as_str()))?;
        if found.state.and_then(|state| state.running) != Some(true) {
            return Err(Error::Invalid { message: format!("sandbox {id} is not running") });
        }
        let key = found.network_settings.and_then(|settings| settings.sandbox_key);
        if let Some(path) = key.filter(|path| !path.is_empty() && self.is_local())
            && let Some(outcome) = connect_within(path.into(), port).await
        {
            return match outcome {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(failed(port, &error)),
            };
        }
        self.connect_by_pause(id, port).await
    }

    /// As [`RuntimeService::port_forward`](runtime::RuntimeService::port_forward), always by the pause program: it
    /// writes one byte when it is connected, then what it receives.
    ///
    /// # Errors
    /// If nobody listens, or the engine does not answer.
    pub async fn connect_by_pause(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex> {
        let options = CreateExecOptions {
            cmd: Some(["/pause", "connect", &port.to_string()].map(str::to_owned).to_vec()),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            ..CreateExecOptions::default()
        };
        let (exec, (output, input)) = self.begin_exec(id.as_str(), options).await?;
        let pieces = output.filter_map(|piece| {
            std::future::ready(match piece {
                Ok(LogOutput::StdErr { .. }) => None,
                Ok(piece) => Some(Ok(piece.into_bytes())),
                Err(error) => Some(Err(io::Error::other(error::message(&error)))),
            })
        });
        let mut reader = StreamReader::new(pieces);
        match tokio::io::AsyncReadExt::read_u8(&mut reader).await {
            Ok(_) => Ok(Box::new(tokio::io::join(reader, input))),
            Err(_) => {
                // It ends with the number of the error.
                let number = self.exec_exit_code(&exec).await?;
                Err(failed(port, &io::Error::from_raw_os_error(number)))
            }
        }
    }
}

fn failed(port: u16, error: &io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    let message =
        format!("failed to connect to localhost:{port}: dial tcp4 127.0.0.1:{port}: connect: {why}");
    Error::Other { operation: "failed to execute portforward in network namespace", message }
}

/// None: the namespace cannot be entered.
async fn connect_within(namespace: PathBuf, port: u16) -> Option<io::Result<tokio::net::TcpStream>> {
    let (sender, receiver) = oneshot::channel();
    // A thread of its own, which ends: it never leaves the namespace.
    let thread = std::thread::Builder::new().name("port-forward".to_owned()).spawn(move || {
        let entered = File::open(&namespace).and_then(|file| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), kind).map_err(io::Error::from)
        });
        let outcome = match entered {
            Ok(()) => Some(connect_to_loopback(port)),
            Err(error) => {
                tracing::debug!(namespace = %namespace.display(), "enter: {error}");
                None
            }
        };
        // Nobody may wait any more.
        let _gone = sender.send(outcome);
    });
    thread.ok()?;
    let connected = receiver.await.ok()??;
    Some(connected.and_then(|stream| {
        stream.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(stream)
    }))
}

/// The error is the first address's.
fn connect_to_loopback(port: u16) -> io::Result<TcpStream> {
    let [first, second] = LOOPBACK.map(|address| SocketAddr::new(address, port));
    TcpStream::connect(first).or_else(|error| TcpStream::connect(second).map_err(|_| error))
}
