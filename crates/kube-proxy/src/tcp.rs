//! TCP passed on by sockets: each connection gets one of its own to an endpoint.
//!
//! **Contract**: endpoints are tried in their order until one answers; if none does, the client's connection ends. A failed accept
//! is not the end of listening.

use component_base::{Context, Shutdown};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Pause after a failed accept (no file descriptors left).
const PAUSE: Duration = Duration::from_millis(100);

/// Passes connections on for as long as it is polled; `choose` gives the endpoints, the one whose turn it is first. Connections
/// under way last until `connections` ends.
pub async fn pass_on(
    context: Context,
    listener: TcpListener,
    connections: Shutdown,
    choose: impl Fn() -> Vec<SocketAddr> + Send,
) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => connections.spawn(one(client, choose())),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                context.clock.sleep(PAUSE).await;
            }
        }
    }
}

async fn one(mut client: TcpStream, endpoints: Vec<SocketAddr>) {
    for endpoint in endpoints {
        match TcpStream::connect(endpoint).await {
            Ok(mut server) => {
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                // Either end may go away at any time.
                let _ = copy_bidirectional(&mut client, &mut server).await;
                return;
            }
            Err(error) => tracing::debug!(%error, %endpoint, "an endpoint does not answer"),
        }
    }
}
