//! `configMap`: a ConfigMap's keys as files.
//!
//! **Upstream**: `pkg/volume/configmap`.

use super::atomic_writer::{File, Payload};
use super::{Error, InMemory, Mounted, Plugin, SetUp};
use crate::references::{Held, Missing};
use api::k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Volume};
use async_trait::async_trait;
use std::collections::BTreeMap;

/// `ConfigMapVolumeSourceDefaultMode` and its likes.
pub(super) const DEFAULT_MODE: i32 = 0o644;

pub(super) struct ConfigMapPlugin;

#[async_trait]
impl Plugin for ConfigMapPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/configmap"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.config_map.is_some()
    }

    fn is_live(&self) -> bool {
        true
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.config_map.clone().unwrap_or_default();
        let keys = Keys {
            items: source.items.unwrap_or_default(),
            optional: source.optional == Some(true),
            mode: source.default_mode.unwrap_or(DEFAULT_MODE),
        };
        let payload = payload(at.held, &source.name, &keys)?;
        at.write(payload, InMemory::No).await
    }
}

/// Which keys become files, and how.
pub(super) struct Keys {
    pub(super) items: Vec<KeyToPath>,
    pub(super) optional: bool,
    pub(super) mode: i32,
}

/// The files of a ConfigMap.
pub(super) fn payload(held: &Held, name: &str, keys: &Keys) -> Result<Payload, Error> {
    let data = match held.config_map(name) {
        Ok(object) => data_of(&object),
        Err(Missing::NotFound { .. }) if keys.optional => BTreeMap::new(),
        Err(missing) => return Err(missing.into()),
    };
    keys.files(&data)
        .map_err(|key| Error::Refused(format!("configmap references non-existent config key: {key}")))
}

/// A ConfigMap's text and binary values alike.
pub(crate) fn data_of(object: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

impl Keys {
    /// Every key, or those that are asked for. `Err`: a key that is not there.
    pub(super) fn files(&self, data: &BTreeMap<String, Vec<u8>>) -> Result<Payload, String> {
        let file = |bytes: &Vec<u8>, mode: i32| File {
            bytes: bytes.clone(),
            mode: u32::try_from(mode).unwrap_or(0) & 0o777,
            owner: None,
        };
        if self.items.is_empty() {
            return Ok(data.iter().map(|(key, bytes)| (key.clone(), file(bytes, self.mode))).collect());
        }
        let mut payload = Payload::new();
        for item in &self.items {
            match data.get(&item.key) {
                Some(bytes) => {
                    payload.insert(item.path.clone(), file(bytes, item.mode.unwrap_or(self.mode)));
                }
                None if self.optional => {}
                None => return Err(item.key.clone()),
            }
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_become_files() {
        let data = BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let keys = |items: serde_json::Value, optional| Keys {
            items: serde_json::from_value(items).expect("items"),
            optional,
            mode: 0o644,
        };
        let shown = |payload: Payload| -> Vec<String> {
            payload
                .iter()
                .map(|(path, f)| format!("{path} {:o} {}", f.mode, String::from_utf8_lossy(&f.bytes)))
                .collect()
        };
        assert_eq!(
            keys(json!([]), false).files(&data).map(shown),
            Ok(vec!["a 644 1".into(), "b 644 2".into()])
        );
        let items = json!([{"key": "b", "path": "x/y", "mode": 0o400}]);
        assert_eq!(keys(items, false).files(&data).map(shown), Ok(vec!["x/y 400 2".into()]));
        let missing = json!([{"key": "none", "path": "x"}]);
        assert_eq!(keys(missing.clone(), false).files(&data), Err("none".to_owned()));
        assert_eq!(keys(missing, true).files(&data), Ok(Payload::new()));
    }
}
