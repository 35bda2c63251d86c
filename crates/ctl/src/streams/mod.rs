//! Connections that become something else: exec, attach and port-forward, by WebSocket or, where a server knows none,
//! by SPDY.
//!
//! **Contract.** A server that answers a WebSocket with anything but an upgrade is asked again for SPDY, as kubectl does;
//! what it says then is what the user reads.
//! **Not here.** The protocols: crate `streaming`.
//! **Upstream.** `client-go/tools/{remotecommand,portforward}` (behaviour).

pub(crate) mod console;
pub(crate) mod copy;
pub(crate) mod detach;
pub(crate) mod pods;
pub(crate) mod remote;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use streaming::upgrade::{Connected, Offer, Transport};

use crate::commands::Context;
use crate::report::Error;

/// What a client offers, and how its user switches WebSocket off.
pub(crate) struct Protocols {
    /// Over WebSocket.
    pub(crate) websocket: &'static [&'static str],
    /// Over SPDY.
    pub(crate) spdy: &'static [&'static str],
    /// The variable that, set to `false`, leaves SPDY only.
    pub(crate) switch: &'static str,
}

/// Of exec and attach.
pub(crate) const REMOTE_COMMAND: Protocols = Protocols {
    websocket: &streaming::remote_command::CLIENT_PROTOCOLS,
    spdy: &streaming::remote_command::SPDY_PROTOCOLS,
    switch: "KUBECTL_REMOTE_COMMAND_WEBSOCKETS",
};
/// Of port-forward.
pub(crate) const PORT_FORWARD: Protocols = Protocols {
    websocket: &[streaming::port_forward::TUNNEL_PROTOCOL],
    spdy: &[streaming::port_forward::PROTOCOL],
    switch: "KUBECTL_PORT_FORWARD_WEBSOCKETS",
};

/// Upgrades a connection at this path.
pub(crate) async fn open(context: &Context, path: &str, protocols: &Protocols) -> Result<Connected, Error> {
    let connection = context.connection().await?;
    if context.terminal.variable(protocols.switch) != Some("false") {
        let offer = Offer::new(Transport::WebSocket, protocols.websocket, nonce());
        if let Ok(connected) = connection.upgrade(path, &offer).await? {
            return Ok(connected);
        }
    }
    let offer = Offer::new(Transport::Spdy, protocols.spdy, nonce());
    connection.upgrade(path, &offer).await?
}

/// What WebSocket wants to be different each time; nothing is kept secret by it.
fn nonce() -> [u8; 16] {
    let word = || RandomState::new().build_hasher().finish().to_le_bytes();
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&word());
    nonce[8..].copy_from_slice(&word());
    nonce
}

/// A lower-case suffix for a name: letters and digits that cannot be mistaken for others.
pub(crate) fn suffix(length: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let hasher = RandomState::new();
    (0..length).map(|at| char::from(LETTERS[hasher.hash_one(at) as usize % LETTERS.len()])).collect()
}
