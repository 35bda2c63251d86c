//! UDP passed on: each client has a socket of its own towards an endpoint, for as long as it goes on.
//!
//! **Contract**: a client stays with its endpoint while that is one, and is forgotten when nothing is said for a while.

use crate::family::Family;
use component_base::Context;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;

/// How long a client may be silent. **Upstream**: `nf_conntrack_udp_timeout_stream`.
const IDLE: Duration = Duration::from_secs(120);
/// Pause after a failed receive.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: usize = 65_535;

/// A client's socket, and where it leads.
type Sessions = Arc<Mutex<HashMap<SocketAddr, (Arc<UdpSocket>, SocketAddr)>>>;

/// Passes packets on for as long as it is polled; `choose` gives the endpoints, the one whose turn it is first.
pub async fn pass_on(
    context: Context,
    near: Arc<UdpSocket>,
    choose: impl Fn() -> Vec<SocketAddr> + Send + Sync,
) {
    let sessions = Sessions::default();
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, client) = match near.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An answer that could not be delivered is told here, too.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot receive packets");
                context.clock.sleep(PAUSE).await;
                continue;
            }
        };
        let endpoints = choose();
        let known = sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
        let far = match known.filter(|(_, endpoint)| endpoints.contains(endpoint)) {
            Some((far, _)) => far,
            None => {
                let Some(endpoint) = endpoints.first() else { continue };
                match open(&context, &near, &sessions, client, *endpoint).await {
                    Ok(far) => far,
                    Err(error) => {
                        tracing::debug!(%error, %endpoint, "cannot pass packets on");
                        continue;
                    }
                }
            }
        };
        // It may be lost, as any packet.
        let _ = far.send(&buffer[..length]).await;
    }
}

async fn open(
    context: &Context,
    near: &Arc<UdpSocket>,
    sessions: &Sessions,
    client: SocketAddr,
    endpoint: SocketAddr,
) -> std::io::Result<Arc<UdpSocket>> {
    let far = Arc::new(UdpSocket::bind((Family::of(endpoint.ip()).unspecified(), 0)).await?);
    far.connect(endpoint).await?;
    let (socket, near, sessions) = (far.clone(), near.clone(), sessions.clone());
    sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(client, (far.clone(), endpoint));
    let clock = context.clock.clone();
    context.shutdown.spawn(async move {
        let mut buffer = vec![0; LONGEST];
        loop {
            let received = tokio::select! {
                received = socket.recv(&mut buffer) => received,
                () = clock.sleep(IDLE) => break,
            };
            let Ok(length) = received else { break };
            let _ = near.send_to(&buffer[..length], client).await;
        }
        let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have taken its place.
        if sessions.get(&client).is_some_and(|(current, _)| Arc::ptr_eq(current, &socket)) {
            sessions.remove(&client);
        }
    });
    Ok(far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    async fn server(letter: u8) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let at = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 16];
            while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&[letter], from).await;
            }
        });
        at
    }

    #[tokio::test]
    async fn clients_stay_until_their_endpoint_is_gone() {
        let (a, b) = (server(b'a').await, server(b'b').await);
        let endpoints = Arc::new(Mutex::new(vec![a, b]));
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port"));
        let at = near.local_addr().expect("bound");
        let context = Context::system();
        let known = endpoints.clone();
        let choose = move || known.lock().expect("nobody panicked").clone();
        context.shutdown.spawn(pass_on(context.clone(), near, choose));
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        client.connect(at).await.expect("an address");
        let ask = async || {
            let mut buffer = [0; 16];
            client.send(b"?").await.expect("sent");
            let answer = tokio::time::timeout(Duration::from_secs(60), client.recv(&mut buffer)).await;
            answer.expect("in time").expect("an answer");
            buffer[0]
        };
        assert_eq!((ask().await, ask().await), (b'a', b'a'));
        endpoints.lock().expect("nobody panicked").reverse();
        assert_eq!(ask().await, b'a');
        endpoints.lock().expect("nobody panicked").retain(|endpoint| *endpoint == b);
        assert_eq!(ask().await, b'b');
        context.shutdown.trigger();
    }
}
