//! `list_containers`: what the engine's list says, without an inspection each.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as EngineState};
use runtime::{Container, ContainerFilter, ContainerMetadata, ContainerState, ImageId, Result};

use crate::client::DockerRuntime;
use crate::sandbox_list::name;
use crate::{labels, time};

impl DockerRuntime {
    pub(crate) async fn list_all(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        let mut wanted = filter.labels.clone();
        if let Some(sandbox) = &filter.pod_sandbox_id {
            wanted.insert(labels::SANDBOX_ID.to_owned(), sandbox.to_string());
        }
        let mut filters = labels::filter(&self.config, Some(labels::TYPE_CONTAINER), &wanted);
        if let Some(id) = &filter.id {
            filters.insert("id".to_owned(), vec![id.to_string()]);
        }
        let found = self.list(filters, filter.state != Some(ContainerState::Running)).await?;
        let containers = found.into_iter().filter_map(describe);
        Ok(containers.filter(|container| filter.state.is_none_or(|state| state == container.state)).collect())
    }
}

fn describe(found: ContainerSummary) -> Option<Container> {
    let name = name(&found)?;
    let all = found.labels.unwrap_or_default();
    let sandbox = all.get(labels::SANDBOX_ID).cloned().unwrap_or_default();
    let image = all.get(labels::USER_IMAGE).cloned().or(found.image).unwrap_or_default();
    let (labels, annotations) = labels::split(all);
    Some(Container {
        id: found.id?.into(),
        pod_sandbox_id: sandbox.into(),
        metadata: ContainerMetadata { name: name.container, attempt: name.attempt },
        image,
        image_id: ImageId::from(found.image_id.unwrap_or_default()),
        // A container that could not be started is `created` here; its status tells.
        state: match found.state {
            Some(EngineState::CREATED) => ContainerState::Created,
            Some(EngineState::RUNNING | EngineState::PAUSED | EngineState::RESTARTING) => {
                ContainerState::Running
            }
            Some(EngineState::EXITED | EngineState::DEAD | EngineState::REMOVING) => ContainerState::Exited,
            _ => ContainerState::Unknown,
        },
        created_at: time::from_seconds(found.created),
        labels,
        annotations,
    })
}
