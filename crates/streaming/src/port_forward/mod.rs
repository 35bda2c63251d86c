//! port-forward: connections to a pod's ports.
//!
//! **Contract**: over SPDY, alone or within WebSocket's binary messages, each connection is a pair of streams, one for
//! data and one on which the server says what went wrong; over plain WebSocket the ports are named beforehand and each
//! is one connection. A connection that fails takes no other with it.
//! **Not here**: how a port is reached (the caller of [`Server::serve`] dials).
//! **Upstream**: `k8s.io/kubelet/pkg/cri/streaming/portforward`, `k8s.io/client-go/tools/portforward`.

mod client;
mod server;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use server::{over_channels as serve_channels, over_spdy as serve_spdy};

pub use client::{Forwarded, Forwarder};
pub use server::{Server, parse_ports};

/// Over SPDY.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// SPDY within WebSocket.
pub const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// What a server takes over WebSocket.
pub const WEBSOCKET_PROTOCOLS: [&str; 4] =
    ["", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", TUNNEL_PROTOCOL];

/// Headers of a stream.
mod header {
    pub(super) const STREAM_TYPE: &str = "streamType";
    pub(super) const PORT: &str = "port";
    pub(super) const REQUEST_ID: &str = "requestID";
    pub(super) const DATA: &str = "data";
    pub(super) const ERROR: &str = "error";
}
