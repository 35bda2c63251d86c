//! Bytes between a user's side (files, pipes, a terminal), which blocks, and a connection, which does not.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::detach::Detach;
use crate::report::Error;

/// Bytes of one piece.
pub(crate) const PIECE: usize = 32 * 1024;
/// Pieces that wait.
const QUEUE: usize = 8;

/// Pieces on their way, and their end.
pub(crate) type Pieces = mpsc::Receiver<Bytes>;
/// Writes at once.
type Call<'a> = Box<dyn FnMut(&[u8]) -> Result<(), Error> + Send + 'a>;

/// Takes what comes from a connection.
pub(crate) enum Sink<'a> {
    /// Nobody.
    Nowhere,
    /// Whoever writes at once.
    Call(Call<'a>),
    /// A thread; with the number of bytes so far.
    Pipe(mpsc::Sender<Bytes>, &'a mut u64),
}

impl Sink<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Call(write) => write(bytes),
            Self::Pipe(sender, count) => {
                let sent = sender.send(Bytes::copy_from_slice(bytes)).await;
                sent.map_err(|_| Error::Io(io::ErrorKind::BrokenPipe.into()))?;
                **count += bytes.len() as u64;
                Ok(())
            }
        }
    }
}

/// A pipe.
pub(crate) fn pipe() -> (mpsc::Sender<Bytes>, Pieces) {
    mpsc::channel(QUEUE)
}

/// Where a thread writes; each write is a piece.
pub(crate) struct Writer(pub(crate) mpsc::Sender<Bytes>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a thread reads; it waits for the next piece.
pub(crate) struct Reader {
    pieces: Pieces,
    rest: Bytes,
}

impl Reader {
    /// Of these pieces.
    pub(crate) fn new(pieces: Pieces) -> Self {
        Self { pieces, rest: Bytes::new() }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// Reads a blocking source to its end in a thread of its own, which ends with the process if it never returns.
pub(crate) fn pieces(mut source: impl Read + Send + 'static) -> Pieces {
    let (sender, receiver) = pipe();
    let mut writer = Writer(sender);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        while let Ok(count) = source.read(&mut buffer) {
            if count == 0 || writer.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Why nothing more is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no more.
    Source,
    /// The user pressed the keys that end a session.
    Detached,
}

/// Sends pieces to a connection, and their end.
pub(crate) async fn send(
    mut pieces: Pieces,
    mut to: impl AsyncWrite + Unpin,
    mut detach: Option<Detach>,
) -> io::Result<End> {
    while let Some(piece) = pieces.recv().await {
        let (piece, detached) = match &mut detach {
            Some(detach) => {
                let (passed, detached) = detach.feed(&piece);
                (Bytes::from(passed), detached)
            }
            None => (piece, false),
        };
        to.write_all(&piece).await?;
        to.flush().await?;
        if detached {
            return Ok(End::Detached);
        }
    }
    to.shutdown().await?;
    Ok(End::Source)
}

/// Gives a sink what comes from a connection.
pub(crate) async fn receive(from: Option<impl AsyncRead + Unpin>, sink: &mut Sink<'_>) -> Result<(), Error> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; PIECE];
    loop {
        // A connection that breaks is told by the command's outcome.
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => sink.take(&buffer[..count]).await?,
        }
    }
}
