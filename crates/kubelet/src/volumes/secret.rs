//! `secret`: a Secret's keys as files, never on a disk where this process may mount.
//!
//! **Upstream**: `pkg/volume/secret`.

use super::atomic_writer::Payload;
use super::config_map::{DEFAULT_MODE, Keys};
use super::{Error, InMemory, Mounted, Plugin, SetUp};
use crate::references::{Held, Missing};
use api::k8s_openapi::api::core::v1::{Secret, Volume};
use async_trait::async_trait;
use std::collections::BTreeMap;

pub(super) struct SecretPlugin;

#[async_trait]
impl Plugin for SecretPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/secret"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.secret.is_some()
    }

    fn is_live(&self) -> bool {
        true
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.secret.clone().unwrap_or_default();
        let keys = Keys {
            items: source.items.unwrap_or_default(),
            optional: source.optional == Some(true),
            mode: source.default_mode.unwrap_or(DEFAULT_MODE),
        };
        let payload = payload(at.held, source.secret_name.as_deref().unwrap_or_default(), &keys)?;
        at.write(payload, InMemory::Yes).await
    }
}

/// The files of a Secret.
pub(super) fn payload(held: &Held, name: &str, keys: &Keys) -> Result<Payload, Error> {
    let data = match held.secret(name) {
        Ok(object) => data_of(&object),
        Err(Missing::NotFound { .. }) if keys.optional => BTreeMap::new(),
        Err(missing) => return Err(missing.into()),
    };
    keys.files(&data).map_err(|key| Error::Refused(format!("references non-existent secret key: {key}")))
}

/// A Secret's values.
pub(crate) fn data_of(object: &Secret) -> BTreeMap<String, Vec<u8>> {
    object.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}
