//! Streams of a command or container, and connections to a pod.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Any byte stream in both directions.
pub type BoxDuplex = Box<dyn Duplex>;
/// Any source of bytes.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// Any sink of bytes.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// What a command is connected to; absent streams are closed for it.
#[derive(Default)]
pub struct Streams {
    /// Its input; the end of this is the end of its input.
    pub stdin: Option<BoxRead>,
    /// Takes its output, with a terminal also its error output; shut down at its end.
    pub stdout: Option<BoxWrite>,
    /// Takes its error output; shut down at its end.
    pub stderr: Option<BoxWrite>,
    /// Everything goes through a terminal.
    pub tty: bool,
    /// Sizes of the terminal, from now on.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("tty", &self.tty)
            .finish_non_exhaustive()
    }
}
