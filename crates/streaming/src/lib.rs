//! The protocols of exec, attach, port-forward, logs and watches over one upgraded connection, for either side.
//!
//! **Contract**: everything works over any byte stream; memory is bounded whatever the peer sends. The kubelet and
//! clients get streams and an outcome, the same for every protocol: WebSocket with channels, SPDY/3.1, SPDY within
//! WebSocket.
//! **Not here**: what runs in a container (`runtime`), who may (`apiserver`), terminals (`ctl`).
//! **Upstream**: `k8s.io/streaming`, `k8s.io/client-go/tools/{remotecommand,portforward}`,
//! `k8s.io/kubelet/pkg/cri/streaming`.

mod channels;
mod error;
pub mod logs;
#[cfg(test)]
mod mutation_tests;
mod one_way;
pub mod port_forward;
pub mod remote_command;
pub mod spdy;
pub mod upgrade;
pub mod watch;
pub mod websocket;

pub use error::{Error, Result};

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Any byte stream in both directions.
pub type BoxDuplex = Box<dyn Duplex>;
/// Any source of bytes.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// Any sink of bytes.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;
