//! `minik delete`: ends a cluster and removes all that it left: containers, state, context.

use super::{CommandContext, Output, stop};
use crate::preflight;
use crate::problem::Problem;
use crate::profile::{Profile, RuntimeKind};
use anyhow::{Context as _, Result};
use client::kubeconfig;
use runtime_docker::{DockerConfig, DockerRuntime};
use serde_json::json;
use std::process::ExitCode;

/// Stop a cluster and delete everything that belongs to it
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Delete all profiles
    #[arg(long, conflicts_with = "profile")]
    all: bool,
    /// Delete minik's home folder, too: preferences and all
    #[arg(long)]
    purge: bool,
    /// Print a result that programs can read
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// When standard input is closed
    #[arg(long, hide = true)]
    when_closed: bool,
}

/// The flag by which `minik run` has another process delete its cluster.
pub(super) const WHEN_CLOSED: &str = "--when-closed";

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    if arguments.when_closed {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
            .context("wait for the end of standard input")?;
    }
    let others = Profile::all(&cx.home)?.iter().any(|other| other.name != cx.profile.name);
    if arguments.purge && others && !arguments.all {
        return Err(Problem::error(
            "multiple minik profiles were found",
            "before you use --purge, delete them all: minik delete --all --purge",
        ));
    }
    let profiles = if arguments.all { Profile::all(&cx.home)? } else { vec![cx.profile.clone()] };
    let (mut deleted, json) = (Vec::new(), arguments.output == Some(Output::Json));
    let say = |text: &str| {
        if !json {
            cx.terminal.line(text);
        }
    };
    for profile in &profiles {
        let existed = profile.exists();
        delete(cx, profile)?;
        let text = if existed { "is deleted." } else { "does not exist." };
        say(&format!("Profile {:?} {text}", profile.name));
        if existed {
            deleted.push(&profile.name);
        }
    }
    if arguments.all && profiles.is_empty() {
        say("There are no profiles.");
    }
    let purged = arguments.purge && cx.home.exists();
    if purged {
        std::fs::remove_dir_all(&cx.home).with_context(|| format!("remove {}", cx.home.display()))?;
        say(&format!("{} is removed.", cx.home.display()));
    }
    if json {
        cx.terminal.line(&json!({"deleted": deleted, "purged": purged}).to_string());
    }
    Ok(ExitCode::SUCCESS)
}

fn delete(cx: &CommandContext, profile: &Profile) -> Result<()> {
    stop::stop(profile)?;
    // Settings that cannot be read do not keep anybody from deleting.
    let settings = profile.settings().ok().flatten();
    if settings.is_some_and(|settings| settings.runtime == RuntimeKind::Docker) {
        remove_containers(profile)?;
        if let Some(log_dir) = preflight::log_dir() {
            kubelet::remove_log_links(&profile.path("kubelet"), &log_dir)
                .with_context(|| format!("remove links in {}", log_dir.display()))?;
        }
    }
    kubelet::remove_root_dir(profile.dir()).with_context(|| format!("remove {}", profile.dir().display()))?;
    kubeconfig::uninstall(&cx.kubeconfig, &profile.name)
        .with_context(|| format!("take the context {:?} out of the kubeconfig", profile.name))
}

/// Removes what a crash may have left in the engine.
fn remove_containers(profile: &Profile) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let config = DockerConfig { host: preflight::docker_host(), ..DockerConfig::new(&profile.name) };
        let docker = DockerRuntime::connect(config).await.context("remove the profile's containers")?;
        let helper = std::env::current_exe().ok();
        crate::cluster::remove_service_rules(&profile.name, &docker, helper.as_deref()).await;
        docker.remove_profile().await.context("remove the profile's containers")
    })
}
