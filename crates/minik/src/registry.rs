//! The registry addon: the machine's `docker-registry`, on the loopback, with its images in the profile.
//!
//! **Contract**: what is pushed to `localhost:PORT` is pulled from there by the nodes' engine, which trusts the loopback
//! without TLS. Only this machine reaches it; pods do not.
//! **Upstream**: minikube's addon, whose proxy listens at the same address on each node.

use crate::companion::{Companion, Program};
use crate::preflight;
use crate::problem::Problem;
use crate::profile::{Profile, Settings};
use anyhow::{Context as _, Result};
use component_base::Context;
use serde_json::json;
use std::ffi::OsStr;

/// The program, as Debian calls it.
const NAME: &str = "docker-registry";
const HINT: &str = "install it (Debian: apt-get install docker-registry)";

const REGISTRY: Program = Program {
    name: NAME,
    hint: HINT,
    serves: |line| line.contains("listening on "),
    log: |line| match line.contains("level=error") || line.contains("level=fatal") {
        true => tracing::warn!(target: "registry", "{line}"),
        false => tracing::debug!(target: "registry", "{line}"),
    },
};

/// Whether it can be started: there is such a program, and its port is free.
pub(crate) fn check(settings: &Settings, path: &OsStr) -> Result<()> {
    if !std::env::split_paths(path).any(|folder| folder.join(NAME).is_file()) {
        return Err(Problem::error(
            format!("the registry needs the program {NAME}, which is not on PATH"),
            HINT,
        ));
    }
    preflight::free(settings.registry_port, "the registry", "registryPort in the file of --config")
}

/// Starts it and returns when it serves.
pub(crate) async fn start(profile: &Profile, settings: &Settings, context: &Context) -> Result<Companion> {
    let file = profile.path("registry.json");
    let config = json!({
        "version": 0.1,
        // The line that says that it serves is of this level.
        "log": {"level": "info", "accesslog": {"disabled": true}},
        "storage": {
            "filesystem": {"rootdirectory": profile.path("registry")},
            "delete": {"enabled": true},
        },
        "http": {"addr": format!("127.0.0.1:{}", settings.registry_port)},
    });
    // It reads YAML, which JSON is.
    std::fs::write(&file, config.to_string()).with_context(|| format!("write {}", file.display()))?;
    Companion::start(REGISTRY, context, |command| {
        command.arg("serve").arg(&file);
    })
    .await
    .map_err(|error| {
        let hint = format!("start without it: minik addons disable registry -p {}", profile.name);
        Problem::error(format!("start the registry: {error:#}"), hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_program_it_is_said_what_to_install() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = check(&Settings::default(), folder.path().as_os_str()).expect_err("no such program");
        assert!(error.to_string().contains("docker-registry"), "{error:#}");
        assert_eq!(crate::problem::hint(&error), Some(HINT));
    }
}
