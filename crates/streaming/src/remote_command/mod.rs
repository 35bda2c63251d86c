//! exec and attach: standard streams, the terminal's size, and how the command ended.
//!
//! **Contract**: either side gets the same streams whatever the protocol. Over WebSocket: `v5`, `v4` and the unversioned
//! `channel.k8s.io`, their base64 variants, and no name at all; over SPDY: `v5` to `v2` and the unversioned one. With a
//! terminal there is no stderr. The outcome is sent after everything that was written before.
//! **Upstream**: `k8s.io/kubelet/pkg/cri/streaming/remotecommand`, `k8s.io/client-go/tools/remotecommand`.

mod client;
mod resize;
mod server;
mod status;
#[cfg(test)]
mod tests;

pub use client::{ClientStreams, connect};
pub use resize::TerminalSize;
pub use server::{ServerStreams, accept};
pub use status::{Failure, Outcome};

/// What a server takes over WebSocket.
pub const WEBSOCKET_PROTOCOLS: [&str; 6] = [
    "",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "v5.channel.k8s.io",
];
/// What a server takes over SPDY.
pub const SPDY_PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// What a client offers first, over WebSocket.
pub const CLIENT_PROTOCOLS: [&str; 1] = ["v5.channel.k8s.io"];

/// Channels over WebSocket.
mod channel {
    pub(super) const STDIN: u8 = 0;
    pub(super) const STDOUT: u8 = 1;
    pub(super) const STDERR: u8 = 2;
    pub(super) const ERROR: u8 = 3;
    pub(super) const RESIZE: u8 = 4;
    /// `v5`: the byte that follows names a channel that is closed.
    pub(super) const CLOSE: u8 = 255;
}

/// Streams over SPDY, as their header `streamType` says.
mod stream_type {
    pub(super) const HEADER: &str = "streamType";
    pub(super) const STDIN: &str = "stdin";
    pub(super) const STDOUT: &str = "stdout";
    pub(super) const STDERR: &str = "stderr";
    pub(super) const ERROR: &str = "error";
    pub(super) const RESIZE: &str = "resize";
}

/// Which streams are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants error output; never with a terminal.
    pub stderr: bool,
    /// Everything goes through a terminal.
    pub tty: bool,
}

impl Options {
    /// From the kubelet's query parameters, `input`, `output`, `error` and `tty`, each `1` or absent.
    pub fn from_query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in pairs {
            let field = match name {
                "input" => &mut options.stdin,
                "output" => &mut options.stdout,
                "error" => &mut options.stderr,
                "tty" => &mut options.tty,
                _ => continue,
            };
            *field = value == "1";
        }
        options.stderr &= !options.tty;
        if options.stdin || options.stdout || options.stderr {
            Ok(options)
        } else {
            Err("you must specify at least 1 of stdin, stdout, stderr".to_owned())
        }
    }
}

/// How a protocol differs from the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    /// The error stream has a `Status`; else text, and nothing at all on success.
    status: bool,
    /// There is a stream of terminal sizes.
    resize: bool,
    /// A WebSocket channel can be closed by itself.
    close: bool,
}

impl Version {
    fn over_websocket(protocol: &str) -> Self {
        let (v5, v4) = (protocol.starts_with("v5."), protocol.starts_with("v4."));
        Self { status: v4 || v5, resize: true, close: v5 }
    }

    fn over_spdy(protocol: &str) -> Self {
        let status = protocol.starts_with("v4.") || protocol.starts_with("v5.");
        Self { status, resize: status || protocol.starts_with("v3."), close: true }
    }
}
