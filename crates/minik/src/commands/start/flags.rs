//! The flags of `minik start`, and what they make of a profile's settings.

use crate::cluster::{IpFamily, ServiceRange};
use crate::commands::{Output, addons};
use crate::problem::Problem;
use crate::profile::{FeatureGates, Mount, PortMapping, RuntimeKind, Settings, StoreKind};
use crate::readiness::Parts;
use crate::{feature_gates, preferences, registries};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::time::Duration;

/// What the long help ends with; not that of `minik run`, which has these flags, too.
pub(in crate::commands) const EXAMPLES: &str = "Examples:
  minik start
  minik start -p staging --nodes 3
  minik start --ports 8080:30080 --ports 0.0.0.0:5353:30053/udp
  minik start --registry-mirror http://127.0.0.1:5001
  minik start --config cluster.yaml

A file:
  nodes: 2
  ports:                 # this machine's port 8080 is the nodes' port 30080
  - {hostPort: 8080, nodePort: 30080}
  - {hostPort: 5353, nodePort: 30053, protocol: UDP, listenAddress: 0.0.0.0}
  mounts:                # hostPath volumes may name /mnt/data
  - {hostPath: /home/me/data, nodePath: /mnt/data, readOnly: true}
  registries:
    mirrors: {docker.io: [http://127.0.0.1:5001]}
    insecure: [localhost:5000]
  featureGates: {SidecarContainers: true}
  ingress: false";

/// Start a cluster, or make sure that it runs
#[derive(clap::Args, Debug)]
pub(in crate::commands) struct Arguments {
    /// A file with settings: nodes, simulatedNodes, runtime, store, etcdServers, apiPort, ipFamily, serviceClusterIpRange, ingress, dns, storage, registry, registryPort, gatewayApi, extraConfig, ports, mounts, registries, featureGates; flags outweigh it
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Number of nodes with the container runtime [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) nodes: Option<u32>,
    /// Number of nodes that only exist on paper [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=2000))]
    pub(super) simulated_nodes: Option<u32>,
    /// What runs containers [default: docker]
    #[arg(long, value_enum)]
    pub(super) runtime: Option<RuntimeKind>,
    /// Where the cluster's state is kept [default: embedded]
    #[arg(long, value_enum)]
    pub(super) store: Option<StoreKind>,
    /// etcd servers to use, instead of one of the profile's own (implies --store etcd)
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    pub(super) etcd_servers: Option<Vec<String>>,
    /// Port of the API server on this machine [default: 6443, or a free one for other profiles]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) api_port: Option<u16>,
    /// Addresses that pods and services have: of IPv4, of IPv6, or of both; IPv6 needs nftables [default: ipv4]
    #[arg(long, value_enum)]
    pub(super) ip_family: Option<IpFamily>,
    /// Addresses of services, which say the family, too; with --ip-family dual one range of each, separated by a comma [default: 10.96.0.0/12 and fd00:10:96::/112, or free ones for other profiles]
    #[arg(long, value_name = "CIDR")]
    pub(super) service_cluster_ip_range: Option<ServiceRange>,
    /// Install the kinds of the Gateway API, which the ingress controller serves [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) gateway_api: Option<bool>,
    /// A flag of a component, as in apiserver.audit-policy-file=/etc/policy.yaml; may be repeated
    #[arg(long, value_name = "COMPONENT.KEY=VALUE")]
    pub(super) extra_config: Option<Vec<String>>,
    /// A port of this machine that leads to one of the nodes: a node port, or a pod's host port. The address is 127.0.0.1 unless it is given; may be repeated
    #[arg(long, value_name = "[ADDRESS:]HOST:NODE[/udp]", value_delimiter = ',')]
    pub(super) ports: Option<Vec<PortMapping>>,
    /// Mount the folder of --mount-string; with =false none is mounted any more
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) mount: Option<bool>,
    /// A folder to mount under another path while the cluster runs, which only root may; may be repeated
    #[arg(long, value_name = "SOURCE:TARGET[:ro]")]
    pub(super) mount_string: Option<Vec<Mount>>,
    /// Who is asked for the images of Docker Hub before it; may be repeated
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(super) registry_mirror: Option<Vec<String>>,
    /// A registry without TLS, or a range of addresses; the Docker engine must be told so, too; may be repeated
    #[arg(long, value_name = "HOST|CIDR", value_delimiter = ',')]
    pub(super) insecure_registry: Option<Vec<String>>,
    /// Feature gates of Kubernetes: those that are as minik is are accepted, others refused
    #[arg(long, value_name = "NAME=BOOL,...", value_parser = feature_gates::parse)]
    pub(super) feature_gates: Option<FeatureGates>,
    /// Addons to enable, as by minik addons enable
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) addons: Option<Vec<String>>,
    /// Only say whether it could start
    #[arg(long, conflicts_with = "foreground")]
    pub(in crate::commands) dry_run: bool,
    /// What to wait for: some of apiserver, system_pods, default_sa, apps_running, node_ready, kubelet, separated by commas; or one of all, none, true, false. The API server is waited for in any case [default: apiserver,default_sa,node_ready]
    #[arg(long, value_name = "COMPONENTS")]
    pub(super) wait: Option<Parts>,
    /// How long to wait for it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = super::duration)]
    pub(super) wait_timeout: Duration,
    /// Print events that programs can read, one a line
    #[arg(short, long, value_enum)]
    pub(super) output: Option<Output>,
    /// Stay in the foreground and log to stderr; stop with Ctrl-C
    #[arg(long)]
    pub(super) foreground: bool,
    /// What to log: a level, or tracing directives
    #[arg(long, value_name = "FILTER", default_value = "info", env = "MINIK_LOG", hide_env_values = true)]
    pub(super) log: String,
    /// The server itself, as `start` runs it in the background
    #[arg(long, hide = true)]
    pub(super) server: bool,
}

pub(super) fn merged(arguments: &Arguments, saved: Settings) -> Result<Settings> {
    let mut settings = match &arguments.config {
        Some(path) => from_file(path, saved)?,
        None => saved,
    };
    if let Some(nodes) = arguments.nodes {
        settings.nodes = nodes;
    }
    if let Some(nodes) = arguments.simulated_nodes {
        settings.simulated_nodes = nodes;
    }
    if let Some(runtime) = arguments.runtime {
        settings.runtime = runtime;
    }
    if let Some(servers) = &arguments.etcd_servers {
        settings.etcd_servers.clone_from(servers);
        settings.store = StoreKind::Etcd;
    }
    if let Some(store) = arguments.store {
        settings.store = store;
    }
    if let Some(port) = arguments.api_port {
        settings.api_port = port;
    }
    if let Some(family) = arguments.ip_family {
        settings.ip_family = family;
    }
    if let Some(range) = arguments.service_cluster_ip_range {
        settings.service_cluster_ip_range = Some(range.to_string());
    }
    if let Some(installed) = arguments.gateway_api {
        settings.gateway_api = installed;
    }
    if let Some(config) = &arguments.extra_config {
        settings.extra_config.clone_from(config);
    }
    if let Some(ports) = &arguments.ports {
        settings.ports.clone_from(ports);
    }
    match (arguments.mount, &arguments.mount_string) {
        (Some(false), Some(_)) => {
            return Err(Problem::error("--mount=false mounts no --mount-string", "leave one of them out"));
        }
        (Some(false), None) => settings.mounts.clear(),
        (_, Some(mounts)) => settings.mounts.clone_from(mounts),
        (Some(true), None) if settings.mounts.is_empty() => {
            return Err(Problem::error(
                "--mount does not say which folder",
                "name it: --mount --mount-string /home/me/data:/mnt/data",
            ));
        }
        (_, None) => {}
    }
    for mount in &mut settings.mounts {
        // The server runs in another folder than this command.
        mount.host_path = std::path::absolute(&mount.host_path).context("find a folder to mount")?;
    }
    if let Some(mirrors) = &arguments.registry_mirror {
        settings.registries.mirrors.insert(registries::DOCKER_HUB.to_owned(), mirrors.clone());
    }
    if let Some(insecure) = &arguments.insecure_registry {
        settings.registries.insecure.clone_from(insecure);
    }
    if let Some(gates) = &arguments.feature_gates {
        settings.feature_gates.clone_from(gates);
    }
    for addon in arguments.addons.iter().flatten() {
        addons::enable(&mut settings, addon)?;
    }
    // A start starts all nodes.
    settings.stopped_nodes.clear();
    Ok(settings)
}

/// Settings with those of a file.
fn from_file(path: &std::path::Path, settings: Settings) -> Result<Settings> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("read {shown}"))?;
    let changes = serde_saphyr::from_str(&text).with_context(|| format!("read {shown}"))?;
    preferences::overlay(settings, changes).map_err(|error| {
        Problem::error(format!("{shown}: {error:#}"), "see what may be set: minik start --help")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn given(words: &[&str]) -> Arguments {
        let command = Arguments::augment_args(clap::Command::new("start"));
        let matches = command.get_matches_from([&["start"][..], words].concat());
        Arguments::from_arg_matches(&matches).expect("flags")
    }

    #[test]
    fn the_example_of_a_file_is_understood() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cluster.yaml");
        let settings = merged(&given(&["--config", path]), Settings::default()).expect("settings");
        assert_eq!((settings.nodes, settings.ports.len()), (2, 2));
        crate::feature_gates::check(&settings.feature_gates).expect("gates");
    }

    #[test]
    fn flags_outweigh_what_was_before() {
        let merge = |words: &[&str], saved: Settings| merged(&given(words), saved);
        let saved = merge(
            &["--ports", "80:30080,81:30081", "--mount-string", "/a:/b", "--registry-mirror", "m.example"],
            Settings::default(),
        );
        let saved = saved.expect("settings");
        assert_eq!((saved.ports.len(), saved.mounts.len()), (2, 1));
        assert_eq!(saved.registries.mirrors[registries::DOCKER_HUB], ["m.example"]);
        let kept = merge(&["--mount"], saved.clone()).expect("settings");
        assert_eq!(kept, saved);
        let less = merge(&["--mount=false", "--ports", "82:30082"], saved.clone()).expect("settings");
        assert_eq!((less.ports.len(), less.mounts.len()), (1, 0));
        for words in [&["--mount=false", "--mount-string", "/a:/b"][..], &["--addons", "dashboard"]] {
            assert!(merge(words, saved.clone()).is_err(), "{words:?}");
        }
        assert!(merge(&["--mount"], Settings::default()).is_err());
    }
}
