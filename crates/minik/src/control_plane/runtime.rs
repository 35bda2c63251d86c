//! A node's runtime that also has the components of this process, each as a container.
//!
//! **Contract**: what belongs to a component's pod is on paper here, everything else is the engine's; neither sees the other's.
//! A container of a component runs as long as the component does; starting one starts the component if it has ended. It has
//! no files and no processes of its own: the only command that it answers is the question for its health.
//! **Not here**: the bookkeeping of sandboxes and containers ([`runtime::memory`]).

use super::{Component, HEALTH_COMMAND};
use async_trait::async_trait;
use component_base::logging::{Line, Tail};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use runtime::logs::{limit_bytes, timestamp_prefix};
use runtime::memory::{Memory, MemoryConfig};
use runtime::script::Script;
use runtime::*;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

/// An engine and the components.
pub(super) struct WithComponents {
    engine: Arc<dyn RuntimeService>,
    images: Arc<dyn ImageService>,
    own: Memory,
    /// By the UID of their pods.
    components: HashMap<String, Component>,
    tail: Tail,
    spans: Arc<Mutex<HashMap<ContainerId, Span>>>,
}

/// Which lines of the log are an attempt's: those beyond one number, up to another.
#[derive(Clone)]
struct Span {
    /// The component.
    pod: String,
    from: u64,
    until: Option<u64>,
}

impl WithComponents {
    pub(super) fn new(
        engine: Arc<dyn RuntimeService>,
        images: Arc<dyn ImageService>,
        components: HashMap<String, Component>,
        tail: Tail,
    ) -> Self {
        let own = Memory::new(MemoryConfig {
            behaviour: Arc::new(|_, _| Script::forever()),
            // Ids that no engine on paper has.
            seed: u64::MAX,
            ..MemoryConfig::new("minik", tail.now())
        });
        Self { engine, images, own, components, tail, spans: Arc::default() }
    }

    /// Whether a container is one of ours, and which component it is.
    async fn component(&self, id: &ContainerId) -> Option<&Component> {
        let status = self.own.container_status(id).await.ok()?;
        self.components.get(status.labels.get(labels::POD_UID)?)
    }

    async fn has(&self, id: &ContainerId) -> bool {
        self.own.container_status(id).await.is_ok()
    }

    async fn has_sandbox(&self, id: &SandboxId) -> bool {
        self.own.pod_sandbox_status(id).await.is_ok()
    }

    fn is_own_image(&self, image: &str) -> bool {
        self.components.values().any(|component| component.image() == image)
    }

    /// Notes that an attempt begins: what was written before the first one of this process is its own, too.
    fn begin(&self, id: &ContainerId, pod: &str) {
        let newest = self.tail.newest();
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let from = if spans.values().any(|span| span.pod == pod) { newest } else { 0 };
        spans.entry(id.clone()).or_insert(Span { pod: pod.to_owned(), from, until: None });
    }

    /// A component's lines, as far as they are of this attempt.
    fn log(&self, component: &Component, id: &ContainerId, options: &LogOptions) -> LogStream {
        let span = self.spans.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let Some(Span { from, until, .. }) = span.filter(|_| options.stream != Some(LogStreamKind::Stdout))
        else {
            return stream::empty().boxed();
        };
        let reader = Reader { tail: self.tail.clone(), crates: component.crates, number: from };
        let mut there = reader.tail.after(from, reader.crates);
        there.retain(|line| until.is_none_or(|until| line.number <= until));
        let number = there.last().map_or(from, |line| line.number);
        if let Some(tail) = options.tail_lines {
            there.drain(..there.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        }
        there.retain(|line| options.since.is_none_or(|since| line.time >= since));
        let later = match options.follow && until.is_none() {
            true => {
                let task = component.task.clone();
                let ended = async move {
                    match task {
                        Some(task) => task.failed().await,
                        None => std::future::pending().await,
                    }
                };
                Reader { number, ..reader }.lines().take_until(ended).boxed()
            }
            false => stream::empty().boxed(),
        };
        let timestamps = options.timestamps;
        let shown = stream::iter(there).chain(later).map(move |line| {
            let bytes = match timestamps {
                true => timestamp_prefix(line.time, &line.text),
                false => line.text.to_vec().into(),
            };
            Ok(LogLine { stream: LogStreamKind::Stderr, timestamp: line.time, bytes })
        });
        limit_bytes(shown.boxed(), options.limit_bytes)
    }
}

/// Lines as they come.
struct Reader {
    tail: Tail,
    crates: &'static [&'static str],
    number: u64,
}

impl Reader {
    fn lines(self) -> BoxStream<'static, Line> {
        let newest = self.tail.subscribe();
        let batches = stream::unfold((self, newest), |(mut reader, mut newest)| async move {
            loop {
                let lines = reader.tail.after(reader.number, reader.crates);
                if let Some(last) = lines.last() {
                    reader.number = last.number;
                    return Some((stream::iter(lines), (reader, newest)));
                }
                newest.changed().await.ok()?;
            }
        });
        batches.flatten().boxed()
    }
}

/// What a component answers to what only a process could do.
fn no_process(operation: &'static str) -> Error {
    Error::Other {
        operation,
        message:
            "the component runs within minik's own process: it has no commands, no files and no terminal"
                .to_owned(),
    }
}

#[async_trait]
impl RuntimeService for WithComponents {
    async fn version(&self) -> Result<Version> {
        self.engine.version().await
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        self.engine.status().await
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId> {
        match self.components.contains_key(&config.metadata.uid) {
            true => self.own.run_pod_sandbox(config).await,
            false => self.engine.run_pod_sandbox(config).await,
        }
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        match self.has_sandbox(id).await {
            true => self.own.stop_pod_sandbox(id).await,
            false => self.engine.stop_pod_sandbox(id).await,
        }
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<()> {
        match self.has_sandbox(id).await {
            true => self.own.remove_pod_sandbox(id).await,
            false => self.engine.remove_pod_sandbox(id).await,
        }
    }

    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus> {
        match self.own.pod_sandbox_status(id).await {
            Err(error) if error.is_not_found() => self.engine.pod_sandbox_status(id).await,
            own => own,
        }
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
        let mut all = self.engine.list_pod_sandboxes(filter).await?;
        all.extend(self.own.list_pod_sandboxes(filter).await?);
        Ok(all)
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId> {
        match self.has_sandbox(sandbox).await {
            true => self.own.create_container(sandbox, config, sandbox_config).await,
            false => self.engine.create_container(sandbox, config, sandbox_config).await,
        }
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let Some(component) = self.component(id).await else {
            return self.engine.start_container(id).await;
        };
        let task = component.task.clone();
        if let Some(task) = &task {
            task.start();
        }
        self.own.start_container(id).await?;
        self.begin(id, component.name);
        if let Some(task) = task {
            let (own, id) = (self.own.clone(), id.clone());
            let (spans, tail) = (self.spans.clone(), self.tail.clone());
            tokio::spawn(async move {
                task.failed().await;
                if let Some(span) = spans.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&id) {
                    span.until = Some(tail.newest());
                }
                own.end_container(&id, 1, reason::ERROR);
            });
        }
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<()> {
        match self.has(id).await {
            true => self.own.stop_container(id, timeout).await,
            false => self.engine.stop_container(id, timeout).await,
        }
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        match self.has(id).await {
            true => self.own.remove_container(id).await,
            false => self.engine.remove_container(id).await,
        }
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus> {
        match self.own.container_status(id).await {
            Err(error) if error.is_not_found() => self.engine.container_status(id).await,
            own => own,
        }
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        let mut all = self.engine.list_containers(filter).await?;
        all.extend(self.own.list_containers(filter).await?);
        Ok(all)
    }

    async fn update_container_resources(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        match self.has(id).await {
            true => self.own.update_container_resources(id, resources).await,
            false => self.engine.update_container_resources(id, resources).await,
        }
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecResult> {
        let Some(component) = self.component(id).await else {
            return self.engine.exec_sync(id, command, timeout).await;
        };
        if command != [HEALTH_COMMAND] {
            return Err(no_process("exec"));
        }
        let asked = (component.check)();
        let answer = match timeout.is_zero() {
            true => asked.await,
            false => tokio::time::timeout(timeout, asked)
                .await
                .map_err(|_| Error::DeadlineExceeded { command: HEALTH_COMMAND.to_owned() })?,
        };
        Ok(match answer {
            Ok(()) => ExecResult { stdout: "ok".into(), stderr: Default::default(), exit_code: 0 },
            Err(why) => ExecResult { stdout: why.into(), stderr: Default::default(), exit_code: 1 },
        })
    }

    async fn exec(&self, id: &ContainerId, command: &[String], streams: Streams) -> Result<i32> {
        match self.has(id).await {
            true => Err(no_process("exec")),
            false => self.engine.exec(id, command, streams).await,
        }
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<()> {
        match self.has(id).await {
            true => Err(no_process("attach")),
            false => self.engine.attach(id, streams).await,
        }
    }

    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<BoxDuplex> {
        if !self.has_sandbox(id).await {
            return self.engine.port_forward(id, port).await;
        }
        // It has the node's network.
        let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        let connection =
            connection.map_err(|error| Error::Other { operation: "connect", message: error.to_string() })?;
        Ok(Box::new(connection))
    }

    async fn container_stats(
        &self,
        filter: &ContainerFilter,
        detail: StatsDetail,
    ) -> Result<Vec<ContainerStats>> {
        // Nobody can tell what of this process is which component's.
        self.engine.container_stats(filter, detail).await
    }

    async fn pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>> {
        self.engine.pod_sandbox_stats(filter).await
    }

    async fn container_logs(&self, id: &ContainerId, options: &LogOptions) -> Result<LogStream> {
        match self.component(id).await {
            Some(component) => Ok(self.log(component, id, options)),
            None => self.engine.container_logs(id, options).await,
        }
    }

    async fn events(&self) -> Result<EventStream> {
        // The engine's end is the end of both.
        let engine = self.engine.events().await?.map(Some).chain(stream::once(async { None }));
        let own = self.own.events().await?.map(Some);
        let both = stream::select(engine, own).take_while(|event| std::future::ready(event.is_some()));
        Ok(both.filter_map(std::future::ready).boxed())
    }
}

#[async_trait]
impl ImageService for WithComponents {
    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        let is_own = self.is_own_image(image)
            || self.own.list_images().await?.iter().any(|own| own.id.as_str() == image);
        match is_own {
            true => self.own.image_status(image).await,
            false => self.images.image_status(image).await,
        }
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        self.images.list_images().await
    }

    async fn pull_image(&self, image: &str, auth: Option<&AuthConfig>) -> Result<ImageId> {
        self.images.pull_image(image, auth).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.images.remove_image(image).await
    }

    async fn unpack_image(&self, image: &ImageId, into: &Path) -> Result<()> {
        self.images.unpack_image(image, into).await
    }

    async fn image_fs_info(&self) -> Result<FilesystemUsage> {
        self.images.image_fs_info().await
    }
}

#[cfg(test)]
mod tests;
