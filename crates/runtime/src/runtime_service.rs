//! Sandboxes and containers: the half of a runtime that runs things.
//!
//! Contract: see each method. Order within a pod is the caller's: sandbox, then containers, then stop and remove
//! in reverse. Calls for different pods may run at the same time.
//!
//! Upstream: `RuntimeService` of CRI v1.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::Result;
use crate::types::*;

/// Log lines in the order in which they were written; ends at the container's end, or, without `follow`,
/// at the end of what is there.
pub type LogStream = BoxStream<'static, Result<LogLine>>;

/// Events as they happen. After an error the stream ends: subscribe again first, then list, so that nothing
/// falls between.
pub type EventStream = BoxStream<'static, Result<RuntimeEvent>>;

/// Runs pod sandboxes and containers.
#[async_trait]
pub trait RuntimeService: Send + Sync + 'static {
    /// Name and version of the runtime. Cached by none; cheap.
    async fn version(&self) -> Result<Version>;

    /// Whether the runtime can run pods, and what limits it.
    async fn status(&self) -> Result<RuntimeStatus>;

    /// Creates and starts a sandbox. An existing sandbox of the same pod UID and attempt is returned if it runs,
    /// else [`Error::AlreadyExists`](crate::Error::AlreadyExists). When it fails, nothing is left behind.
    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId>;

    /// Stops the sandbox and every container in it, at once. Containers that deserve grace are stopped before.
    /// A sandbox that has stopped or is gone: success.
    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<()>;

    /// Removes the sandbox and every container in it, by force. A sandbox that is gone: success.
    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<()>;

    /// State and addresses of one sandbox.
    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus>;

    /// The sandboxes that the filter lets through, in no order.
    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>>;

    /// Creates a container in a sandbox. The image must be present. The same name and attempt again:
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) with the id of the first.
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId>;

    /// Starts a created container. One that runs: success.
    async fn start_container(&self, id: &ContainerId) -> Result<()>;

    /// Sends the stop signal, waits, sends SIGKILL after `timeout` (zero: at once). Returns when the container has
    /// stopped. One that has stopped or is gone: success.
    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<()>;

    /// Removes a container and its log, by force. One that is gone: success.
    async fn remove_container(&self, id: &ContainerId) -> Result<()>;

    /// All that is known of one container.
    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus>;

    /// The containers (no sandboxes) that the filter lets through, in no order. One that could not be started is
    /// `Created` in some engines' lists; its status says `Exited`.
    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>>;

    /// Changes the limits of a container in place; `None` fields stay as they are.
    async fn update_container_resources(&self, id: &ContainerId, resources: &Resources) -> Result<()>;

    /// Runs a command in a running container and waits for its end. `timeout` zero: no limit.
    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecResult>;

    /// Runs a command in a running container, connected to streams, and waits for its end: its exit code. A sink that
    /// takes no more ends the call with an error. When the call is dropped the command goes on, its streams closed.
    async fn exec(&self, id: &ContainerId, command: &[String], streams: Streams) -> Result<i32>;

    /// Connects streams to the process of a running container, from now on, until it ends. Its input is connected only
    /// if the container was made with `stdin`; `tty` is as it was made.
    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<()>;

    /// Connects to a TCP port of the sandbox, as a process in it would on `localhost`.
    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex>;

    /// What the running containers use that the filter lets through.
    async fn container_stats(
        &self,
        filter: &ContainerFilter,
        detail: StatsDetail,
    ) -> Result<Vec<ContainerStats>>;

    /// What the running sandboxes use that the filter lets through.
    async fn pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>>;

    /// What the container wrote. Works for containers that run and that have ended.
    async fn container_logs(&self, id: &ContainerId, options: &LogOptions) -> Result<LogStream>;

    /// Subscribes to what happens to this runtime's sandboxes and containers from now on: everything that happens
    /// after this call returns is in the stream.
    async fn events(&self) -> Result<EventStream>;
}
