//! A runtime for tests: in memory, deterministic, with recorded calls and faults on request.
//!
//! Contract: behaves as [`memory`](crate::memory) does until told otherwise. A fault answers the call before it has any
//! effect. Every call is recorded, also the ones that fail. Needs a tokio runtime; a paused clock is fine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use crate::memory::ImageBehaviour;
use crate::memory::{Memory, MemoryConfig};
pub use crate::script::Script;
use crate::*;

/// A method of the two traits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Operation {
    Version,
    Status,
    RunPodSandbox,
    StopPodSandbox,
    RemovePodSandbox,
    PodSandboxStatus,
    ListPodSandboxes,
    CreateContainer,
    StartContainer,
    StopContainer,
    RemoveContainer,
    ContainerStatus,
    ListContainers,
    UpdateContainerResources,
    ExecSync,
    Exec,
    Attach,
    PortForward,
    ContainerStats,
    PodSandboxStats,
    ContainerLogs,
    Events,
    ImageStatus,
    ListImages,
    PullImage,
    RemoveImage,
    UnpackImage,
    ImageFsInfo,
}

/// One recorded call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub operation: Operation,
    /// What it was about: `namespace/pod` for a new sandbox, `pod/container` for a new container, an image, else an id
    /// or nothing.
    pub subject: String,
    /// When.
    pub time: Timestamp,
    /// The configuration of a new sandbox.
    pub sandbox_config: Option<PodSandboxConfig>,
    /// The configuration of a new container.
    pub container_config: Option<ContainerConfig>,
    /// The grace of a stop, the limit of an exec.
    pub timeout: Option<Duration>,
}

#[derive(Default)]
struct Control {
    calls: Vec<Call>,
    faults: HashMap<Operation, Vec<Fault>>,
    scripts: HashMap<String, Script>,
    not_ready: Option<RuntimeCondition>,
}

struct Fault {
    error: Error,
    times: usize,
}

/// The fake. Clones share their state.
#[derive(Clone)]
pub struct FakeRuntime {
    memory: Memory,
    control: Arc<Mutex<Control>>,
}

impl std::fmt::Debug for FakeRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeRuntime").finish_non_exhaustive()
    }
}

/// Everything with the time at the start of 2026.
impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new(Timestamp::from_second(1_767_225_600).expect("a valid time"))
    }
}

impl FakeRuntime {
    /// An empty runtime whose clock starts at `epoch`. All images are present; containers do what their command says.
    pub fn new(epoch: Timestamp) -> Self {
        let control = Arc::new(Mutex::new(Control::default()));
        let scripts = control.clone();
        let config = MemoryConfig {
            behaviour: Arc::new(move |config, _| {
                let control: MutexGuard<'_, Control> =
                    scripts.lock().expect("no panic while the lock is held");
                let set = [&config.metadata.name, &config.image, &config.user_image]
                    .into_iter()
                    .find_map(|key| control.scripts.get(key));
                set.cloned().unwrap_or_else(|| {
                    Script::from_command(&[&config.command[..], &config.args[..]].concat())
                })
            }),
            ..MemoryConfig::new("fake", epoch)
        };
        Self { memory: Memory::new(config), control }
    }

    /// The runtime's time.
    pub fn now(&self) -> Timestamp {
        self.memory.now()
    }

    /// Says what is true of an image.
    pub fn set_image(&self, image: &str, behaviour: ImageBehaviour) {
        self.memory.set_image(image, behaviour);
    }

    /// Says what containers of this name, or of this image, do from their next creation on.
    pub fn set_script(&self, container_or_image: &str, script: Script) {
        self.control().scripts.insert(container_or_image.to_owned(), script);
    }

    /// The next `times` calls of `operation` answer `error`. Several faults of one operation queue up.
    pub fn inject(&self, operation: Operation, error: Error, times: usize) {
        self.control().faults.entry(operation).or_default().push(Fault { error, times });
    }

    /// Takes back all faults of an operation.
    pub fn clear_faults(&self, operation: Operation) {
        self.control().faults.remove(&operation);
    }

    /// Makes `status` answer that a condition does not hold; `None`: all hold again.
    pub fn set_not_ready(&self, condition: Option<RuntimeCondition>) {
        self.control().not_ready = condition;
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.control().calls.clone()
    }

    /// The calls of one operation so far.
    pub fn calls_of(&self, operation: Operation) -> Vec<Call> {
        self.control().calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.control().calls.clear();
    }

    /// The newest container of this name in the pod of this name, whatever its state.
    pub async fn find_container(&self, pod: &str, container: &str) -> Option<Container> {
        let found = self.memory.list_containers(&ContainerFilter::default()).await.ok()?;
        let named = found.into_iter().filter(|c| {
            c.metadata.name == container && c.labels.get(labels::POD_NAME).is_some_and(|name| name == pod)
        });
        named.max_by_key(|c| (c.created_at, c.metadata.attempt))
    }

    /// Ends a container's process, reason `Completed` or `Error`. False: it did not run.
    pub fn exit_container(&self, id: &ContainerId, exit_code: i32) -> bool {
        let why = if exit_code == 0 { reason::COMPLETED } else { reason::ERROR };
        self.memory.end_container(id, exit_code, why)
    }

    /// Ends a container as the kernel does for its memory limit. False: it did not run.
    pub fn oom_kill_container(&self, id: &ContainerId) -> bool {
        self.memory.end_container(id, 137, reason::OOM_KILLED)
    }

    /// Ends a sandbox and its containers. False: it did not run.
    pub fn kill_sandbox(&self, id: &SandboxId) -> bool {
        self.memory.end_sandbox(id)
    }

    /// Ends all event streams with an error, as a restart of the engine does.
    pub fn break_events(&self) {
        self.memory.break_events(&Error::Unavailable { message: "unexpected EOF".to_owned() });
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().expect("no panic while the lock is held")
    }

    fn record(&self, call: Call) -> Result<()> {
        let mut control = self.control();
        let operation = call.operation;
        control.calls.push(call);
        let Some(faults) = control.faults.get_mut(&operation) else { return Ok(()) };
        faults.retain(|fault| fault.times > 0);
        match faults.first_mut() {
            Some(fault) => {
                fault.times -= 1;
                Err(fault.error.clone())
            }
            None => Ok(()),
        }
    }

    fn call(&self, operation: Operation, subject: impl Into<String>) -> Call {
        Call {
            operation,
            subject: subject.into(),
            time: self.now(),
            sandbox_config: None,
            container_config: None,
            timeout: None,
        }
    }

    fn enter(&self, operation: Operation, subject: impl Into<String>) -> Result<()> {
        self.record(self.call(operation, subject))
    }
}

#[async_trait]
impl RuntimeService for FakeRuntime {
    async fn version(&self) -> Result<Version> {
        self.enter(Operation::Version, "")?;
        self.memory.version().await
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        self.enter(Operation::Status, "")?;
        let mut status = self.memory.status().await?;
        if let Some(broken) = &self.control().not_ready {
            status.conditions.retain(|condition| condition.kind != broken.kind);
            status.conditions.push(broken.clone());
        }
        Ok(status)
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId> {
        let subject = format!("{}/{}", config.metadata.namespace, config.metadata.name);
        self.record(Call {
            sandbox_config: Some(config.clone()),
            ..self.call(Operation::RunPodSandbox, subject)
        })?;
        self.memory.run_pod_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.enter(Operation::StopPodSandbox, id.as_str())?;
        self.memory.stop_pod_sandbox(id).await
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.enter(Operation::RemovePodSandbox, id.as_str())?;
        self.memory.remove_pod_sandbox(id).await
    }

    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus> {
        self.enter(Operation::PodSandboxStatus, id.as_str())?;
        self.memory.pod_sandbox_status(id).await
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
        self.enter(Operation::ListPodSandboxes, "")?;
        self.memory.list_pod_sandboxes(filter).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId> {
        let subject = format!("{}/{}", sandbox_config.metadata.name, config.metadata.name);
        self.record(Call {
            container_config: Some(config.clone()),
            ..self.call(Operation::CreateContainer, subject)
        })?;
        self.memory.create_container(sandbox, config, sandbox_config).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.enter(Operation::StartContainer, id.as_str())?;
        self.memory.start_container(id).await
    }

    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<()> {
        self.record(Call { timeout: Some(timeout), ..self.call(Operation::StopContainer, id.as_str()) })?;
        self.memory.stop_container(id, timeout).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.enter(Operation::RemoveContainer, id.as_str())?;
        self.memory.remove_container(id).await
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus> {
        self.enter(Operation::ContainerStatus, id.as_str())?;
        self.memory.container_status(id).await
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        self.enter(Operation::ListContainers, "")?;
        self.memory.list_containers(filter).await
    }

    async fn update_container_resources(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        self.enter(Operation::UpdateContainerResources, id.as_str())?;
        self.memory.update_container_resources(id, resources).await
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecResult> {
        self.record(Call { timeout: Some(timeout), ..self.call(Operation::ExecSync, id.as_str()) })?;
        self.memory.exec_sync(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String], streams: Streams) -> Result<i32> {
        self.enter(Operation::Exec, id.as_str())?;
        self.memory.exec(id, command, streams).await
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<()> {
        self.enter(Operation::Attach, id.as_str())?;
        self.memory.attach(id, streams).await
    }

    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex> {
        self.enter(Operation::PortForward, id.as_str())?;
        self.memory.port_forward(id, port).await
    }

    async fn container_stats(
        &self,
        filter: &ContainerFilter,
        detail: StatsDetail,
    ) -> Result<Vec<ContainerStats>> {
        self.enter(Operation::ContainerStats, "")?;
        self.memory.container_stats(filter, detail).await
    }

    async fn pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>> {
        self.enter(Operation::PodSandboxStats, "")?;
        self.memory.pod_sandbox_stats(filter).await
    }

    async fn container_logs(&self, id: &ContainerId, options: &LogOptions) -> Result<LogStream> {
        self.enter(Operation::ContainerLogs, id.as_str())?;
        self.memory.container_logs(id, options).await
    }

    async fn events(&self) -> Result<EventStream> {
        self.enter(Operation::Events, "")?;
        self.memory.events().await
    }
}

#[async_trait]
impl ImageService for FakeRuntime {
    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        self.enter(Operation::ImageStatus, image)?;
        self.memory.image_status(image).await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        self.enter(Operation::ListImages, "")?;
        self.memory.list_images().await
    }

    async fn pull_image(&self, image: &str, auth: Option<&AuthConfig>) -> Result<ImageId> {
        self.enter(Operation::PullImage, image)?;
        self.memory.pull_image(image, auth).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.enter(Operation::RemoveImage, image)?;
        self.memory.remove_image(image).await
    }

    async fn unpack_image(&self, image: &ImageId, into: &Path) -> Result<()> {
        self.enter(Operation::UnpackImage, image.as_str())?;
        self.memory.unpack_image(image, into).await
    }

    async fn image_fs_info(&self) -> Result<FilesystemUsage> {
        self.enter(Operation::ImageFsInfo, "")?;
        self.memory.image_fs_info().await
    }
}
