//! How a pod ends: containers with grace, then the sandbox, then the object.
//!
//! **Contract**: the API object goes (grace 0) only after the runtime has nothing running; repeating any part is
//! harmless. A pod that reached its end by itself keeps its dead containers for their logs until it is deleted.

use super::kill::Turns;
use super::{Next, PodWorker, RETRY_API, Told, news::News, uid};
use crate::container_config::grace_period;
use crate::health::Probe;
use crate::images::EventKind;
use crate::log_links;
use crate::restart;
use crate::volumes::{self, blocking, tear_down, tear_down_volumes};
use api::k8s_openapi::api::core::v1::Pod;
use component_base::logging::chain;
use futures::StreamExt;
use kube::api::{DeleteParams, Preconditions};
use runtime::{ContainerState, ContainerStatus, LogOptions};
use std::sync::Arc;
use std::time::Duration;

/// `MaxContainerTerminationMessageLength` and the two limits of `FallbackToLogsOnError`.
const MESSAGE_MAX: usize = 4096;
const LOG_MESSAGE_MAX: usize = 2048;
const LOG_MESSAGE_LINES: u64 = 80;

impl PodWorker {
    /// Takes the next steps towards the pod's end.
    pub(super) async fn terminate(&mut self, told: &Told) -> Next {
        let pod = told.pod().clone();
        self.knowledge.stopping = true;
        if let Err(retry_at) = self.look(&pod).await {
            return Next::Wait(Some(retry_at));
        }
        if self.observed.running().next().is_some() {
            return self.stop_containers(&pod, told).await;
        }
        self.knowledge.stopped = true;
        if matches!(told, Told::Present(_))
            && let Err(retry_at) = self.publish(&pod).await
        {
            return Next::Wait(Some(retry_at));
        }
        if !told.is_ending() {
            for sandbox in &self.observed.sandboxes {
                if sandbox.state == runtime::SandboxState::Ready {
                    self.tolerate(
                        "stop a pod sandbox",
                        self.node.runtime.stop_pod_sandbox(&sandbox.id).await,
                    );
                }
            }
            // Nobody reads or writes them any more; the log of the last words stays.
            if let Some(dir) = self.node.pod_dir(&pod)
                && let Err(error) = tear_down_volumes(&dir).await
            {
                tracing::warn!(pod = pod.metadata.name, "remove a pod's volumes: {}", chain(&error));
                return Next::Wait(Some(self.now() + RETRY_API));
            }
            return Next::Wait(None);
        }
        if let Err(retry_at) = self.remove_everything(&pod).await {
            return Next::Wait(Some(retry_at));
        }
        match told {
            Told::Gone(_) | Told::Orphan(_) => {
                self.node.images.forget(uid(&pod));
                Next::Done
            }
            Told::Present(_) => self.delete_object(&pod).await,
        }
    }

    /// Stops all running containers at once, each with the pod's grace, until all have or the pod changes; tells the
    /// API meanwhile how far the pod is.
    async fn stop_containers(&mut self, pod: &Arc<Pod>, told: &Told) -> Next {
        let running: Vec<ContainerStatus> = self.observed.running().cloned().collect();
        for container in &running {
            let name = &container.metadata.name;
            self.event(pod, Some(name), EventKind::Normal, "Killing", &format!("Stopping container {name}"));
        }
        // Nobody is killed for its health any more, but readiness goes on.
        self.watch_health(pod, |probe| probe == Probe::Readiness);
        let grace = self.grace.map_or_else(|| grace(told), Duration::from_secs);
        let turns = Turns::new(&running);
        let stops = running.iter().map(|container| {
            let target = (&container.id, container.metadata.name.as_str());
            self.kill(pod, target, grace, Some(&turns))
        });
        let stops = futures::future::join_all(stops);
        let shorter = async {
            let before = pod.metadata.deletion_grace_period_seconds;
            let changed = |now: &News| match (told, now) {
                (Told::Present(_), Some(Told::Present(now))) => {
                    now.metadata.deletion_grace_period_seconds != before
                }
                (Told::Present(_), Some(_)) => true,
                _ => false,
            };
            self.news.until(changed).await;
        };
        let status = self.status(pod);
        let publish = async {
            match told {
                Told::Present(_) => self.write(pod, &status).await.ok(),
                Told::Gone(_) | Told::Orphan(_) => None,
            }
        };
        let stop = async {
            tokio::select! {
                results = stops => results.into_iter().find_map(Result::err),
                () = shorter => None,
            }
        };
        let (failed, written) = futures::future::join(stop, publish).await;
        if let Some(revision) = written {
            self.wrote(status, revision);
        }
        match failed {
            // What stopped is seen by looking again; a shorter grace is taken up there too.
            None => Next::Wait(Some(self.now())),
            Some(error) => {
                tracing::warn!(pod = pod.metadata.name, "stop a container: {error}");
                Next::Wait(Some(self.now() + RETRY_API))
            }
        }
    }

    async fn remove_everything(&mut self, pod: &Pod) -> Result<(), jiff::Timestamp> {
        let runtime = &self.node.runtime;
        let mut failed = None;
        for sandbox in &self.observed.sandboxes {
            failed = failed.or(runtime.remove_pod_sandbox(&sandbox.id).await.err());
        }
        let orphans = self
            .observed
            .containers
            .values()
            .flatten()
            .filter(|c| !self.observed.sandboxes.iter().any(|s| s.id == c.pod_sandbox_id));
        for container in orphans {
            failed = failed.or(runtime.remove_container(&container.id).await.err());
        }
        if let Some(error) = failed {
            tracing::warn!(pod = pod.metadata.name, "remove a pod's containers: {error}");
            return Err(self.now() + RETRY_API);
        }
        if let Err(error) = self.remove_log_links(pod).await {
            tracing::warn!(pod = pod.metadata.name, "{}", chain(&error));
            return Err(self.now() + RETRY_API);
        }
        if let Some(dir) = self.node.pod_dir(pod)
            && let Err(error) = tear_down(&dir).await
        {
            tracing::warn!(pod = pod.metadata.name, "remove a pod's files: {}", chain(&error));
            return Err(self.now() + RETRY_API);
        }
        Ok(())
    }

    async fn remove_log_links(&mut self, pod: &Pod) -> Result<(), volumes::Error> {
        self.log_links.clear();
        let Some(log_dir) = self.node.log_dir.clone() else { return Ok(()) };
        let pod_uid = uid(pod).to_owned();
        let remove = {
            let log_dir = log_dir.clone();
            move || log_links::remove(&log_dir, &pod_uid)
        };
        blocking("remove links in", &log_dir, remove).await
    }

    async fn delete_object(&self, pod: &Pod) -> Next {
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match self.api(pod).delete(name, &parameters).await {
            // Finalizers may keep it; the watch tells when it is gone.
            Ok(_) => Next::Wait(None),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Next::Wait(None),
            Err(error) => {
                tracing::warn!(pod = name, "delete pod: {}", chain(&error));
                Next::Wait(Some(self.now() + RETRY_API))
            }
        }
    }

    /// Reads the termination message of every container that has ended since the last look.
    pub(super) async fn read_last_words(&mut self, pod: &Pod) {
        let new: Vec<ContainerStatus> = self
            .observed
            .containers
            .values()
            .flatten()
            .filter(|c| c.state == ContainerState::Exited)
            .filter(|c| !self.knowledge.termination_messages.contains_key(c.id.as_str()))
            .cloned()
            .collect();
        for ended in new {
            let words = self.last_words(pod, &ended).await;
            self.knowledge.termination_messages.insert(ended.id.to_string(), words);
        }
    }

    async fn last_words(&self, pod: &Pod, ended: &ContainerStatus) -> String {
        let path = self.termination_log_path(uid(pod), &ended.metadata.name, ended.metadata.attempt);
        let mut words = match path {
            Some(path) => tokio::fs::read(path).await.unwrap_or_default(),
            None => Vec::new(),
        };
        words.truncate(MESSAGE_MAX);
        let container = pod.spec.as_ref().and_then(|spec| restart::find(spec, &ended.metadata.name));
        let fallback = container
            .is_some_and(|(_, c)| c.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"));
        if words.is_empty() && fallback && ended.exit_code != 0 {
            let options = LogOptions { tail_lines: Some(LOG_MESSAGE_LINES), ..LogOptions::default() };
            if let Ok(mut lines) = self.node.runtime.container_logs(&ended.id, &options).await {
                while let Some(Ok(line)) = lines.next().await {
                    words.extend_from_slice(&line.bytes);
                }
            }
            let surplus = words.len().saturating_sub(LOG_MESSAGE_MAX);
            words.drain(..surplus);
        }
        String::from_utf8_lossy(&words).into_owned()
    }
}

/// What a container of this pod gets between its stop signal and SIGKILL.
fn grace(told: &Told) -> Duration {
    let of_spec = || told.pod().spec.as_ref().map_or(30, grace_period);
    let seconds = match told {
        Told::Present(pod) => pod.metadata.deletion_grace_period_seconds.unwrap_or_else(of_spec),
        Told::Gone(_) => 0,
        Told::Orphan(_) => of_spec(),
    };
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
