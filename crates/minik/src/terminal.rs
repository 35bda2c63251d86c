//! What commands print: results to stdout, failures to stderr, steps with their time.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use crate::problem;
use std::io::{self, IsTerminal, Write};
use std::pin::Pin;
use std::task::{self, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// Where a command prints.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    aside: bool,
}

impl Terminal {
    /// One whose results go to standard error, because standard output is another program's.
    pub(crate) fn stderr() -> Self {
        Self { aside: true }
    }

    /// A line of the result. A reader that went away ends nothing.
    pub(crate) fn line(&self, text: &str) {
        let _ = if self.aside { writeln!(io::stderr(), "{text}") } else { writeln!(io::stdout(), "{text}") };
    }

    /// A step that is done.
    pub(crate) fn step(&self, name: &str, milliseconds: u64) {
        let seconds = milliseconds as f64 / 1000.0;
        self.line(&format!("  {} {name:<24} {seconds:>6.2} s", green("✓")));
    }

    /// What failed, and the next command.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let _ = writeln!(io::stderr(), "error: {error:#}");
        if let Some(hint) = problem::hint(error) {
            let _ = writeln!(io::stderr(), "hint: {hint}");
        }
    }

    /// What went wrong and stops nothing.
    pub(crate) fn warning(&self, error: &anyhow::Error) {
        let _ = writeln!(io::stderr(), "warning: {error:#}");
    }

    /// A bar for work that takes a while; nobody sees it where standard error is no terminal.
    pub(crate) fn bar(&self, name: &str) -> Bar {
        Bar { name: name.to_owned(), shown: io::stderr().is_terminal().then_some(0), drawn: false }
    }

    /// A piece of a log, as it is.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(bytes)?;
        out.flush()
    }
}

/// How far something is, on one line of standard error; the line is gone with the value.
pub(crate) struct Bar {
    name: String,
    /// The hundredth that is shown, where there is a terminal.
    shown: Option<u64>,
    drawn: bool,
}

impl Bar {
    const WIDTH: usize = 30;

    /// Shows so much of so much.
    pub(crate) fn set(&mut self, done: u64, total: u64) {
        let hundredths = done.saturating_mul(100).checked_div(total).unwrap_or(0).min(100);
        if self.shown.is_none_or(|shown| self.drawn && shown == hundredths) {
            return;
        }
        (self.shown, self.drawn) = (Some(hundredths), true);
        let _ = write!(io::stderr(), "\r{}\x1b[K", Self::line(&self.name, hundredths));
    }

    fn line(name: &str, hundredths: u64) -> String {
        let full = usize::try_from(hundredths).unwrap_or(0) * Self::WIDTH / 100;
        format!("{name} [{}{}] {hundredths:>3} %", "=".repeat(full), " ".repeat(Self::WIDTH - full))
    }

    /// Shows how much of this many bytes has been read.
    pub(crate) fn around<R: AsyncRead>(self, inner: R, total: u64) -> Read<R> {
        Read { inner, bar: self, done: 0, total }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// What is read, with a bar.
pub(crate) struct Read<R> {
    inner: R,
    bar: Bar,
    done: u64,
    total: u64,
}

impl<R: AsyncRead + Unpin> AsyncRead for Read<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.done += (buffer.filled().len() - before) as u64;
        let (done, total) = (self.done, self.total);
        self.bar.set(done, total);
        polled
    }
}

fn green(text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || !io::stdout().is_terminal();
    if plain { text.to_owned() } else { format!("\x1b[32m{text}\x1b[0m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_part() {
        assert_eq!(Bar::line("x", 0), format!("x [{}]   0 %", " ".repeat(30)));
        assert_eq!(Bar::line("x", 50), format!("x [{}{}]  50 %", "=".repeat(15), " ".repeat(15)));
        assert_eq!(Bar::line("x", 100), format!("x [{}] 100 %", "=".repeat(30)));
    }
}
