//! `kctl`: kubectl's commands, with kubectl's output.
//!
//! **Contract.** `run` is the whole program: arguments and a `Terminal` in, an exit code out. It keeps no state between
//! calls, so a test may run many commands side by side in one process.
//! **Not here.** Anything about the launcher's cluster: kctl knows a kubeconfig and an API server, no more.
//! **Upstream.** kubectl 1.36.

mod cli;
mod client_config;
mod commands;
mod connection;
mod describe;
mod discovery;
mod duration;
mod fetch;
mod in_cluster;
mod local_patch;
mod manifests;
mod output;
mod overrides;
mod pairs;
mod preferences;
mod report;
mod resolve;
mod selection;
mod streams;
mod terminal;
mod three_way;
mod yaml_input;

use std::ffi::OsString;

pub use streams::console::Console;
pub use terminal::Terminal;

/// Runs one command line (the program's name first) and returns the exit code.
pub async fn run(arguments: impl IntoIterator<Item = OsString>, terminal: &Terminal) -> u8 {
    match commands::dispatch(arguments, terminal).await {
        Ok(()) => 0,
        Err(error) => {
            terminal.err(&error.report());
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests;
