//! The binary `minik`; everything is in the library, but for the allocator (docs/decisions/0026-jemalloc.md), which a
//! program chooses and a library does not.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    minik::commands::main()
}
