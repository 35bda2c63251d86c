//! Which of the runtime's containers a request means.

use super::Refusal;
use crate::static_pods::runtime_uid;
use api::k8s_openapi::api::core::v1::{Container, Pod};
use client::Informer;
use runtime::{
    ContainerFilter, ContainerState, ContainerStatus, PodSandboxFilter, RuntimeService, SandboxId,
    SandboxState, labels,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pods of this node, and their containers.
pub(super) struct Containers {
    pub(super) runtime: Arc<dyn RuntimeService>,
    pods: Informer<Pod>,
}

impl Containers {
    pub(super) fn new(runtime: Arc<dyn RuntimeService>, pods: Informer<Pod>) -> Self {
        Self { runtime, pods }
    }

    /// The pod of this name, and of this UID if one is given.
    pub(super) fn pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let pod = self.pods.get(namespace, name)?;
        uid.is_none_or(|uid| pod.metadata.uid.as_deref() == Some(uid)).then_some(pod)
    }

    /// All attempts of a container, newest first.
    pub(super) async fn attempts(&self, pod: &Pod, container: &str) -> Result<Vec<ContainerStatus>, Refusal> {
        let wanted = BTreeMap::from([
            (labels::POD_UID.to_owned(), runtime_uid(pod)),
            (labels::CONTAINER_NAME.to_owned(), container.to_owned()),
        ]);
        let filter = ContainerFilter { labels: wanted, ..Default::default() };
        let mut attempts = Vec::new();
        for listed in self.runtime.list_containers(&filter).await.map_err(Refusal::internal)? {
            match self.runtime.container_status(&listed.id).await {
                Ok(status) => attempts.push(status),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(Refusal::internal(error)),
            }
        }
        attempts.sort_by_key(|a| std::cmp::Reverse(a.metadata.attempt));
        Ok(attempts)
    }

    /// The container's attempt that runs.
    pub(super) async fn running(
        &self,
        pod: &Pod,
        container: &str,
    ) -> Result<Option<ContainerStatus>, Refusal> {
        let attempts = self.attempts(pod, container).await?;
        Ok(attempts.into_iter().find(|attempt| attempt.state == ContainerState::Running))
    }

    /// The pod's sandbox that runs.
    pub(super) async fn sandbox(&self, pod: &Pod) -> Result<Option<SandboxId>, Refusal> {
        let uid = runtime_uid(pod);
        let filter = PodSandboxFilter {
            state: Some(SandboxState::Ready),
            labels: BTreeMap::from([(labels::POD_UID.to_owned(), uid)]),
            ..PodSandboxFilter::default()
        };
        let found = self.runtime.list_pod_sandboxes(&filter).await.map_err(Refusal::internal)?;
        Ok(found.into_iter().max_by_key(|sandbox| sandbox.metadata.attempt).map(|sandbox| sandbox.id))
    }
}

/// Whether the spec gives a container a terminal, and the container at all: of the usual, init and ephemeral ones.
pub(super) fn has_terminal(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let named = |container: &&Container| container.name == name;
    let mut usual = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut ephemeral = spec.ephemeral_containers.iter().flatten();
    match usual.find(named) {
        Some(container) => container.tty == Some(true),
        None => ephemeral.find(|container| container.name == name).is_some_and(|c| c.tty == Some(true)),
    }
}
