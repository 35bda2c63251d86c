//! Which engine to use, and what of it.

use std::collections::BTreeMap;

/// Other places that are asked for the images of a registry, in order, by the registry (`docker.io`; `*`: any other):
/// `http://127.0.0.1:5001`, `https://mirror.example/prefix`.
pub type Mirrors = BTreeMap<String, Vec<String>>;

/// Which engine to use, and what of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerConfig {
    /// `unix:///var/run/docker.sock`, `tcp://…`, or a socket's path; empty: the platform's default. `DOCKER_HOST` is the
    /// caller's to read.
    pub host: String,
    /// The profile whose containers these are.
    pub profile: String,
    /// The node whose containers these are; empty: all of the profile. Needed when several nodes share an engine.
    pub node: String,
    /// The pods' network; none: the engine's default bridge.
    pub network: Option<NetworkConfig>,
    /// Where images are looked for before their registries are asked.
    pub mirrors: Mirrors,
}

impl DockerConfig {
    /// The engine at its default place, the default bridge.
    pub fn new(profile: impl Into<String>) -> Self {
        Self { profile: profile.into(), ..Self::default() }
    }
}

/// A bridge of the profile's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Name of the engine's network.
    pub name: String,
    /// `10.244.0.0/24`; none: the engine chooses.
    pub subnet: Option<String>,
    /// `fd00:10:244::/64`; none: pods have no addresses of IPv6.
    pub subnet_v6: Option<String>,
    /// Pods have no addresses of IPv4; those that an engine cannot leave out are not told.
    pub only_v6: bool,
}
