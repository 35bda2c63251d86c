//! The terminal that a person sits at: its size, and its mode in which every key goes to the program at once.
//!
//! **Contract.** Whoever holds a [`Raw`] has the terminal in that mode; dropping it brings the former mode back.

use std::io::IsTerminal as _;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use streaming::remote_command::TerminalSize;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The terminal behind the process's standard input.
#[derive(Debug, Clone, Copy)]
pub struct Console(());

impl Console {
    /// Standard input's, if it is one.
    pub fn of_stdin() -> Option<Self> {
        std::io::stdin().is_terminal().then_some(Self(()))
    }

    /// How large it is.
    pub(crate) fn size(self) -> Option<TerminalSize> {
        let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())).ok()?;
        Some(TerminalSize { width: size.ws_col, height: size.ws_row })
    }

    /// Changes of its size.
    pub(crate) fn resizes(self) -> std::io::Result<Signal> {
        signal(SignalKind::window_change())
    }

    /// Hands every key to the program.
    pub(crate) fn raw(self) -> std::io::Result<Raw> {
        let former = tcgetattr(std::io::stdin())?;
        let mut raw = former.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw { former })
    }
}

/// A terminal in raw mode.
pub(crate) struct Raw {
    former: Termios,
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.former);
    }
}
