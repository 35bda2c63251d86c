//! `minik config`: what is preferred for new profiles.

use super::{CommandContext, Output};
use crate::preferences;
use crate::problem::Problem;
use anyhow::Result;
use std::process::ExitCode;

/// Set what new profiles start with
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Set a property
    Set {
        /// profile, nodes, simulated-nodes, runtime, store or api-port
        property: String,
        /// Its value
        value: String,
    },
    /// Print a property
    Get {
        /// Its name
        property: String,
    },
    /// Forget a property
    Unset {
        /// Its name
        property: String,
    },
    /// Print all that is set
    View {
        /// Print a result that programs can read
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Set { property, value } => preferences::set(&cx.home, property, value)?,
        Command::Unset { property } => preferences::unset(&cx.home, property)?,
        Command::Get { property } => match preferences::get(&cx.home, property)? {
            Some(value) => cx.terminal.line(value.as_str().unwrap_or(&value.to_string())),
            None => {
                return Err(Problem::error(
                    "specified key could not be found in config",
                    format!("set it: minik config set {property} VALUE"),
                ));
            }
        },
        Command::View { output } => {
            let all = preferences::load(&cx.home)?;
            match output {
                Some(Output::Json) => cx.terminal.line(&serde_json::Value::Object(all).to_string()),
                None => {
                    for (name, value) in all {
                        cx.terminal
                            .line(&format!("- {name}: {}", value.as_str().unwrap_or(&value.to_string())));
                    }
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
