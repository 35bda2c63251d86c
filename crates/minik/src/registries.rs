//! Where images come from: mirrors of registries, and registries without TLS.
//!
//! **Contract**: mirrors are asked by this program, through the engine. What the engine decides for itself, whom it trusts without
//! TLS, is checked and refused by name, not ignored.
//! **Upstream**: minikube's `--registry-mirror` and `--insecure-registry`; containerd's mirrors, which kind configures.

use crate::access;
use crate::preflight;
use crate::problem::Problem;
use anyhow::Result;
use runtime_docker::{DockerConfig, DockerRuntime, Mirrors};
use serde::{Deserialize, Serialize};

/// The registry of images without one, which `--registry-mirror` is about.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// Where images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Registries {
    /// By registry, who is asked before it.
    pub mirrors: Mirrors,
    /// Registries that have no TLS, or none that is to be trusted.
    pub insecure: Vec<String>,
}

impl Registries {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those that the engine must speak to without TLS.
    fn insecure(&self) -> Vec<&str> {
        let plain = self.mirrors.values().flatten().filter_map(|mirror| {
            let rest = mirror.strip_prefix("http://")?;
            Some(rest.split('/').next().unwrap_or(rest))
        });
        self.insecure.iter().map(String::as_str).chain(plain).collect()
    }

    /// What is wrong with the settings as such.
    fn complaint(&self) -> Option<String> {
        for (registry, mirrors) in &self.mirrors {
            if registry != "*" && (registry.contains('/') || !is_host(registry)) {
                return Some(format!("{registry:?} is no registry: give its host, such as {DOCKER_HUB}"));
            }
            for mirror in mirrors {
                let (scheme, place) = mirror.split_once("://").unwrap_or(("https", mirror));
                let host = place.split('/').next().unwrap_or_default();
                if !matches!(scheme, "http" | "https") || !is_host(host) || place.contains(['?', '#', '@']) {
                    return Some(format!(
                        "{mirror:?} is no mirror: give its address, such as https://mirror.example"
                    ));
                }
            }
        }
        let wrong = self.insecure.iter().find(|registry| registry.contains("://") || registry.is_empty());
        wrong.map(|registry| format!("{registry:?} is no registry: give a host, or a range of addresses"))
    }
}

/// Whether images' names may begin with it: others are taken for a part of a name.
fn is_host(text: &str) -> bool {
    let in_names = text.contains(['.', ':']) || text == "localhost";
    in_names && runtime::reference::parse(&format!("{text}/x")).is_ok()
}

/// Whether the settings are good, and the engine does its part.
pub(crate) fn check(registries: &Registries, host: &str) -> Result<()> {
    if let Some(complaint) = registries.complaint() {
        return Err(Problem::error(complaint, "see minik start --help"));
    }
    let insecure = registries.insecure();
    if insecure.is_empty() {
        return Ok(());
    }
    access::block_on(async {
        let config = DockerConfig { host: host.to_owned(), ..DockerConfig::default() };
        let docker = DockerRuntime::connect(config).await?;
        match docker.secured(&insecure).await?.first() {
            None => Ok(()),
            Some(registry) => Err(Problem::error(
                format!(
                    "registry {registry:?} cannot be made insecure: the Docker engine decides that, and insists on TLS"
                ),
                format!(
                    "add it to \"insecure-registries\" in /etc/docker/daemon.json and restart the engine: {{\"insecure-registries\": [{registry:?}]}}"
                ),
            )),
        }
    })
}

/// How a profile's engine is reached, with these mirrors.
pub(crate) fn docker_config(profile: &str, registries: &Registries) -> DockerConfig {
    let mirrors = registries.mirrors.clone();
    DockerConfig { host: preflight::docker_host(), mirrors, ..DockerConfig::new(profile) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(registry: &str, mirror: &str, insecure: &[&str]) -> Registries {
        Registries {
            mirrors: Mirrors::from([(registry.to_owned(), vec![mirror.to_owned()])]),
            insecure: insecure.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn settings_are_hosts_and_addresses() {
        for (settings, complaint) in [
            (of(DOCKER_HUB, "http://127.0.0.1:5001", &["127.0.0.0/8", "localhost:5000"]), None),
            (of("*", "mirror.example:5000/hub", &[]), None),
            (of("https://docker.io", "mirror.example", &[]), Some("is no registry")),
            (of("library", "mirror.example", &[]), Some("is no registry")),
            (of(DOCKER_HUB, "ftp://mirror.example", &[]), Some("is no mirror")),
            (of(DOCKER_HUB, "mirror", &[]), Some("is no mirror")),
            (of(DOCKER_HUB, "https://me@mirror.example", &[]), Some("is no mirror")),
            (of(DOCKER_HUB, "mirror.example", &["http://x.example"]), Some("is no registry")),
        ] {
            let said = settings.complaint();
            match complaint {
                None => assert_eq!(said, None),
                Some(part) => assert!(said.as_ref().is_some_and(|said| said.contains(part)), "{said:?}"),
            }
        }
        let plain = of(DOCKER_HUB, "http://10.0.0.1:5000/x", &["a.example"]);
        assert_eq!(plain.insecure(), ["a.example", "10.0.0.1:5000"]);
    }
}
