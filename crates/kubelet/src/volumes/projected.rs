//! `projected`: several sources in one folder, tokens of the pod's service account among them.
//!
//! **Upstream**: `pkg/volume/projected`.

use super::atomic_writer::{File, Payload};
use super::config_map::{self, DEFAULT_MODE, Keys};
use super::{Error, InMemory, Mounted, Plugin, SetUp, downward_api, secret};
use api::k8s_openapi::api::core::v1::{ServiceAccountTokenProjection, Volume, VolumeProjection};
use async_trait::async_trait;
use jiff::Timestamp;

/// What a token may be read by when all containers agree on a user or there is an `fsGroup`.
const PRIVATE_MODE: u32 = 0o600;

pub(super) struct ProjectedPlugin;

#[async_trait]
impl Plugin for ProjectedPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/projected"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.projected.is_some()
    }

    fn is_live(&self) -> bool {
        true
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.projected.clone().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let mut payload = Payload::new();
        let mut refresh_at: Option<Timestamp> = None;
        for source in source.sources.iter().flatten() {
            if let Some(token) = &source.service_account_token {
                let (file, at) = token_file(at, token, mode).await?;
                payload.insert(token.path.clone(), file);
                refresh_at = Some(refresh_at.map_or(at, |other| other.min(at)));
            } else {
                payload.extend(files(at, source, mode)?);
            }
        }
        let mounted = at.write(payload, InMemory::Yes).await?;
        Ok(Mounted { refresh_at, ..mounted })
    }
}

async fn token_file(
    at: &mut SetUp<'_>,
    source: &ServiceAccountTokenProjection,
    mode: i32,
) -> Result<(File, Timestamp), Error> {
    let token = at.tokens.get(at.node, at.pod, source).await?;
    let private = at.ownership.user.is_some() || at.ownership.group.is_some();
    let mode = if private { PRIVATE_MODE } else { u32::try_from(mode).unwrap_or(0) & 0o777 };
    Ok((File { bytes: token.text.into_bytes(), mode, owner: at.ownership.user }, token.refresh_at))
}

fn files(at: &SetUp<'_>, source: &VolumeProjection, mode: i32) -> Result<Payload, Error> {
    if let Some(map) = source.config_map.clone() {
        let keys = Keys { items: map.items.unwrap_or_default(), optional: map.optional == Some(true), mode };
        return config_map::payload(at.held, &map.name, &keys);
    }
    if let Some(found) = source.secret.clone() {
        let keys =
            Keys { items: found.items.unwrap_or_default(), optional: found.optional == Some(true), mode };
        return secret::payload(at.held, &found.name, &keys);
    }
    if let Some(downward) = &source.downward_api {
        let items = downward.items.as_deref().unwrap_or_default();
        return downward_api::payload(at.pod, &at.node.facts, items, mode);
    }
    // The API server has dropped, and admission refused, every other source.
    Ok(Payload::new())
}
