//! `kctl`: hands the process's streams, environment, clock and arguments to the library.
//!
//! **Not here.** Everything else: `ctl::run`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use ctl::{Console, Terminal};

// The clock enters here and is handed on, as every other process does through its context.
#[allow(clippy::disallowed_methods)]
fn main() -> ExitCode {
    let terminal =
        Terminal::new(std::io::stdin(), std::io::stdout(), std::io::stderr(), jiff::Timestamp::now)
            .with_environment(
                std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
            )
            .with_time_zone(jiff::tz::TimeZone::system)
            .with_colors(std::io::stdout().is_terminal())
            .with_console(Console::of_stdin());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread needs nothing but memory and an event queue");
    let code = runtime.block_on(ctl::run(std::env::args_os(), &terminal));
    runtime.shutdown_background();
    ExitCode::from(code)
}
