//! `downwardAPI`: a pod's own fields and resources as files.
//!
//! **Upstream**: `pkg/volume/downwardapi`.

use super::atomic_writer::{File, Payload};
use super::config_map::DEFAULT_MODE;
use super::{Error, InMemory, Mounted, Plugin, SetUp};
use crate::container_config::NodeContext;
use crate::fields;
use api::k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, Pod, Volume};
use async_trait::async_trait;

pub(super) struct DownwardApiPlugin;

#[async_trait]
impl Plugin for DownwardApiPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/downward-api"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.downward_api.is_some()
    }

    fn is_live(&self) -> bool {
        true
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.downward_api.clone().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let payload = payload(at.pod, &at.node.facts, source.items.as_deref().unwrap_or_default(), mode)?;
        at.write(payload, InMemory::Yes).await
    }
}

/// The files of these items.
pub(super) fn payload(
    pod: &Pod,
    node: &NodeContext,
    items: &[DownwardAPIVolumeFile],
    default_mode: i32,
) -> Result<Payload, Error> {
    let mut payload = Payload::new();
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields::field(pod, &field.field_path, node),
            (None, Some(selector)) => {
                let name = selector.container_name.as_deref().unwrap_or_default();
                let spec = pod.spec.iter();
                let mut all =
                    spec.flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
                match all.find(|c| c.name == name) {
                    Some(container) => fields::resource(pod, container, selector, node),
                    None => Err(format!("container {name} not found")),
                }
            }
            (None, None) => continue,
        };
        let mode = item.mode.unwrap_or(default_mode);
        let file = File {
            bytes: value.map_err(Error::Refused)?.into_bytes(),
            mode: u32::try_from(mode).unwrap_or(0) & 0o777,
            owner: None,
        };
        payload.insert(item.path.clone(), file);
    }
    Ok(payload)
}
