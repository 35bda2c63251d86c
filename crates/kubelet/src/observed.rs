//! What the runtime has of one pod: its sandbox and its containers, all attempts.
//!
//! **Contract**: a snapshot; decisions are made on it, never on a remembered intention.

use crate::container_config::{HASH_ANNOTATION, RESOURCES_ANNOTATION};
use crate::error::Error;
use runtime::{
    ContainerFilter, ContainerState, ContainerStatus, PodSandboxFilter, PodSandboxStatus, RuntimeService,
    SandboxState, StringMap, labels,
};
use std::collections::{BTreeMap, HashMap};

/// Annotations of containers by which is decided; the rest, and all labels, would only take room in every pod's worker.
const KEPT_ANNOTATIONS: [&str; 2] = [HASH_ANNOTATION, RESOURCES_ANNOTATION];

/// One pod as the runtime sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// All sandboxes, newest attempt first.
    pub(crate) sandboxes: Vec<PodSandboxStatus>,
    /// All attempts of each container, newest first.
    pub(crate) containers: BTreeMap<String, Vec<ContainerStatus>>,
}

impl Observed {
    /// The newest sandbox, if it runs.
    pub(crate) fn ready_sandbox(&self) -> Option<&PodSandboxStatus> {
        self.sandboxes.first().filter(|s| s.state == SandboxState::Ready)
    }

    /// The newest attempt of a container.
    pub(crate) fn latest(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.get(name)?.first()
    }

    /// The newest attempt before the latest that has ended.
    pub(crate) fn previous(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.get(name)?.iter().skip(1).find(|c| c.state == ContainerState::Exited)
    }

    /// Every container whose process lives.
    pub(crate) fn running(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.values().flatten().filter(|c| c.state == ContainerState::Running)
    }

    /// Whether the runtime has nothing of the pod.
    pub(crate) fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }
}

/// Asks the runtime for everything it has of a pod. `last` spares questions about what cannot have changed:
/// containers that had ended, and sandboxes that ran and still do.
pub(crate) async fn observe(
    runtime: &dyn RuntimeService,
    pod_uid: &str,
    last: &Observed,
) -> Result<Observed, Error> {
    let of_pod = BTreeMap::from([(labels::POD_UID.to_owned(), pod_uid.to_owned())]);
    let sandbox_filter = PodSandboxFilter { labels: of_pod.clone(), ..Default::default() };
    let container_filter = ContainerFilter { labels: of_pod, ..Default::default() };
    let (sandboxes, containers) = futures::future::try_join(
        runtime.list_pod_sandboxes(&sandbox_filter),
        runtime.list_containers(&container_filter),
    )
    .await
    .map_err(Error::runtime("list the pod's containers"))?;

    let mut observed = Observed::default();
    for sandbox in sandboxes {
        let known = last.sandboxes.iter().find(|s| s.id == sandbox.id && s.state == sandbox.state);
        let status = match known {
            Some(status) => Ok(status.clone()),
            None => runtime.pod_sandbox_status(&sandbox.id).await,
        };
        match status {
            Ok(status) => observed.sandboxes.push(PodSandboxStatus {
                labels: StringMap::new(),
                annotations: StringMap::new(),
                ..status
            }),
            Err(error) if error.is_not_found() => {}
            Err(source) => return Err(Error::Runtime { operation: "inspect a pod sandbox", source }),
        }
    }
    observed.sandboxes.shrink_to_fit();
    observed.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.metadata.attempt));

    let ended: HashMap<_, _> = last
        .containers
        .values()
        .flatten()
        .filter(|c| c.state == ContainerState::Exited)
        .map(|c| (&c.id, c))
        .collect();
    for container in containers {
        let status = match ended.get(&container.id) {
            Some(status) if container.state == ContainerState::Exited => Ok((*status).clone()),
            _ => runtime.container_status(&container.id).await,
        };
        match status {
            Ok(mut status) => {
                status.labels.clear();
                status.annotations.retain(|name, _| KEPT_ANNOTATIONS.contains(&name.as_str()));
                let attempts = observed.containers.entry(status.metadata.name.clone());
                attempts.or_insert_with(|| Vec::with_capacity(1)).push(status);
            }
            Err(error) if error.is_not_found() => {}
            Err(source) => return Err(Error::Runtime { operation: "inspect a container", source }),
        }
    }
    for attempts in observed.containers.values_mut() {
        attempts.sort_by_key(|c| std::cmp::Reverse((c.metadata.attempt, c.created_at)));
    }
    Ok(observed)
}
