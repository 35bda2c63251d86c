//! `minik addons`: what a cluster has beyond Kubernetes itself.
//!
//! **Contract**: what is built in is a switch of the profile. A cluster that runs gets another server process, its containers go
//! on; one that is stopped has the change at its next start. What does not exist says so.
//! **Upstream.** `minikube addons` (its commands and words).

use super::{CommandContext, Output, node, table};
use crate::problem::Problem;
use crate::profile::{RuntimeKind, Settings};
use crate::{access, registry};
use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Map, json};
use std::process::ExitCode;

/// Switch what a cluster has beyond Kubernetes: names, ingress, volumes, a registry
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List all addons and whether they are enabled
    List {
        /// Print a result that programs can read
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
    /// Enable an addon
    Enable {
        /// Its name
        addon: String,
    },
    /// Disable an addon
    Disable {
        /// Its name
        addon: String,
    },
    /// Configure an addon
    Configure {
        /// Its name
        addon: String,
        /// The registry's port on this machine
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
}

/// What an addon is.
enum Kind {
    /// A switch of the profile.
    Switch { of: fn(&mut Settings) -> &mut bool, needs_containers: bool },
    /// A part of every cluster.
    Part,
    /// There is none.
    Missing { instead: &'static str },
}

struct Addon {
    name: &'static str,
    about: &'static str,
    kind: Kind,
}

/// THE LIST.
const ADDONS: [Addon; 6] = [
    Addon {
        name: "dashboard",
        about: "a page in the browser",
        kind: Kind::Missing { instead: "see what runs: kctl get all -A" },
    },
    Addon {
        name: "dns",
        about: "names of services, in kube-system as CoreDNS",
        kind: Kind::Switch { of: |settings| &mut settings.dns, needs_containers: true },
    },
    Addon {
        name: "ingress",
        about: "HTTP from outside, from the first Ingress on",
        kind: Kind::Switch { of: |settings| &mut settings.ingress, needs_containers: true },
    },
    Addon { name: "metrics-server", about: "what nodes and pods use: kctl top", kind: Kind::Part },
    Addon {
        name: "registry",
        about: "images that are pushed to localhost:5000, by docker-registry",
        kind: Kind::Switch { of: |settings| &mut settings.registry, needs_containers: true },
    },
    Addon {
        name: "storage",
        about: "volumes for claims, by the default StorageClass",
        kind: Kind::Switch { of: |settings| &mut settings.storage, needs_containers: false },
    },
];

impl Addon {
    fn status(&self, settings: &Settings) -> &'static str {
        match self.kind {
            Kind::Switch { of, .. } if self.works_with(settings) && *of(&mut settings.clone()) => "enabled",
            Kind::Switch { .. } => "disabled",
            Kind::Part => "enabled",
            Kind::Missing { .. } => "not available",
        }
    }

    fn works_with(&self, settings: &Settings) -> bool {
        let needs_containers = matches!(self.kind, Kind::Switch { needs_containers: true, .. });
        !needs_containers || settings.runtime == RuntimeKind::Docker
    }
}

fn named(name: &str) -> Result<&'static Addon> {
    ADDONS.iter().find(|addon| addon.name == name).ok_or_else(|| {
        Problem::error(format!("{name} is not a valid addon"), "see which there are: minik addons list")
    })
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::List { output } => list(cx, *output),
        Command::Enable { addon } => switch(cx, addon, true),
        Command::Disable { addon } => switch(cx, addon, false),
        Command::Configure { addon, port } => configure(cx, named(addon)?, *port),
    }
}

fn configure(cx: &CommandContext, addon: &Addon, port: Option<u16>) -> Result<ExitCode> {
    refuse_missing(addon)?;
    let name = addon.name;
    match port {
        None if name == "registry" => {
            let port = access::settings(cx)?.registry_port;
            cx.terminal.line(&format!("{name} has one configuration option: --port, which is {port}"));
        }
        None => cx.terminal.line(&format!("{name} has no available configuration options")),
        Some(port) if name == "registry" => {
            let mut settings = access::settings(cx)?;
            if !addon.works_with(&settings) {
                return Err(needs_containers(name));
            }
            if settings.registry_port != port {
                settings.registry_port = port;
                registry::check(&settings, &std::env::var_os("PATH").unwrap_or_default())?;
                match cx.profile.running()?.filter(|_| settings.registry) {
                    Some(pid) => node::replace(cx, &settings, pid)?,
                    None => cx.profile.save(&settings)?,
                }
            }
            cx.terminal.line(&format!("{name} was successfully configured"));
        }
        Some(_) => return Err(Problem::error(format!("{name} has no option --port"), "leave it out")),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(cx: &CommandContext, output: Option<Output>) -> Result<ExitCode> {
    let settings = access::settings(cx)?;
    match output {
        Some(Output::Json) => {
            let all: Map<_, _> = ADDONS
                .iter()
                .map(|addon| {
                    let status = json!({"Profile": cx.profile.name, "Status": addon.status(&settings)});
                    (addon.name.to_owned(), status)
                })
                .collect();
            cx.terminal.line(&json!(all).to_string());
        }
        None => {
            let mut rows =
                vec![["ADDON NAME", "PROFILE", "STATUS", "WHAT IT IS"].map(str::to_owned).to_vec()];
            rows.extend(ADDONS.iter().map(|addon| {
                let cells = [addon.name, &cx.profile.name, addon.status(&settings), addon.about];
                cells.map(str::to_owned).to_vec()
            }));
            table(cx, &rows);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_missing(addon: &Addon) -> Result<()> {
    match addon.kind {
        Kind::Missing { instead } => {
            Err(Problem::error(format!("minik has no addon {} yet", addon.name), instead))
        }
        _ => Ok(()),
    }
}

/// Settings with an addon, for a start.
pub(super) fn enable(settings: &mut Settings, name: &str) -> Result<()> {
    let addon = named(name)?;
    refuse_missing(addon)?;
    if !addon.works_with(settings) {
        return Err(needs_containers(name));
    }
    if let Kind::Switch { of, .. } = addon.kind {
        *of(settings) = true;
    }
    Ok(())
}

fn needs_containers(name: &str) -> anyhow::Error {
    Problem::error(
        format!("{name} needs containers: pods on paper ask nobody and answer nobody"),
        "start a profile with the runtime docker: minik start -p NAME",
    )
}

fn switch(cx: &CommandContext, name: &str, on: bool) -> Result<ExitCode> {
    let addon = named(name)?;
    refuse_missing(addon)?;
    let mut settings = access::settings(cx)?;
    let done = if on { "enabled" } else { "disabled" };
    match addon.kind {
        Kind::Part if on => {}
        Kind::Switch { .. } if !addon.works_with(&settings) => {
            return Err(needs_containers(name));
        }
        Kind::Switch { of, .. } => {
            let value = of(&mut settings);
            if *value != on {
                *value = on;
                if on && name == "registry" {
                    registry::check(&settings, &std::env::var_os("PATH").unwrap_or_default())?;
                }
                match cx.profile.running()? {
                    Some(pid) => {
                        node::replace(cx, &settings, pid)?;
                        if !on {
                            clean_up(cx, &settings, name)?;
                        }
                    }
                    None => cx.profile.save(&settings)?,
                }
            }
        }
        Kind::Part | Kind::Missing { .. } => {
            return Err(Problem::error(
                format!("{name} is a part of the API server and cannot be disabled"),
                "it costs nothing until it is asked",
            ));
        }
    }
    cx.terminal.line(&format!("The '{name}' addon is {done}"));
    Ok(ExitCode::SUCCESS)
}

/// Deletes what would still promise what nobody does any more.
fn clean_up(cx: &CommandContext, settings: &Settings, name: &str) -> Result<()> {
    access::block_on(async {
        let client = access::client(cx, settings).await?;
        let params = DeleteParams::default();
        let deleted = match name {
            "storage" => Api::<StorageClass>::all(client).delete("standard", &params).await.map(drop),
            "dns" => {
                let slices = Api::<EndpointSlice>::namespaced(client.clone(), "kube-system");
                // It may be gone with the service.
                let _ = slices.delete("kube-dns", &params).await;
                Api::<Service>::namespaced(client, "kube-system").delete("kube-dns", &params).await.map(drop)
            }
            _ => Ok(()),
        };
        match deleted {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => Ok(deleted?),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addon_is_a_switch_a_part_or_missing() {
        let docker = Settings::default();
        let paper = Settings { runtime: RuntimeKind::Simulated, ..Settings::default() };
        let off = Settings { storage: false, ..Settings::default() };
        for (name, settings, status) in [
            ("dns", &docker, "enabled"),
            ("dns", &paper, "disabled"),
            ("storage", &paper, "enabled"),
            ("storage", &off, "disabled"),
            ("metrics-server", &docker, "enabled"),
            ("dashboard", &docker, "not available"),
            ("registry", &docker, "disabled"),
        ] {
            assert_eq!(named(name).expect("known").status(settings), status, "{name}");
        }
        assert!(named("nonsense").is_err());
    }
}
