//! Sandboxes and containers on paper: what the fake and the simulated runtime have in common.
//!
//! Contract: keeps the promises of [`RuntimeService`] and [`ImageService`] without any process. Time is tokio's, counted
//! from a given start, so that a paused clock works. Ids are numbered from a seed: the same calls give the same ids.
//! A pod costs a few kilobytes, and a task only while a container is due to end by itself.
//!
//! Not here: faults and recorded calls (`fake`), what a command means (`script`).

mod containers;
mod exec;
mod images;
mod logs;
mod sandboxes;
mod stats;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use images::ImageBehaviour;

use crate::script::Script;
use crate::*;

/// Chooses what a container does. Called once, at its creation.
pub type Behaviour = Arc<dyn Fn(&ContainerConfig, &PodSandboxConfig) -> Script + Send + Sync>;

/// How to set up a runtime on paper.
#[derive(Clone)]
pub struct MemoryConfig {
    /// `simulated`, `fake`.
    pub name: String,
    /// The time at which the runtime is made; its clock goes on from there.
    pub epoch: Timestamp,
    /// Addresses of the sandboxes: base and length of the prefix. The first two are left out.
    pub pod_cidr: (Ipv4Addr, u8),
    /// Distinguishes the ids of several runtimes.
    pub seed: u64,
    /// What containers do.
    pub behaviour: Behaviour,
    /// What is true of images that nothing was said about.
    pub images: ImageBehaviour,
}

impl std::fmt::Debug for MemoryConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryConfig")
            .field("name", &self.name)
            .field("pod_cidr", &self.pod_cidr)
            .finish_non_exhaustive()
    }
}

impl MemoryConfig {
    /// A runtime whose containers do what their command says.
    pub fn new(name: impl Into<String>, epoch: Timestamp) -> Self {
        Self {
            name: name.into(),
            epoch,
            pod_cidr: (Ipv4Addr::new(10, 244, 0, 0), 24),
            seed: 0,
            behaviour: Arc::new(|config, _| {
                Script::from_command(&[&config.command[..], &config.args[..]].concat())
            }),
            images: ImageBehaviour::Present,
        }
    }
}

/// A runtime without an engine. Clones share their state.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

struct Inner {
    config: MemoryConfig,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counter: u64,
    sandboxes: HashMap<SandboxId, Box<sandboxes::Sandbox>>,
    containers: HashMap<ContainerId, Box<containers::Contained>>,
    /// Ids by name, which no two may have.
    names: HashMap<String, String>,
    images: images::Images,
    used_ips: HashSet<u32>,
    next_ip: u32,
    used_ports: HashMap<(Protocol, u16), SandboxId>,
    subscribers: Vec<mpsc::UnboundedSender<Result<RuntimeEvent>>>,
}

impl Memory {
    /// An empty runtime. Must be made within a tokio runtime.
    pub fn new(config: MemoryConfig) -> Self {
        let state = State { images: images::Images::new(config.images.clone()), ..State::default() };
        Self { inner: Arc::new(Inner { config, started: Instant::now(), state: Mutex::new(state) }) }
    }

    /// The runtime's time.
    pub fn now(&self) -> Timestamp {
        self.inner.config.epoch + self.inner.started.elapsed()
    }

    /// Says what is true of an image.
    pub fn set_image(&self, image: &str, behaviour: ImageBehaviour) {
        self.state().images.set(image, behaviour);
    }

    /// Ends a container's process from outside, as the kernel or a user would. False: it did not run.
    pub fn end_container(&self, id: &ContainerId, exit_code: i32, reason: &str) -> bool {
        self.finish(&mut self.state(), id, exit_code, reason)
    }

    /// Ends a sandbox and its containers from outside. False: it did not run.
    pub fn end_sandbox(&self, id: &SandboxId) -> bool {
        self.finish_sandbox(&mut self.state(), id)
    }

    /// Ends all event streams with this error, as a restart of an engine does.
    pub fn break_events(&self, error: &Error) {
        for subscriber in self.state().subscribers.drain(..) {
            let _gone = subscriber.send(Err(error.clone()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no panic while the lock is held")
    }

    fn next_id(&self, state: &mut State) -> String {
        state.counter += 1;
        // splitmix64's finalizer: spreads consecutive numbers over all bits, without collisions.
        let mix = |mut z: u64| {
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        format!("{:016x}{:016x}", mix(state.counter), mix(self.inner.config.seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    fn emit(&self, state: &mut State, event: RuntimeEvent) {
        state.subscribers.retain(|subscriber| subscriber.send(Ok(event.clone())).is_ok());
    }
}

#[async_trait]
impl RuntimeService for Memory {
    async fn version(&self) -> Result<Version> {
        Ok(Version {
            runtime_name: self.inner.config.name.clone(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        let conditions = [RuntimeCondition::RUNTIME_READY, RuntimeCondition::NETWORK_READY];
        Ok(RuntimeStatus {
            conditions: conditions.map(RuntimeCondition::holds).into(),
            ..RuntimeStatus::default()
        })
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId> {
        self.run_sandbox(config)
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.finish_sandbox(&mut self.state(), id);
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.remove_sandbox(id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus> {
        let state = self.state();
        let sandbox = state.sandboxes.get(id).ok_or_else(|| Error::sandbox_not_found(id.as_str()))?;
        Ok(sandbox.status(id))
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
        let state = self.state();
        let all = state.sandboxes.iter();
        Ok(all
            .filter(|(id, sandbox)| sandbox.matches(id, filter))
            .map(|(id, sandbox)| sandbox.summary(id))
            .collect())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId> {
        self.create(sandbox, config, sandbox_config)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.start(id)
    }

    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<()> {
        self.stop(id, timeout).await;
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.remove(&mut self.state(), id);
        Ok(())
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus> {
        let state = self.state();
        let container = state.containers.get(id).ok_or_else(|| Error::container_not_found(id.as_str()))?;
        Ok(container.status(id))
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        let state = self.state();
        let all = state.containers.iter();
        Ok(all.filter(|(id, c)| c.matches(id, filter)).map(|(id, c)| c.summary(id)).collect())
    }

    async fn update_container_resources(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        let mut state = self.state();
        let container =
            state.containers.get_mut(id).ok_or_else(|| Error::container_not_found(id.as_str()))?;
        container.update_resources(resources);
        Ok(())
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecResult> {
        self.run_to_end(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String], streams: Streams) -> Result<i32> {
        self.run_with_streams(id, command, streams).await
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<()> {
        self.attach_streams(id, streams).await
    }

    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex> {
        self.connect(id, port)
    }

    async fn container_stats(
        &self,
        filter: &ContainerFilter,
        _detail: StatsDetail,
    ) -> Result<Vec<ContainerStats>> {
        let (now, state) = (self.now(), self.state());
        let all = state.containers.iter().filter(|(id, c)| c.is_running() && c.matches(id, filter));
        Ok(all.map(|(id, container)| container.stats(id, now)).collect())
    }

    async fn pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>> {
        let (now, state) = (self.now(), self.state());
        let all = state.sandboxes.iter().filter(|(id, s)| s.is_ready() && s.matches(id, filter));
        Ok(all.map(|(id, sandbox)| sandbox.stats(id, now)).collect())
    }

    async fn container_logs(&self, id: &ContainerId, options: &LogOptions) -> Result<LogStream> {
        self.logs(id, options)
    }

    async fn events(&self) -> Result<EventStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().subscribers.push(sender);
        let events = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (event, receiver))
        });
        Ok(events.boxed())
    }
}

#[async_trait]
impl ImageService for Memory {
    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        self.state().images.status(image)
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        Ok(self.state().images.list())
    }

    async fn pull_image(&self, image: &str, _auth: Option<&AuthConfig>) -> Result<ImageId> {
        let delay = self.state().images.pull_delay(image)?;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.state().images.pull(image)
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let id = match self.state().images.status(image)? {
            Some(found) => found.id,
            None => return Ok(()),
        };
        let mut state = self.state();
        if state.containers.values().any(|container| container.image_id == id) {
            let message = format!("unable to remove repository reference {image:?}: image is being used");
            return Err(Error::ImageInUse { image: image.to_owned(), message });
        }
        state.images.remove(image);
        Ok(())
    }

    async fn unpack_image(&self, _: &ImageId, into: &Path) -> Result<()> {
        // Images on paper have no files.
        std::fs::create_dir_all(into)
            .map_err(|error| Error::Other { operation: "unpack image", message: error.to_string() })
    }

    async fn image_fs_info(&self) -> Result<FilesystemUsage> {
        let used_bytes = self.state().images.list().iter().map(|image| image.size).sum();
        Ok(FilesystemUsage { mountpoint: "/".to_owned(), used_bytes, inodes_used: Some(0) })
    }
}

/// Tells followers of a log that the container has ended.
type EndSignal = watch::Sender<bool>;

/// Labels or annotations at rest: sorted, without a tree's empty places.
struct Compact(Box<[(Box<str>, Box<str>)]>);

impl Compact {
    fn new(map: &StringMap) -> Self {
        Self(map.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    fn has_all(&self, wanted: &StringMap) -> bool {
        wanted.iter().all(|(key, value)| self.get(key) == Some(value))
    }

    fn to_map(&self) -> StringMap {
        self.0.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}

/// The `n`th address of a prefix.
fn address(base: Ipv4Addr, n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(u32::from(base).wrapping_add(n)))
}
