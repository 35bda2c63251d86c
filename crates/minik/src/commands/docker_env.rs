//! `minik docker-env`: what points the docker command at the nodes' engine.
//!
//! Nodes use the engine of this machine: an image that is built there is there for pods at once.
//! **Upstream.** `minikube docker-env` (its words).

use super::CommandContext;
use crate::problem::Problem;
use crate::profile::RuntimeKind;
use crate::{access, preflight};
use anyhow::Result;
use std::process::ExitCode;

/// Print what points the docker command at the cluster's engine
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// For which shell
    #[arg(long, value_enum, default_value = "bash")]
    shell: Shell,
    /// Print what takes it back
    #[arg(short, long)]
    unset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    None,
}

/// Where an engine listens that nobody has named.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let (settings, _) = access::running(cx)?;
    if settings.runtime != RuntimeKind::Docker {
        return Err(Problem::error(
            format!("the nodes of profile {:?} have no Docker engine", cx.profile.name),
            "start one that has: minik start -p NAME --runtime docker",
        ));
    }
    let host = match preflight::docker_host() {
        host if host.is_empty() => DEFAULT_HOST.to_owned(),
        host => host,
    };
    for (name, value) in [("DOCKER_HOST", host.as_str()), ("MINIK_ACTIVE_DOCKERD", &cx.profile.name)] {
        cx.terminal.line(&line(arguments.shell, name, (!arguments.unset).then_some(value)));
    }
    let again = format!("minik -p {} docker-env", cx.profile.name);
    if !arguments.unset && matches!(arguments.shell, Shell::Bash | Shell::Zsh) {
        cx.terminal.line(&format!(
            "\n# To point your shell to the cluster's docker engine, run:\n# eval $({again})"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A line that sets a variable, or takes it away.
fn line(shell: Shell, name: &str, value: Option<&str>) -> String {
    match (shell, value) {
        (Shell::Bash | Shell::Zsh, Some(value)) => format!("export {name}=\"{value}\""),
        (Shell::Bash | Shell::Zsh, None) => format!("unset {name};"),
        (Shell::Fish, Some(value)) => format!("set -gx {name} \"{value}\";"),
        (Shell::Fish, None) => format!("set -e {name};"),
        (Shell::Powershell, Some(value)) => format!("$Env:{name} = \"{value}\""),
        (Shell::Powershell, None) => format!("Remove-Item Env:\\{name}"),
        (Shell::None, Some(value)) => format!("{name}={value}"),
        (Shell::None, None) => name.to_owned(),
    }
}
