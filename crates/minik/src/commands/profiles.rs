//! `minik profile`: which clusters there are, and which one is meant where none is named.

use super::{CommandContext, Output, table};
use crate::daemon;
use crate::preferences;
use crate::problem::Problem;
use crate::profile::{Profile, Settings};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Show or switch the profile that commands act on
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Use this profile from now on
    name: Option<String>,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List all profiles
    List {
        /// Print a result that programs can read
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    match (&arguments.command, &arguments.name) {
        (Some(Command::List { output }), _) => list(cx, *output),
        (None, None) => {
            cx.terminal.line(&preferences::profile(&cx.home));
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(name)) => {
            let profile = Profile::new(&cx.home, name)?;
            if name != crate::profile::DEFAULT && profile.settings()?.is_none() {
                return Err(Problem::error(
                    format!("cannot switch to profile {name:?}: it does not exist"),
                    format!("start it: minik start -p {name}"),
                ));
            }
            preferences::set(&cx.home, "profile", name)?;
            cx.terminal.line(&format!("Profile {name:?} is used from now on."));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `Running`, `Paused` or `Stopped`.
pub(super) fn state(profile: &Profile) -> Result<&'static str> {
    Ok(match profile.running()? {
        None => "Stopped",
        Some(pid) if daemon::is_suspended(pid) => "Paused",
        Some(_) => "Running",
    })
}

fn list(cx: &CommandContext, output: Option<Output>) -> Result<ExitCode> {
    let current = preferences::profile(&cx.home);
    let mut found: Vec<(Profile, Settings, &'static str)> = Vec::new();
    let mut invalid = Vec::new();
    for profile in Profile::all(&cx.home)? {
        match profile.settings() {
            Ok(Some(settings)) => {
                let state = state(&profile)?;
                found.push((profile, settings, state));
            }
            _ => invalid.push(profile.name),
        }
    }
    if output == Some(Output::Json) {
        let valid: Vec<_> = found
            .iter()
            .map(|(profile, settings, state)| {
                json!({"Name": profile.name, "Status": state, "Active": profile.name == current, "Config": settings})
            })
            .collect();
        let invalid: Vec<_> = invalid.iter().map(|name| json!({"Name": name})).collect();
        cx.terminal.line(&json!({"invalid": invalid, "valid": valid}).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        ["PROFILE", "RUNTIME", "STORE", "VERSION", "PORT", "NODES", "STATUS", "ACTIVE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (profile, settings, state) in &found {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        rows.push(vec![
            profile.name.clone(),
            word(json!(settings.runtime)),
            word(json!(settings.store)),
            crate::cluster::KUBERNETES_VERSION.to_owned(),
            settings.api_port.to_string(),
            (settings.nodes + settings.simulated_nodes).to_string(),
            (*state).to_owned(),
            if profile.name == current { "*".to_owned() } else { String::new() },
        ]);
    }
    table(cx, &rows);
    for name in invalid {
        cx.terminal.line(&format!("Profile {name:?} cannot be read; remove it: minik delete -p {name}"));
    }
    Ok(ExitCode::SUCCESS)
}
