//! What stops a command, with what to do about it.
//!
//! `error: …` says what failed and why, `hint: …` the next command.

use std::fmt;

/// A failure that knows its remedy.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) error: String,
    pub(crate) hint: String,
}

impl Problem {
    /// A failure and the next step, as an error for `?`.
    pub(crate) fn error(error: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { error: error.into(), hint: hint.into() })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for Problem {}

/// The hint of an error, wherever in its chain it is.
pub(crate) fn hint(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|e| e.downcast_ref::<Problem>()).map(|p| p.hint.as_str())
}
