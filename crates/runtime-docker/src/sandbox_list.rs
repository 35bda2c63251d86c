//! `list_pod_sandboxes`: what the engine's list says of pause containers.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use runtime::{PodSandbox, PodSandboxFilter, PodSandboxMetadata, Result, SandboxState};

use crate::client::DockerRuntime;
use crate::naming::{self, Name};
use crate::{labels, time};

impl DockerRuntime {
    pub(crate) async fn list_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
        let mut filters = labels::filter(&self.config, Some(labels::TYPE_SANDBOX), &filter.labels);
        if let Some(id) = &filter.id {
            filters.insert("id".to_owned(), vec![id.to_string()]);
        }
        let found = self.list(filters, filter.state != Some(SandboxState::Ready)).await?;
        let sandboxes = found.into_iter().filter_map(describe);
        Ok(sandboxes.filter(|sandbox| filter.state.is_none_or(|state| state == sandbox.state)).collect())
    }
}

fn describe(found: ContainerSummary) -> Option<PodSandbox> {
    let name = name(&found).filter(|name| name.container == naming::SANDBOX)?;
    let (labels, annotations) = labels::split(found.labels.unwrap_or_default());
    let running = found.state == Some(ContainerSummaryStateEnum::RUNNING);
    Some(PodSandbox {
        id: found.id?.into(),
        metadata: PodSandboxMetadata {
            name: name.pod,
            uid: name.uid,
            namespace: name.namespace,
            attempt: name.attempt,
        },
        state: if running { SandboxState::Ready } else { SandboxState::NotReady },
        created_at: time::from_seconds(found.created),
        labels,
        annotations,
    })
}

/// The name of a listed container, if it is one of ours. Links give further names, with a slash inside.
pub(crate) fn name(found: &ContainerSummary) -> Option<Name> {
    found.names.as_ref()?.iter().find_map(|name| Name::parse(name))
}
