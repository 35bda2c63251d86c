//! Logging of a process: set up once, by the binary.
//!
//! **Not here**: what is logged. A failure is logged once, at the edge, with its chain of causes; never a secret.

mod tail;

use std::error::Error;
use std::fmt::{self, Write};
use std::io::IsTerminal;
pub use tail::{Line, Tail};
use tracing_subscriber::EnvFilter;

/// Sends log lines to stderr, and keeps the newest where there is a `tail`; `filter` is tracing's directive syntax
/// (`info,apiserver=debug`).
pub fn init(filter: &str, tail: Option<Tail>) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    // A second initialisation (two clusters in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(tail::Sink(tail))
        .with_ansi(ansi)
        .try_init();
}

/// Prints an error with its chain of causes, `a: b: c`.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// The chain of an error as text.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    write!(text, "{}", Chain(error)).expect("writing to a string cannot fail");
    text
}
