//! Carrying out a plan: sandbox, images, containers.

use super::{PodWorker, RETRY, SHOW_ERROR, uid};
use crate::container_config::{self, NodeContext, Parts};
use crate::environment::{Sources, environment};
use crate::ephemeral;
use crate::hooks;
use crate::images::EventKind;
use crate::network_files;
use crate::pod_status::Waiting;
use crate::restart;
use crate::security;
use crate::sync_pod::{Plan, Resize, Start, Stop, backoff_key};
use crate::volumes::{container_devices, container_mounts, env_files};
use api::k8s_openapi::api::core::v1::{Container, Pod, Secret};
use api::k8s_openapi::api::node::v1::RuntimeClass;
use component_base::logging::chain;
use jiff::Timestamp;
use kube::Api;
use runtime::{ContainerId, ContainerState, DnsConfig, EnvVar, Error, Mount, PodSandboxConfig, SandboxId};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const ETC_HOSTS: &str = "/etc/hosts";
/// How long a container waits for the first list of services.
const SERVICES_WAIT: Duration = Duration::from_secs(10);

impl PodWorker {
    /// Carries out a plan. `Err`: nothing more can be done before that time.
    pub(super) async fn act(&mut self, pod: &Arc<Pod>, plan: Plan) -> Result<(), Timestamp> {
        self.stop(pod, &plan.stop).await?;
        let mut removed = Ok(());
        for id in &plan.remove {
            removed = removed.and(self.node.runtime.remove_container(id).await);
        }
        for id in &plan.remove_sandboxes {
            removed = removed.and(self.node.runtime.remove_pod_sandbox(id).await);
        }
        if let Some(reset) = &plan.reset {
            self.reset(pod, reset).await?;
        }
        if let Some(attempt) = plan.create_sandbox {
            self.create_sandbox(pod, attempt).await?;
        }
        for resize in &plan.resize {
            self.resize(pod, resize).await?;
        }
        // Of an adopted sandbox it is not known yet.
        if let Err(why) = self.learn_handler(pod).await {
            tracing::warn!(pod = pod.metadata.name, "{why}");
            return Err(self.now() + RETRY);
        }
        for start in plan.start {
            // Without one here, it ended as soon as it was made.
            let sandbox = self.observed.ready_sandbox().map(|s| (s.id.clone(), s.metadata.attempt));
            let (id, attempt) = sandbox.ok_or_else(|| self.now() + RETRY)?;
            if self.is_doomed() {
                break;
            }
            // What the sandbox was made with; its name was right then.
            let config = self.sandbox_config(pod, attempt).unwrap_or_default();
            if let Err(at) = self.start(pod, &id, &config, &start).await {
                self.retry.insert(start.name, at);
            }
        }
        // Nothing waits for what is left over, but it is not to be tried again at once.
        removed.map_err(|error| {
            tracing::warn!(pod = pod.metadata.name, "remove what was replaced: {error}");
            self.now() + RETRY
        })
    }

    /// Stops containers of a pod that goes on, all at once.
    async fn stop(&self, pod: &Pod, stops: &[Stop]) -> Result<(), Timestamp> {
        let of_pod = pod.spec.as_ref().map_or(30, container_config::grace_period);
        let running: Vec<_> = self.observed.running().collect();
        let all = stops.iter().filter_map(|stop| {
            running.iter().find(|status| status.id == stop.id)?;
            self.event(pod, Some(&stop.name), EventKind::Normal, "Killing", &stop.message);
            let grace = u64::try_from(stop.grace.unwrap_or(of_pod)).unwrap_or(0);
            Some(self.kill(pod, (&stop.id, &stop.name), Duration::from_secs(grace), None))
        });
        let all = futures::future::join_all(all.collect::<Vec<_>>());
        tokio::select! {
            results = all => match results.into_iter().find_map(Result::err) {
                None => Ok(()),
                Some(error) => {
                    tracing::warn!(pod = pod.metadata.name, "stop a container: {error}");
                    Err(self.now() + RETRY)
                }
            },
            // The pod's own end has another grace.
            () = self.doom() => Err(self.now()),
        }
    }

    async fn create_sandbox(&mut self, pod: &Arc<Pod>, attempt: u32) -> Result<(), Timestamp> {
        if attempt > 0 {
            let text = "Pod sandbox changed, it will be killed and re-created.";
            self.event(pod, None, EventKind::Normal, "SandboxChanged", text);
            if let Some(old) = self.observed.sandboxes.first() {
                self.tolerate("stop a pod sandbox", self.node.runtime.stop_pod_sandbox(&old.id).await);
            }
        }
        let config = match self.learn_handler(pod).await.and_then(|()| self.sandbox_config(pod, attempt)) {
            Ok(config) => config,
            Err(why) => {
                let text = format!("Failed to create pod sandbox: {why}");
                self.event(pod, None, EventKind::Warning, "FailedCreatePodSandBox", &text);
                return Err(self.now() + RETRY);
            }
        };
        for omitted in self.dns(pod).into_iter().flat_map(|(_, omitted)| omitted) {
            self.event(pod, None, EventKind::Warning, "DNSConfigForming", &omitted);
        }
        let node = self.node.clone();
        let mut made = pin!(async {
            let id = node.runtime.run_pod_sandbox(&config).await?;
            node.runtime.pod_sandbox_status(&id).await
        });
        let made = match futures::poll!(made.as_mut()) {
            // On paper it takes no time; that the containers run is then the first that is told of the pod.
            Poll::Ready(made) => made,
            // The first status tells that the node has the pod; it need not wait for the sandbox, nor the other way round.
            Poll::Pending => futures::future::join(made, self.publish(pod)).await.0,
        };
        match made {
            Ok(status) => {
                self.observed.sandboxes.insert(0, status);
                self.retry.clear();
                Ok(())
            }
            Err(error) => {
                let text = format!("Failed to create pod sandbox: {error}");
                self.event(pod, None, EventKind::Warning, "FailedCreatePodSandBox", &text);
                // What is there may be half made: look anew before the next try.
                Err(self.now() + RETRY)
            }
        }
    }

    async fn start(
        &mut self,
        pod: &Arc<Pod>,
        sandbox: &SandboxId,
        sandbox_config: &PodSandboxConfig,
        start: &Start,
    ) -> Result<(), Timestamp> {
        let found = pod.spec.as_ref().and_then(|spec| restart::find(spec, &start.name));
        let Some((_, container)) = found else { return Ok(()) };
        let container = &container;
        let now = self.now();
        if let Some(failed_at) = start.failed_at {
            let key = backoff_key(&container.name, &container_config::hash(container));
            self.backoff.next(&key, failed_at, now);
        }
        let id = match &start.created {
            Some(id) => id.clone(),
            None => self.create(pod, container, sandbox, sandbox_config, start).await?,
        };
        match self.node.runtime.start_container(&id).await {
            Ok(()) => {
                self.event(pod, Some(&container.name), EventKind::Normal, "Started", "Container started");
                self.knowledge.waiting.remove(&container.name);
                self.post_start(pod, container, &id, start).await
            }
            Err(error) => {
                let message = format!("failed to start container {:?}: {error}", id.as_str());
                self.fail(pod, container, "RunContainerError", message);
                // One that cannot start has ended without having run; from here on its back-off counts.
                let unable = matches!(error, Error::CannotStart { .. });
                Err(self.now() + if unable { SHOW_ERROR } else { RETRY })
            }
        }
    }

    async fn create(
        &mut self,
        pod: &Arc<Pod>,
        container: &Container,
        sandbox: &SandboxId,
        sandbox_config: &PodSandboxConfig,
        start: &Start,
    ) -> Result<ContainerId, Timestamp> {
        let secrets = self.pull_secrets(pod).await;
        let (image, announced) = {
            let worker = &*self;
            let tell = |kind, reason: &str, message: &str| {
                worker.event(pod, Some(&container.name), kind, reason, message);
            };
            let mut image = pin!(worker.node.images.ensure(uid(pod), container.into(), &secrets, &tell));
            match futures::poll!(image.as_mut()) {
                Poll::Ready(image) => (image, None),
                Poll::Pending => {
                    // A pull may take long: it is told that the node has the pod, if it was not.
                    let announce = async {
                        let status = worker.published.is_none().then(|| worker.status(pod))?;
                        let revision = worker.write(pod, &status).await.ok()?;
                        Some((status, revision))
                    };
                    tokio::select! {
                        both = futures::future::join(image, announce) => both,
                        () = worker.doom() => return Err(worker.now()),
                    }
                }
            }
        };
        if let Some((status, revision)) = announced {
            self.wrote(status, revision);
        }
        let image = match image {
            Ok(image) => image,
            Err(unavailable) => {
                let at = unavailable.retry_at.unwrap_or_else(|| self.now() + RETRY);
                self.knowledge.waiting.insert(container.name.clone(), unavailable.waiting);
                return Err(at);
            }
        };
        let parts = match self.parts(pod, container, start.attempt, image).await {
            Ok(parts) => parts,
            Err(message) => {
                self.fail(pod, container, "CreateContainerConfigError", message);
                return Err(self.now() + RETRY);
            }
        };
        let config = container_config::container(pod, container, start.attempt, parts, &self.node.facts);
        match self.node.runtime.create_container(sandbox, &config, sandbox_config).await {
            Ok(id) => {
                self.event(pod, Some(&container.name), EventKind::Normal, "Created", "Container created");
                Ok(id)
            }
            // Made by a try whose answer was lost.
            Err(Error::AlreadyExists { id, .. }) if !id.is_empty() => Ok(id.into()),
            Err(error) => {
                self.fail(pod, container, "CreateContainerError", error.to_string());
                Err(self.now() + RETRY)
            }
        }
    }

    /// Runs the hook that follows a start; a container whose hook fails is killed, its preStop hook first.
    async fn post_start(
        &mut self,
        pod: &Pod,
        container: &Container,
        id: &ContainerId,
        start: &Start,
    ) -> Result<(), Timestamp> {
        let Some(handler) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return Ok(());
        };
        // A hook may take long. What cannot be told now is told with what comes next.
        if self.published.is_none() && self.publish(pod).await.is_err() {
            tracing::debug!(pod = pod.metadata.name, "a hook runs before its pod was announced");
        }
        let pod_ip = self.pod_ips(pod).into_iter().next();
        let result = tokio::select! {
            result = hooks::run(&self.node, handler, pod, container, id, pod_ip.as_deref()) => result,
            // Its end stops the container, hook or not.
            () = self.doom() => return Err(self.now()),
        };
        let Err(error) = result else { return Ok(()) };
        tracing::info!(pod = pod.metadata.name, container = start.name, "postStart hook: {error}");
        let name = Some(container.name.as_str());
        self.event(pod, name, EventKind::Warning, "FailedPostStartHook", "PostStartHook failed");
        self.event(pod, name, EventKind::Normal, "Killing", "FailedPostStartHook");
        let grace = pod.spec.as_ref().map_or(30, container_config::grace_period);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let killed = tokio::select! {
            killed = self.kill(pod, (id, &container.name), grace, None) => killed,
            // The pod's own end has another grace.
            () = self.doom() => return Err(self.now()),
        };
        if let Err(error) = killed {
            tracing::warn!(pod = pod.metadata.name, "stop a container: {error}");
        }
        let waiting = Waiting { reason: "PostStartHookError", message: error };
        self.knowledge.waiting.insert(container.name.clone(), waiting);
        Err(self.now() + SHOW_ERROR)
    }

    /// Gives a container that runs other limits.
    async fn resize(&mut self, pod: &Pod, resize: &Resize) -> Result<(), Timestamp> {
        match self.node.runtime.update_container_resources(&resize.id, &resize.resources).await {
            Ok(()) => {
                self.limits.gave(&resize.id, &resize.name);
                Ok(())
            }
            Err(error) => {
                let text = format!("Failed to resize container {:?}: {error}", resize.name);
                self.event(pod, Some(&resize.name), EventKind::Warning, "ResizeError", &text);
                Err(self.now() + RETRY)
            }
        }
    }

    fn sandbox_config(&self, pod: &Pod, attempt: u32) -> Result<PodSandboxConfig, String> {
        let cluster = &self.node.cluster_dns;
        let hostname = network_files::node_name(pod, &cluster.domain)?;
        if let Some(why) = self.user_namespace_refusal(pod) {
            return Err(why);
        }
        let dns = self.dns(pod).map(|(dns, _)| dns);
        let config = container_config::sandbox(pod, attempt, hostname, dns);
        Ok(PodSandboxConfig { runtime_handler: self.handler.clone().unwrap_or_default(), ..config })
    }

    /// The pod's resolvers, and what is to be told of those that were left out. Pods on paper have no files.
    fn dns(&self, pod: &Pod) -> Option<(DnsConfig, Vec<String>)> {
        self.node.pods_dir.as_ref()?;
        network_files::dns(pod, &self.node.cluster_dns, network_files::dns_of_node)
    }

    /// No engine that is driven here gives a pod a user namespace of its own. The text is upstream's.
    fn user_namespace_refusal(&self, pod: &Pod) -> Option<String> {
        if pod.spec.as_ref().and_then(|spec| spec.host_users) != Some(false) {
            return None;
        }
        let what = match self.handler.as_deref().filter(|handler| !handler.is_empty()) {
            Some(handler) => format!("RuntimeClass handler {handler:?}"),
            None => "runtime".to_owned(),
        };
        Some(format!("can't set `spec.hostUsers: false`, {what} does not support user namespaces"))
    }

    /// Asks which handler the pod's RuntimeClass names, the first time.
    async fn learn_handler(&mut self, pod: &Pod) -> Result<(), String> {
        let class = pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref());
        let Some(class) = class.filter(|class| !class.is_empty() && self.handler.is_none()) else {
            return Ok(());
        };
        let classes: Api<RuntimeClass> = Api::all(self.node.client.clone());
        let found = classes.get(class).await.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 => {
                format!(
                    "failed to get sandbox runtime: no runtime for {class:?} is configured: {}",
                    status.message
                )
            }
            other => chain(&other),
        })?;
        self.handler = Some(found.handler);
        Ok(())
    }

    /// Finds out what a container's configuration needs. `Err`: the message of a `CreateContainerConfigError`.
    async fn parts(
        &self,
        pod: &Pod,
        container: &Container,
        attempt: u32,
        image: String,
    ) -> Result<Parts, String> {
        let node = &self.node;
        if let Some(violation) = self.non_root_violation(pod, container, &image).await {
            return Err(violation);
        }
        let facts = NodeContext { pod_ips: self.pod_ips(pod), ..node.facts.clone() };
        self.held.synced().await;
        let services = match &node.services {
            Some(services) => {
                tokio::select! {
                    () = services.synced() => services.list(),
                    () = node.context.clock.sleep(SERVICES_WAIT) => {
                        let why = "services have not yet been read at least once, cannot construct envvars";
                        return Err(why.to_owned());
                    }
                }
            }
            None => Vec::new(),
        };
        let files = match &node.pods_dir {
            Some(_) => Some(env_files(container, self.volumes.mounted()).await?),
            None => None,
        };
        let sources = Sources { held: &self.held, files };
        let env = environment(pod, container, &facts, &sources, &services)?;
        let spec = pod.spec.clone().unwrap_or_default();
        let mut security = security::context(pod, container, node.seccomp_dir.as_deref())?;
        if let Some(target) = ephemeral::target(&spec, &container.name) {
            let running = self.observed.latest(target).filter(|c| c.state == ContainerState::Running);
            let running = running.ok_or_else(|| format!("unable to find target container {target:?}"))?;
            security.pid_target = Some(running.id.clone());
        }
        let mounts = match node.pod_dir(pod) {
            Some(pod_dir) => self.mounts(pod, container, attempt, &env, &pod_dir, &facts).await?,
            None => Vec::new(),
        };
        let devices = container_devices(container, self.volumes.mounted())?;
        Ok(Parts { image, env, mounts, devices, security })
    }

    async fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        attempt: u32,
        env: &[EnvVar],
        pod_dir: &Path,
        facts: &NodeContext,
    ) -> Result<Vec<Mount>, String> {
        let volumes = self.volumes.mounted();
        let mut mounts = container_mounts(container, env, volumes, pod_dir, self.node.may_mount).await?;
        let is_mounted = |mounts: &[Mount], path: &str| mounts.iter().any(|m| m.container_path == path);
        if !is_mounted(&mounts, ETC_HOSTS) && !facts.pod_ips.is_empty() {
            let path = self.hosts_file(pod, pod_dir, &facts.pod_ips).await.map_err(|e| e.to_string())?;
            mounts.push(Mount { container_path: ETC_HOSTS.to_owned(), host_path: path, ..Mount::default() });
        }
        let log = self.termination_log(pod, container, attempt).await.map_err(|error| error.to_string())?;
        let path = container.termination_message_path.clone().unwrap_or_default();
        if let Some(log) = log.filter(|_| !path.is_empty()) {
            let host_path = log.to_string_lossy().into_owned();
            mounts.push(Mount { container_path: path, host_path, ..Mount::default() });
        }
        Ok(mounts)
    }

    /// The pod's `/etc/hosts` on the node.
    async fn hosts_file(&self, pod: &Pod, pod_dir: &Path, ips: &[String]) -> std::io::Result<String> {
        let of_node = tokio::fs::read_to_string(ETC_HOSTS).await.unwrap_or_default();
        let text = network_files::hosts_file(pod, ips, &self.node.cluster_dns.domain, &of_node);
        let path = pod_dir.join("etc-hosts");
        tokio::fs::create_dir_all(pod_dir).await?;
        // Written in place: containers that run have this file mounted.
        tokio::fs::write(&path, text).await?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        tokio::fs::set_permissions(&path, mode).await?;
        Ok(path.to_string_lossy().into_owned())
    }

    async fn non_root_violation(&self, pod: &Pod, container: &Container, image: &str) -> Option<String> {
        // Only who asks for it pays for another look at the image.
        if !security::wants_non_root(pod, container) {
            return None;
        }
        match self.node.images.status(image).await {
            Ok(image) => security::non_root_violation(pod, container, image.as_ref()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The Secrets with credentials for registries, as far as they are there.
    async fn pull_secrets(&self, pod: &Pod) -> Vec<Arc<Secret>> {
        let spec = pod.spec.iter();
        let named: Vec<&str> = spec
            .flat_map(|s| s.image_pull_secrets.iter().flatten())
            .map(|secret| secret.name.as_str())
            .filter(|name| !name.is_empty())
            .collect();
        if named.is_empty() {
            return Vec::new();
        }
        self.held.synced().await;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in named {
            match self.held.secret(name) {
                Ok(secret) => found.push(secret),
                Err(_) => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.event(pod, None, EventKind::Warning, "FailedToRetrieveImagePullSecret", &message);
        }
        found
    }

    fn fail(&mut self, pod: &Pod, container: &Container, reason: &'static str, message: String) {
        self.event(pod, Some(&container.name), EventKind::Warning, "Failed", &format!("Error: {message}"));
        self.knowledge.waiting.insert(container.name.clone(), Waiting { reason, message });
    }

    pub(super) fn pod_ips(&self, pod: &Pod) -> Vec<String> {
        if pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true)) {
            return self.node.facts.host_ips.clone();
        }
        let sandbox = self.observed.ready_sandbox();
        sandbox.iter().flat_map(|s| s.ips.iter().map(ToString::to_string)).collect()
    }

    /// The node's file that becomes the container's termination log, made anew.
    async fn termination_log(
        &self,
        pod: &Pod,
        container: &Container,
        attempt: u32,
    ) -> std::io::Result<Option<PathBuf>> {
        let Some(path) = self.termination_log_path(uid(pod), &container.name, attempt) else {
            return Ok(None);
        };
        if let Some(dir) = path.parent() {
            tokio::fs::create_dir_all(dir).await?;
        }
        tokio::fs::write(&path, b"").await?;
        // Whoever the container runs as may write its last words.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        tokio::fs::set_permissions(&path, mode).await?;
        Ok(Some(path))
    }

    pub(super) fn termination_log_path(&self, uid: &str, container: &str, attempt: u32) -> Option<PathBuf> {
        let pods = self.node.pods_dir.as_ref()?;
        Some(pods.join(uid).join("containers").join(container).join(attempt.to_string()))
    }

    /// Logs what failed but will be seen, and tried again, at the next look.
    pub(super) fn tolerate(&self, operation: &str, result: Result<(), Error>) {
        if let Err(error) = result {
            tracing::warn!("{operation}: {error}");
        }
    }
}
