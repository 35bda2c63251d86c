//! The traits, verb by verb; each is in the file of its name.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use runtime::*;

use crate::client::DockerRuntime;
use crate::oom;

#[async_trait]
impl RuntimeService for DockerRuntime {
    async fn version(&self) -> Result<Version> {
        let ping = self.ping().await?;
        Ok(Version {
            runtime_name: "docker".to_owned(),
            runtime_version: ping.version,
            runtime_api_version: self.client.client_version().to_string(),
        })
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        // A ping tells whether the engine lives, at a hundredth of the price of all its facts.
        self.ping().await?;
        let facts = self.facts().await?;
        let conditions = [RuntimeCondition::RUNTIME_READY, RuntimeCondition::NETWORK_READY];
        Ok(RuntimeStatus {
            conditions: conditions.map(RuntimeCondition::holds).into(),
            warnings: if self.oom_score.may_lower() { Vec::new() } else { vec![oom::WARNING.to_owned()] },
            root_dir: facts.root_dir.display().to_string(),
            cgroup_driver: facts.cgroup_driver.to_owned(),
            cgroup_version: facts.cgroup_version,
        })
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId> {
        self.run_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.stop_sandbox(id).await
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.remove_sandbox(id).await
    }

    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus> {
        self.sandbox_status(id).await
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
        self.list_sandboxes(filter).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId> {
        self.create(sandbox, config, sandbox_config).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.start(id).await
    }

    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<()> {
        self.stop(id, timeout).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.remove_by_force(id.as_str()).await
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus> {
        self.status_of(id).await
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        self.list_all(filter).await
    }

    async fn update_container_resources(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        self.update(id, resources).await
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecResult> {
        self.exec_to_end(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String], streams: Streams) -> Result<i32> {
        self.exec_with_streams(id, command, streams).await
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<()> {
        self.attach_streams(id, streams).await
    }

    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex> {
        self.connect_to(id, port).await
    }

    async fn container_stats(
        &self,
        filter: &ContainerFilter,
        detail: StatsDetail,
    ) -> Result<Vec<ContainerStats>> {
        self.stats_of_containers(filter, detail).await
    }

    async fn pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>> {
        self.stats_of_sandboxes(filter).await
    }

    async fn container_logs(&self, id: &ContainerId, options: &LogOptions) -> Result<LogStream> {
        self.logs(id, options).await
    }

    async fn events(&self) -> Result<EventStream> {
        self.subscribe().await
    }
}

#[async_trait]
impl ImageService for DockerRuntime {
    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        self.find_image(image).await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        self.all_images().await
    }

    async fn pull_image(&self, image: &str, auth: Option<&AuthConfig>) -> Result<ImageId> {
        self.pull(image, auth, &mut |_| {}).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.delete_image(image).await
    }

    async fn unpack_image(&self, image: &ImageId, into: &Path) -> Result<()> {
        self.unpack(image, into).await
    }

    async fn image_fs_info(&self) -> Result<FilesystemUsage> {
        self.image_usage().await
    }
}
