//! Packets and streams.

use crate::known::Known;
use crate::metrics::{Counted, Exchange};
use crate::objects::Objects;
use crate::responder::{Reply, Responder};
use component_base::{Clock, Context};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// The longest question that is read from a packet.
const PACKET: usize = 4096;
/// A stream on which nothing is asked for so long ends. **Upstream**: CoreDNS's `tcpIdleTimeout`.
const IDLE: Duration = Duration::from_secs(8);
/// Pause after a failed receive or accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers packets.
pub(crate) async fn udp<O: Objects + Send + Sync + 'static>(
    context: Context,
    socket: Arc<UdpSocket>,
    responder: Arc<Responder<O>>,
    counted: Arc<Counted>,
) {
    let (mut buffer, mut known) = (vec![0; PACKET], Known::default());
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An answer that could not be delivered is told here, too.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot receive questions");
                context.clock.sleep(PAUSE).await;
                continue;
            }
        };
        let began = context.clock.instant();
        let (counted, clock) = (counted.clone(), context.clock.clone());
        let count = move |(kind, code)| {
            let took = clock.instant().duration_since(began);
            counted.count(&Exchange { proto: "udp", client: from.ip(), kind, code, took });
        };
        let question = &buffer[..length];
        if let Some(answer) = known.find(responder.changes(), question) {
            let _ = socket.send_to(&answer.packet, from).await;
            count(answer.told);
            continue;
        }
        let Some(reply) = responder.begin(question) else { continue };
        if reply.is_complete() {
            if let Some(packet) = reply.packet() {
                let _ = socket.send_to(&packet, from).await;
                known.keep(question, &reply, &packet);
            }
            count(reply.told());
            continue;
        }
        let (responder, socket) = (responder.clone(), socket.clone());
        context.shutdown.spawn(async move {
            let reply = responder.finish(reply).await;
            if let Some(packet) = reply.packet() {
                let _ = socket.send_to(&packet, from).await;
            }
            count(reply.told());
        });
    }
}

/// Answers on streams.
pub(crate) async fn tcp<O: Objects + Send + Sync + 'static>(
    context: Context,
    listener: TcpListener,
    responder: Arc<Responder<O>>,
    counted: Arc<Counted>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let (responder, clock) = (responder.clone(), context.clock.clone());
                let counted = counted.clone();
                context.shutdown.spawn(async move {
                    let mut stream = stream;
                    // Ends with the stream, with an error, or when nothing is asked for a while.
                    loop {
                        tokio::select! {
                            answered = answer(&mut stream, &responder, &clock) => match answered {
                                Ok((reply, took)) => {
                                    let (kind, code) = reply.told();
                                    counted.count(&Exchange { proto: "tcp", client: from.ip(), kind, code, took });
                                }
                                Err(_) => return,
                            },
                            () = clock.sleep(IDLE) => return,
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                context.clock.sleep(PAUSE).await;
            }
        }
    }
}

/// One question and its answer, and how long that took.
async fn answer<O: Objects>(
    stream: &mut TcpStream,
    responder: &Responder<O>,
    clock: &Clock,
) -> io::Result<(Reply, Duration)> {
    let length = stream.read_u16().await?;
    let mut question = vec![0; usize::from(length)];
    stream.read_exact(&mut question).await?;
    let began = clock.instant();
    let reply = responder.begin(&question).ok_or(io::ErrorKind::InvalidData)?;
    let reply = responder.finish(reply).await;
    let frame = reply.frame().ok_or(io::ErrorKind::InvalidData)?;
    stream.write_all(&frame).await?;
    Ok((reply, clock.instant().duration_since(began)))
}
