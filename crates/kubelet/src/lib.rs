//! The node agent: makes the container runtime do what the pods bound to its node say.
//!
//! **Contract**: needs a client, a runtime and a machine's facts, nothing else. Killed at any instant, it rebuilds
//! itself from the API and from what the runtime reports; running containers are adopted, never restarted.
//! **Not here**: which runtime it is (the launcher injects one), which pods come to the node (the scheduler).
//! **Upstream**: `pkg/kubelet`.

mod admission;
mod backoff;
mod container_config;
mod dynamic_resources;
mod env_file;
mod environment;
mod ephemeral;
mod error;
mod eviction;
mod fields;
mod gc;
mod health;
mod hooks;
mod image_gc;
mod images;
mod kubelet;
mod ledger;
mod limits;
mod log_links;
mod machine;
mod network_files;
mod node_shutdown;
mod node_status;
mod observed;
mod own_node;
mod pod_status;
mod pod_worker;
mod preemption;
mod probes;
mod pull_secrets;
mod references;
mod restart;
mod security;
pub mod server;
mod static_pods;
mod sync_pod;
mod tally;
mod volumes;

pub use error::Error;
pub use kubelet::{Config, run};
pub use ledger::Ledger;
pub use machine::{MachineInfo, machine_address, machine_address_v6};
pub use network_files::ClusterDns;
pub use node_shutdown::ShutdownGrace;
pub use pull_secrets::in_config as registry_credentials;
pub use server::Server;
pub use static_pods::of_node as static_pod;
use std::path::Path;

/// Removes the links to logs of all pods that have files in a kubelet's folder; for whoever removes a node for good.
///
/// # Errors
/// If the links may not be removed.
pub fn remove_log_links(root_dir: &Path, log_dir: &Path) -> std::io::Result<()> {
    let nodes = std::fs::read_dir(root_dir).into_iter().flatten().flatten();
    nodes
        .flat_map(|node| gc::pods_on_disk(&node.path().join(PODS)))
        .try_for_each(|uid| log_links::remove(log_dir, &uid))
}

/// Where pods keep files, in a node's folder.
const PODS: &str = "pods";

/// Removes all that pods have left in a kubelet's folder, its mounts first; for whoever removes a node for good.
///
/// # Errors
/// If something is in use, or may not be removed.
pub fn remove_root_dir(root_dir: &Path) -> std::io::Result<()> {
    volumes::mount::remove_tree(root_dir)
}
