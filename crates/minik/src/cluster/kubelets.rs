//! How the nodes of a cluster are configured: real ones, and ones on paper.
//!
//! **Not here**: how many there are, and what all of them have in common (`builder`).

use super::{KUBERNETES_VERSION, NodeRuntime};
use anyhow::{Context as _, Result};
use component_base::Context;
use kubelet::{Ledger, MachineInfo, ShutdownGrace};
use runtime_docker::DockerRuntime;
use runtime_simulated::{SimulatedConfig, SimulatedRuntime};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// minikube's names: the first node is called after the profile, the second `NAME-m02`.
pub(crate) fn node_name(cluster: &str, index: u32) -> String {
    if index == 0 { cluster.to_owned() } else { format!("{cluster}-m{:02}", index + 1) }
}

pub(super) fn node(
    name: String,
    machine: MachineInfo,
    runtime: Arc<dyn NodeRuntime>,
    root_dir: Option<PathBuf>,
) -> kubelet::Config {
    kubelet::Config {
        node_name: name,
        labels: Default::default(),
        runtime: runtime.clone(),
        images: runtime,
        machine,
        pod_cidrs: Vec::new(),
        root_dir,
        ledger: Ledger::default(),
        log_dir: None,
        cluster_dns: kubelet::ClusterDns::default(),
        interner: client::Interner::default(),
        event_turns: None,
        shutdown_grace: ShutdownGrace::default(),
        version: KUBERNETES_VERSION.to_owned(),
        static_pods: Vec::new(),
    }
}

/// One with containers, the machine's addresses, and blocks of addresses for its pods.
pub(super) fn real(
    name: String,
    docker: Arc<DockerRuntime>,
    root: &Path,
    ledger: Ledger,
    (addresses, pods): (&[IpAddr], &[String]),
) -> Result<kubelet::Config> {
    std::fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
    let machine = MachineInfo::detect(root, addresses.to_vec());
    let node = node(name, machine, docker, Some(root.to_owned()));
    Ok(kubelet::Config { ledger, pod_cidrs: pods.to_vec(), ..node })
}

pub(super) fn simulated(context: &Context, name: String, index: u32) -> kubelet::Config {
    // kubeadm's usual pod range, cut into /24 as kube-controller-manager does.
    let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    let base = Ipv4Addr::new(10, 244_u8.saturating_add(high), low, 0);
    let config =
        SimulatedConfig { now: context.clock.now(), pod_cidr: (base, 24), seed: u64::from(index) + 1 };
    let machine = MachineInfo::simulated(&name);
    let node = node(name, machine, Arc::new(SimulatedRuntime::new(config)), None);
    kubelet::Config { pod_cidrs: vec![format!("{base}/24")], ..node }
}
