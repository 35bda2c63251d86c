//! A connection: two tasks that read and write it, and handles to it.

use super::frame::{Decoder, Encoder, Headers, ResetStatus};
use super::state::{Next, Opening, Role, Shared};
use super::stream::Stream;
use crate::{Error, Result};
use bytes::BytesMut;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// How long the peer has, after everything was sent to it, to close the connection. Closing it first could take from
/// the peer what it has not read yet.
const LINGER: Duration = Duration::from_secs(5);
/// How long the peer has to take what is to be sent to it when nobody here is interested any more.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes encoded before they are written.
const BATCH: usize = 64 * 1024;

/// Closes the connection when it is dropped: the tasks do not hold it.
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A connection.
#[derive(Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Streams that the peer opens.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::UnboundedReceiver<(u32, Headers)>,
    connection: Connection,
}

/// A stream that the peer wants to open. Dropped, it is refused.
#[derive(Debug)]
pub struct NewStream {
    stream: Stream,
}

impl Connection {
    /// The side that has asked for the connection.
    pub fn client(io: impl AsyncRead + AsyncWrite + Send + 'static) -> (Self, Incoming) {
        Self::start(io, Role::Client)
    }

    /// The side that was asked.
    pub fn server(io: impl AsyncRead + AsyncWrite + Send + 'static) -> (Self, Incoming) {
        Self::start(io, Role::Server)
    }

    fn start(io: impl AsyncRead + AsyncWrite + Send + 'static, role: Role) -> (Self, Incoming) {
        let shared = Arc::new(Shared::new(role));
        let (read, write) = tokio::io::split(io);
        let (sender, streams) = mpsc::unbounded_channel();
        tokio::spawn(run(read, write, shared.clone(), sender));
        let connection = Self { handle: Arc::new(Handle { shared }) };
        (connection.clone(), Incoming { streams, connection })
    }

    /// Opens a stream and waits until the peer has taken it.
    pub async fn open(&self, headers: Headers) -> Result<Stream> {
        let shared = &self.handle.shared;
        let id = shared.open(headers.clone()).ok_or(Error::Closed)?;
        let stream = Stream::new(self.handle.clone(), id, headers);
        match poll_fn(|cx| shared.poll_opened(cx, id)).await {
            Opening::Open => Ok(stream),
            Opening::Waiting | Opening::Reset => Err(Error::Reset),
        }
    }

    /// Waits for the answer to a ping.
    pub async fn ping(&self) -> Result<()> {
        self.handle.shared.ping().await.map_err(|_| Error::Closed)
    }

    /// Waits until the connection has ended or the peer says that it will.
    pub async fn closed(&self) {
        // The sender lives as long as this handle.
        let mut gone = self.handle.shared.gone.subscribe();
        let _gone = gone.wait_for(|gone| *gone).await;
    }
}

impl Incoming {
    /// The next stream; none: the connection has ended.
    pub async fn next(&mut self) -> Option<NewStream> {
        let (id, headers) = self.streams.recv().await?;
        Some(NewStream { stream: Stream::new(self.connection.handle.clone(), id, headers) })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.streams.close();
        while let Ok((id, _)) = self.streams.try_recv() {
            self.connection.handle.shared.release(id, ResetStatus::REFUSED_STREAM);
        }
    }
}

impl NewStream {
    /// What the peer opens it with.
    pub fn headers(&self) -> &Headers {
        self.stream.headers()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.stream.id()
    }

    /// Takes it.
    pub fn accept(self) -> Stream {
        self.stream.reply();
        self.stream
    }
}

/// Reads and writes until the peer is gone, or all is sent that there will ever be.
async fn run(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    shared: Arc<Shared>,
    opened: mpsc::UnboundedSender<(u32, Headers)>,
) {
    let outcome = {
        let (reading, writing) = (read_frames(read, &shared, opened), write_frames(write, &shared));
        tokio::pin!(reading);
        let expired = async {
            shared.closing.notified().await;
            tokio::time::sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            read = &mut reading => read,
            () = expired => Ok(()),
            written = writing => match written {
                Ok(()) => tokio::time::timeout(LINGER, reading).await.unwrap_or(Ok(())),
                Err(error) => Err(error.into()),
            },
        }
    };
    if let Err(error) = outcome {
        tracing::debug!("SPDY connection: {error}");
    }
    shared.end();
}

async fn write_frames(mut io: impl AsyncWrite + Unpin, shared: &Shared) -> std::io::Result<()> {
    let mut encoder = Encoder::default();
    let mut buffer = BytesMut::with_capacity(BATCH);
    while let Some(frames) = shared.take_output() {
        if frames.is_empty() {
            shared.output.notified().await;
            continue;
        }
        for frame in frames {
            encoder.encode(&frame, &mut buffer);
            if buffer.len() >= BATCH {
                io.write_all(&buffer).await?;
                buffer.clear();
            }
        }
        io.write_all(&buffer).await?;
        buffer.clear();
        io.flush().await?;
    }
    io.shutdown().await
}

async fn read_frames(
    mut io: impl AsyncRead + Unpin,
    shared: &Shared,
    opened: mpsc::UnboundedSender<(u32, Headers)>,
) -> Result<()> {
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::with_capacity(BATCH);
    loop {
        while let Some(frame) = decoder.decode(&mut buffer).map_err(|e| Error::Protocol(e.to_string()))? {
            match shared.receive(frame) {
                Next::Continue => {}
                Next::Opened(id, headers) => {
                    if opened.send((id, headers)).is_err() {
                        shared.release(id, ResetStatus::REFUSED_STREAM);
                    }
                }
                Next::Full => {
                    while !shared.has_room() {
                        shared.room.notified().await;
                    }
                }
                Next::Broken(why) => return Err(Error::Protocol(why.to_owned())),
            }
        }
        buffer.reserve(16 * 1024);
        let read = io.read_buf(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
    }
}
