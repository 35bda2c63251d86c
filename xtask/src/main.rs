//! The project's own tools: `cargo xtask COMMAND`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod schema;

use clap::Parser;

/// The project's own tools.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
enum Command {
    /// Write the schema table of the built-in types, or check it.
    Schema(schema::Args),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Schema(args) => schema::run(&args),
    }
}
