//! What commands print: results to stdout, failures to stderr, steps with their time.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use crate::problem;
use std::io::{self, IsTerminal, Write};

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

    /// A piece of a log, as it is.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(bytes)?;
        out.flush()
    }
}

fn green(text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || !io::stdout().is_terminal();
    if plain { text.to_owned() } else { format!("\x1b[32m{text}\x1b[0m") }
}
