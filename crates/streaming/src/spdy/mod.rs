//! SPDY/3.1: many streams over one connection.
//!
//! **Contract**: [`Connection::client`] or [`Connection::server`] takes a byte stream and works on it in two tasks until
//! the peer is gone or every handle ([`Connection`], [`Incoming`], [`Stream`]) is dropped; then what was written is
//! sent, `GOAWAY` follows, and the connection is closed. A [`Stream`] that is dropped before both ends were shut down is
//! reset.
//!
//! Flow control: Go's `spdystream`, and so kubectl, does none; it ignores the frames. Windows are therefore obeyed only
//! toward a peer that announces one of its own, as this implementation does. A peer without them is held back by not
//! reading the connection while the stream that it sends to is full.
//! **Not here**: HTTP/1.1's upgrade to it (`upgrade`), what the streams mean (`remote_command`, `port_forward`).
//! **Upstream**: SPDY protocol, draft 3.1; `github.com/moby/spdystream`.

mod connection;
mod dictionary;
pub mod frame;
mod state;
mod stream;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Incoming, NewStream};
pub use frame::Headers;
pub use stream::Stream;
