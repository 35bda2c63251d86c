//! The server's side: what the kubelet gets.

use super::{PROTOCOL, TUNNEL_PROTOCOL, WEBSOCKET_PROTOCOLS, header};
use crate::channels::{self, Encoding};
use crate::spdy::{Connection, Headers, Stream};
use crate::upgrade::{self, Accepted, Refusal, Transport};
use crate::websocket::{self, ByteStream};
use crate::{BoxDuplex, Result};
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, StatusCode};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a client has to open the other stream of a pair (upstream: `DefaultStreamCreationTimeout`).
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may go on sending to a target that has ended (containerd's).
const HALF_CLOSED: Duration = Duration::from_secs(1);
/// Bytes that either side of a connection may be ahead.
const PIPE: usize = 64 * 1024;

/// An accepted port-forward.
pub struct Server {
    accepted: Accepted,
    ports: Vec<u16>,
}

/// The ports of the query parameters `port`, each a number or several with commas.
pub fn parse_ports<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for value in values {
        if value.is_empty() {
            return Err("query parameter \"port\" cannot be empty".to_owned());
        }
        for text in value.split(',') {
            ports.push(parse_port(text)?);
        }
    }
    Ok(ports)
}

fn parse_port(text: &str) -> Result<u16, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) if is_number => Ok(port),
        _ => {
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            Err(format!("unable to parse {text:?} as a port: strconv.ParseUint: parsing {text:?}: {why}"))
        }
    }
}

impl Server {
    /// Decides the upgrade: the response to send, and what serves the connection once it is sent. `ports` are those of
    /// the query.
    pub fn accept<B>(request: &mut Request<B>, ports: Vec<u16>) -> Result<(Response<()>, Self), Refusal> {
        let (response, accepted) = upgrade::accept(request, &WEBSOCKET_PROTOCOLS, &[PROTOCOL])?;
        if is_plain(&accepted) && ports.is_empty() {
            let message = "query parameter \"port\" is required".to_owned();
            return Err(Refusal { status: StatusCode::BAD_REQUEST, headers: Default::default(), message });
        }
        Ok((response, Self { accepted, ports }))
    }

    /// Serves until the client has gone away and every connection has ended. `dial` connects to a port of the pod; its
    /// error goes to the client as it is.
    pub async fn serve<D, F>(self, dial: D) -> Result<()>
    where
        D: Fn(u16) -> F + Send + Sync + 'static,
        F: Future<Output = Result<BoxDuplex, String>> + Send + 'static,
    {
        let dial = Arc::new(dial);
        let (plain, transport) = (is_plain(&self.accepted), self.accepted.transport);
        let encoding = Encoding::of(&self.accepted.protocol);
        let io = self.accepted.io().await?;
        match transport {
            Transport::WebSocket if plain => over_channels(io, encoding, &self.ports, dial).await,
            Transport::WebSocket => over_spdy(ByteStream::new(websocket::server(io).await), dial).await,
            Transport::Spdy => over_spdy(io, dial).await,
        }
        Ok(())
    }
}

/// Whether there is no SPDY in it.
fn is_plain(accepted: &Accepted) -> bool {
    accepted.transport == Transport::WebSocket && accepted.protocol != TUNNEL_PROTOCOL
}

/// A pair that is not complete yet.
struct Half {
    data: Option<Stream>,
    error: Option<Stream>,
    port: u16,
    expires: Instant,
}

pub(crate) async fn over_spdy<D, F>(io: impl AsyncRead + AsyncWrite + Send + 'static, dial: Arc<D>)
where
    D: Fn(u16) -> F + Send + Sync + 'static,
    F: Future<Output = Result<BoxDuplex, String>> + Send + 'static,
{
    let (connection, mut incoming) = Connection::server(io);
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut forwards = JoinSet::new();
    loop {
        let next_expiry = halves.values().map(|half| half.expires).min();
        let expired = match next_expiry {
            Some(at) => tokio::time::sleep_until(at).boxed(),
            None => futures::future::pending().boxed(),
        };
        let new = tokio::select! {
            new = incoming.next() => new,
            () = expired => {
                expire(&mut halves);
                continue;
            }
            // Collects what has ended.
            Some(_) = forwards.join_next() => continue,
        };
        let Some(new) = new else { break };
        // An invalid stream is dropped, which resets it.
        let described = match describe(new.headers(), new.id()) {
            Ok(described) => described,
            Err(message) => {
                tracing::debug!("port-forward stream refused: {message}");
                continue;
            }
        };
        let half = halves.entry(described.request.clone()).or_insert_with(|| Half {
            data: None,
            error: None,
            port: described.port,
            expires: Instant::now() + PAIR_TIMEOUT,
        });
        let place = if described.data { &mut half.data } else { &mut half.error };
        if place.is_some() {
            tracing::debug!(request = described.request, "second port-forward stream of the same type");
            continue;
        }
        *place = Some(new.accept());
        if half.data.is_none() || half.error.is_none() {
            continue;
        }
        let Some(Half { data: Some(data), error: Some(error), port, .. }) = halves.remove(&described.request)
        else {
            continue;
        };
        let dial = dial.clone();
        forwards.spawn(async move { forward(&*dial, port, data, error).await });
    }
    drop((connection, incoming, halves));
    while forwards.join_next().await.is_some() {}
}

fn expire(halves: &mut HashMap<String, Half>) {
    let now = Instant::now();
    halves.retain(|request, half| {
        let stays = half.expires > now;
        if let (false, Some(mut error)) = (stays, half.error.take()) {
            let message = format!("(request={request}) timed out waiting for streams");
            tokio::spawn(async move {
                // The client may have gone.
                let _told = error.write_all(message.as_bytes()).await;
                let _ended = error.shutdown().await;
            });
        }
        stays
    });
}

#[derive(Debug, PartialEq, Eq)]
struct Described {
    data: bool,
    port: u16,
    request: String,
}

fn describe(headers: &Headers, id: u32) -> Result<Described, String> {
    let get = |name: &str| headers.get(name).filter(|value| !value.is_empty());
    let required = |name: &str| get(name).ok_or_else(|| format!("{name:?} header is required"));
    let port = parse_port(required(header::PORT)?)?;
    let data = match required(header::STREAM_TYPE)? {
        header::DATA => true,
        header::ERROR => false,
        other => return Err(format!("invalid stream type {other:?}")),
    };
    // Old clients name no request: they open the error stream, then the data stream.
    let request = match get(header::REQUEST_ID) {
        Some(request) => request.to_owned(),
        None if data => id.saturating_sub(2).to_string(),
        None => id.to_string(),
    };
    Ok(Described { data, port, request })
}

/// One connection, from the dial to its end.
async fn forward<D, F>(
    dial: &D,
    port: u16,
    mut data: impl AsyncRead + AsyncWrite + Unpin,
    mut error: impl AsyncWrite + Unpin,
) where
    D: Fn(u16) -> F,
    F: Future<Output = Result<BoxDuplex, String>>,
{
    match dial(port).await {
        Ok(target) => {
            if let Err(error) = carry(&mut data, target).await {
                tracing::debug!(port, "forwarded connection: {error}");
            }
        }
        Err(message) => {
            // The client may have gone.
            let _told = error.write_all(message.as_bytes()).await;
        }
    }
    let _ended = tokio::join!(error.shutdown(), data.shutdown());
}

/// Copies both ways. Old clients close their side only when everything has ended, so once the target has said all it
/// has to say they do not keep it waiting.
async fn carry(data: &mut (impl AsyncRead + AsyncWrite + Unpin), target: BoxDuplex) -> std::io::Result<()> {
    let (mut client_reads, mut client_writes) = tokio::io::split(data);
    let (mut target_reads, mut target_writes) = tokio::io::split(target);
    let up = async {
        tokio::io::copy(&mut client_reads, &mut target_writes).await?;
        target_writes.shutdown().await
    };
    let down = async {
        tokio::io::copy(&mut target_reads, &mut client_writes).await?;
        client_writes.shutdown().await
    };
    tokio::pin!(up, down);
    tokio::select! {
        done = &mut up => {
            done?;
            down.await
        }
        done = &mut down => {
            done?;
            tokio::time::timeout(HALF_CLOSED, up).await.unwrap_or(Ok(()))
        }
    }
}

pub(crate) async fn over_channels<D, F>(io: BoxDuplex, encoding: Encoding, ports: &[u16], dial: Arc<D>)
where
    D: Fn(u16) -> F + Send + Sync + 'static,
    F: Future<Output = Result<BoxDuplex, String>> + Send + 'static,
{
    let (sender, mut receiver) = channels::server(io, encoding).await;
    let mut pipes: HashMap<u8, DuplexStream> = HashMap::new();
    let mut forwards = JoinSet::new();
    for (index, port) in ports.iter().copied().enumerate() {
        // Channels are numbered by a byte.
        let Ok(data_channel) = u8::try_from(2 * index) else { break };
        let error_channel = data_channel + 1;
        for channel in [data_channel, error_channel] {
            // A client that has gone is noticed below.
            let _told = sender.send(channel, Bytes::copy_from_slice(&port.to_le_bytes())).await;
        }
        let (near, far) = tokio::io::duplex(PIPE);
        pipes.insert(data_channel, far);
        let data = tokio::io::join(near, sender.writer(data_channel, None));
        let (dial, error) = (dial.clone(), sender.writer(error_channel, None));
        forwards.spawn(async move { forward(&*dial, port, data, error).await });
    }
    drop(sender);
    loop {
        tokio::select! {
            message = receiver.recv() => match message {
                Some((channel, bytes)) => {
                    if let Some(pipe) = pipes.get_mut(&channel)
                        && pipe.write_all(&bytes).await.is_err()
                    {
                        pipes.remove(&channel);
                    }
                }
                None => break,
            },
            ended = forwards.join_next() => if ended.is_none() { break },
        }
    }
    drop(pipes);
    while forwards.join_next().await.is_some() {}
    // Until the peer has answered the end.
    while receiver.recv().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports() {
        assert_eq!(parse_ports(["80,443", "8080"]), Ok(vec![80, 443, 8080]));
        assert_eq!(parse_ports(["0"]), Err("port \"0\" must be > 0".into()));
        assert_eq!(parse_ports([""]), Err("query parameter \"port\" cannot be empty".into()));
        for (text, why) in
            [("99999", "value out of range"), ("x", "invalid syntax"), ("+8", "invalid syntax")]
        {
            let expected =
                format!("unable to parse {text:?} as a port: strconv.ParseUint: parsing {text:?}: {why}");
            assert_eq!(parse_ports([text]), Err(expected));
        }
    }

    #[test]
    fn pairs_streams() {
        let described = |pairs: &[(&str, &str)], id| describe(&Headers::new(pairs.iter().copied()), id);
        let pair = |data, request: &str| Ok(Described { data, port: 80, request: request.into() });
        let named = [("port", "80"), ("streamtype", "error"), ("requestid", "7")];
        assert_eq!(described(&named, 1), pair(false, "7"));
        assert_eq!(described(&[("port", "80"), ("streamtype", "error")], 3), pair(false, "3"));
        assert_eq!(described(&[("port", "80"), ("streamtype", "data")], 5), pair(true, "3"));
        assert_eq!(described(&[("streamtype", "data")], 1), Err("\"port\" header is required".into()));
        assert_eq!(
            described(&[("port", "80"), ("streamtype", "x")], 1),
            Err("invalid stream type \"x\"".into())
        );
        assert_eq!(described(&[("port", "80")], 1), Err("\"streamType\" header is required".into()));
    }
}
