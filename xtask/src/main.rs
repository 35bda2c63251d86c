//! The project's own tools: `cargo xtask COMMAND`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod schema;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// The project's own tools.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
enum Command {
    /// Measure a cluster with the release binaries.
    Bench(bench::Args),
    /// Write the schema table of the built-in types, or check it.
    Schema(schema::Args),
    /// Check the house rules that a compiler does not know.
    Tidy(tidy::Args),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Bench(args) => bench::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Tidy(args) => tidy::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
