//! The binary `minik`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    minik::commands::main()
}
