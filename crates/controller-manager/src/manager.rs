//! The frame: configuration, what controllers share, and starting them all.

use crate::controllers::CONTROLLERS;
use crate::{Error, controllers};
use client::{Index, Informers, Interner};
use component_base::Context;
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashSet;
use std::time::Duration;

/// Configuration of the controllers; defaults are upstream's.
#[derive(Clone, Debug)]
pub struct Config {
    /// PEM of the CA that signed the API server's certificate (`--root-ca-file`).
    pub root_ca: String,
    /// The key of that CA, for requests for certificates (`--cluster-signing-key-file`); without it none is signed.
    pub signing_key: Option<SigningKey>,
    /// The key that signs tokens kept in Secrets (`--service-account-private-key-file`); without it there are none.
    pub token_key: Option<SigningKey>,
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
    /// `*`, names of controllers, and `-name` for what is not to run (`--controllers`).
    pub controllers: Vec<String>,
    /// Finished pods that are kept before the oldest are deleted (`--terminated-pod-gc-threshold`).
    pub terminated_pod_threshold: usize,
    /// How often nodes are looked at (`--node-monitor-period`).
    pub node_monitor_period: Duration,
    /// How long a node may be silent (`--node-monitor-grace-period`).
    pub node_monitor_grace_period: Duration,
    /// How long a starting node may be silent (`--node-startup-grace-period`).
    pub node_startup_grace_period: Duration,
    /// How long nobody has to use a token that was made for a service account until it is marked as invalid, and then
    /// until it goes (`--legacy-service-account-token-clean-up-period`).
    pub legacy_token_clean_up_period: Duration,
}

/// A private key, PEM; never printed.
#[derive(Clone)]
pub struct SigningKey(pub String);

impl std::ops::Deref for SigningKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl Config {
    /// Upstream's defaults, with this CA to publish.
    pub fn new(root_ca: impl Into<String>) -> Self {
        Self {
            root_ca: root_ca.into(),
            signing_key: None,
            token_key: None,
            interner: Interner::default(),
            controllers: vec!["*".to_owned()],
            terminated_pod_threshold: 12_500,
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            legacy_token_clean_up_period: Duration::from_hours(8760),
        }
    }
}

/// What every controller is handed.
#[derive(Clone)]
pub struct Manager {
    /// Time, randomness, shutdown, metrics.
    pub context: Context,
    /// The API server.
    pub client: kube::Client,
    /// One watch a kind, for all controllers.
    pub informers: Informers,
    /// Configuration.
    pub config: Config,
}

impl Manager {
    /// The pods of a node; those without one are under none.
    pub fn pods_by_node(&self) -> Index<Pod> {
        self.informers.of::<Pod>().index("node", |pod| {
            let node = api::pod::node_name(pod);
            (!node.is_empty()).then(|| node.to_owned()).into_iter().collect()
        })
    }
}

/// Runs the controllers until the context ends.
///
/// # Errors
/// If the configuration names a controller that does not exist.
pub async fn run(context: Context, client: kube::Client, config: Config) -> Result<(), Error> {
    let enabled = enabled(&config.controllers)?;
    tracing::info!(controllers = enabled.len(), "starting");
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let manager = Manager { context, client, informers, config };
    let running =
        CONTROLLERS.iter().filter(|controller| enabled.contains(controller.name)).map(|controller| {
            tracing::debug!(controller = controller.name, "starting");
            (controller.start)(manager.clone())
        });
    futures::future::join_all(running).await;
    Ok(())
}

/// Which controllers `--controllers` means.
fn enabled(wanted: &[String]) -> Result<HashSet<&'static str>, Error> {
    let known = |name: &str| {
        let found = CONTROLLERS.iter().find(|controller| controller.name == name);
        found.map(|controller| controller.name).ok_or_else(|| Error::UnknownController(name.to_owned()))
    };
    let mut enabled = HashSet::new();
    if wanted.iter().any(|name| name == "*") {
        enabled.extend(controllers::CONTROLLERS.iter().map(|controller| controller.name));
    }
    for name in wanted.iter().filter(|name| *name != "*" && !name.starts_with('-')) {
        enabled.insert(known(name)?);
    }
    for name in wanted.iter().filter_map(|name| name.strip_prefix('-')) {
        enabled.remove(known(name)?);
    }
    Ok(enabled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_chosen_by_star_name_and_minus() {
        let names = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            enabled(&wanted).map(|names| names.len())
        };
        assert_eq!(names(&["*"]).unwrap(), CONTROLLERS.len());
        assert_eq!(names(&["*", "-namespace-controller"]).unwrap(), CONTROLLERS.len() - 1);
        assert_eq!(names(&["namespace-controller"]).unwrap(), 1);
        assert_eq!(
            names(&["nonsense"]).unwrap_err().to_string(),
            "\"nonsense\" is not in the list of known controllers"
        );
    }
}
