//! The node agent: makes the container runtime do what the pods bound to its node say.
//!
//! **Contract**: needs a client, a runtime and a machine's facts, nothing else. Killed at any instant, it rebuilds
//! itself from the API and from what the runtime reports; running containers are adopted, never restarted.
//! **Not here**: which runtime it is (the launcher injects one), which pods come to the node (the scheduler).
//! **Upstream**: `pkg/kubelet`.

mod admission;
mod backoff;
mod container_config;
mod error;
mod gc;
mod images;
mod kubelet;
mod machine;
mod node_status;
mod observed;
mod pod_status;
mod pod_worker;
pub mod server;
mod sync_pod;

pub use error::Error;
pub use kubelet::{Config, run};
pub use machine::{MachineInfo, machine_address};
pub use server::Server;
