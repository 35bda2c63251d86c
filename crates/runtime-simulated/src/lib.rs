//! A container runtime whose pods exist only on paper: for trying out large clusters, and for tests.
//!
//! Contract: a sandbox gets an address of the configured CIDR at once, a container runs at once, an image is present
//! unless its name says otherwise. What a container does is read, in this order, from
//! 1. the pod's annotations [`RUN_FOR`] and [`EXIT_CODE`]: it ends after that time with that code;
//! 2. its command, in the language of [`runtime::script`]: `sleep 5`, `exit 3`, `echo hello`, `sh -c "…"`, `steps …`;
//! 3. otherwise it prints one line and runs until it is stopped.
//!
//! What it uses is read from the pod's annotations [`CPU_MILLIS`] and [`MEMORY_BYTES`]. Commands are executed in the same
//! language; a port of the annotation [`SERVES`] sends back what it receives.
//!
//! An image whose repository ends in `missing` cannot be pulled. Time is tokio's, so a paused clock works.
//!
//! Not here: the bookkeeping, which the fake shares ([`runtime::memory`]).
//!
//! Upstream: KWOK, hollow nodes of kubemark.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use runtime::memory::{ImageBehaviour, Memory, MemoryConfig};
use runtime::script::{Script, Usage};
use runtime::*;

/// Annotation of a pod: its containers end after this time, such as `30s`; without it, with [`EXIT_CODE`], at once.
pub const RUN_FOR: &str = "simulated.minik.dev/run-for";
/// Annotation of a pod: its containers end with this code; without it, with [`RUN_FOR`], 0.
pub const EXIT_CODE: &str = "simulated.minik.dev/exit-code";
/// Annotation of a pod: each of its containers uses so many thousandths of a processor.
pub const CPU_MILLIS: &str = "simulated.minik.dev/cpu-millis";
/// Annotation of a pod: each of its containers uses so many bytes of memory.
pub const MEMORY_BYTES: &str = "simulated.minik.dev/memory-bytes";
/// Annotation of a pod: ports with commas that answer with what they receive.
pub const SERVES: &str = "simulated.minik.dev/serves";
/// Last word of a repository that no registry has.
const MISSING: &str = "missing";

/// How to set up a simulated runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulatedConfig {
    /// The present time; the runtime's clock goes on from there with tokio's.
    pub now: Timestamp,
    /// Addresses of the pods of this node: base and length of the prefix.
    pub pod_cidr: (Ipv4Addr, u8),
    /// Distinguishes the container ids of several nodes.
    pub seed: u64,
}

/// A runtime that only pretends. Clones share their state.
#[derive(Debug, Clone)]
pub struct SimulatedRuntime {
    memory: Memory,
}

impl SimulatedRuntime {
    /// An empty runtime. Must be made within a tokio runtime.
    pub fn new(config: SimulatedConfig) -> Self {
        Self {
            memory: Memory::new(MemoryConfig {
                pod_cidr: config.pod_cidr,
                seed: config.seed,
                behaviour: Arc::new(behaviour),
                ..MemoryConfig::new("simulated", config.now)
            }),
        }
    }

    /// An image whose name says so is made missing before it is asked for.
    fn note(&self, image: &str) {
        if is_missing(image) {
            self.memory.set_image(image, ImageBehaviour::missing(image));
        }
    }
}

fn is_missing(image: &str) -> bool {
    reference::parse(image).is_ok_and(|name| name.repository.ends_with(MISSING))
}

fn behaviour(config: &ContainerConfig, sandbox: &PodSandboxConfig) -> Script {
    let annotation = |key: &str| sandbox.annotations.get(key).or_else(|| config.annotations.get(key));
    let time = annotation(RUN_FOR).and_then(|text| text.parse::<SignedDuration>().ok());
    let code = annotation(EXIT_CODE).and_then(|text| text.parse::<i32>().ok());
    let mut script = if time.is_some() || code.is_some() {
        let time = time.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
        Script::exit_after(time, code.unwrap_or(0)).printing("running")
    } else {
        Script::from_command(&[&config.command[..], &config.args[..]].concat())
    };
    let number = |key: &str| annotation(key).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    script.usage = Usage {
        cpu_millis: number(CPU_MILLIS).try_into().unwrap_or(u32::MAX),
        memory_bytes: number(MEMORY_BYTES),
    };
    let ports = annotation(SERVES).into_iter().flat_map(|text| text.split(','));
    script.serves.extend(ports.filter_map(|port| port.trim().parse::<u16>().ok()));
    script
}

#[async_trait]
impl RuntimeService for SimulatedRuntime {
    async fn version(&self) -> Result<Version> {
        self.memory.version().await
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        self.memory.status().await
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId> {
        self.memory.run_pod_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.memory.stop_pod_sandbox(id).await
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.memory.remove_pod_sandbox(id).await
    }

    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus> {
        self.memory.pod_sandbox_status(id).await
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
        self.memory.list_pod_sandboxes(filter).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId> {
        self.note(&config.image);
        self.memory.create_container(sandbox, config, sandbox_config).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.memory.start_container(id).await
    }

    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<()> {
        self.memory.stop_container(id, timeout).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.memory.remove_container(id).await
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus> {
        self.memory.container_status(id).await
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        self.memory.list_containers(filter).await
    }

    async fn update_container_resources(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        self.memory.update_container_resources(id, resources).await
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecResult> {
        self.memory.exec_sync(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String], streams: Streams) -> Result<i32> {
        self.memory.exec(id, command, streams).await
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<()> {
        self.memory.attach(id, streams).await
    }

    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex> {
        self.memory.port_forward(id, port).await
    }

    async fn container_stats(
        &self,
        filter: &ContainerFilter,
        detail: StatsDetail,
    ) -> Result<Vec<ContainerStats>> {
        self.memory.container_stats(filter, detail).await
    }

    async fn pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>> {
        self.memory.pod_sandbox_stats(filter).await
    }

    async fn container_logs(&self, id: &ContainerId, options: &LogOptions) -> Result<LogStream> {
        self.memory.container_logs(id, options).await
    }

    async fn events(&self) -> Result<EventStream> {
        self.memory.events().await
    }
}

#[async_trait]
impl ImageService for SimulatedRuntime {
    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        self.note(image);
        self.memory.image_status(image).await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        self.memory.list_images().await
    }

    async fn pull_image(&self, image: &str, auth: Option<&AuthConfig>) -> Result<ImageId> {
        self.note(image);
        self.memory.pull_image(image, auth).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.note(image);
        self.memory.remove_image(image).await
    }

    async fn unpack_image(&self, image: &ImageId, into: &Path) -> Result<()> {
        self.memory.unpack_image(image, into).await
    }

    async fn image_fs_info(&self) -> Result<FilesystemUsage> {
        self.memory.image_fs_info().await
    }
}
