//! Objects that are answered and not stored: those of a dry run, and those that are found out when somebody asks.

use super::object::encode;
use super::{Object, Store};
use api::meta;
use api::status::Status;
use serde_json::Value;
use std::sync::Arc;
use storage::Key;

impl Store {
    /// Finds out the objects of a kind that is not stored.
    pub(super) fn compute(&self) {
        let Some(objects) = self.strategy.computed() else { return };
        let objects = objects.iter().filter_map(|object| {
            self.unstored(Key::from(self.key("", meta::name(object))), object, None).ok()
        });
        self.cache().load(objects.collect());
    }

    /// What a dry run answers: the object as it would be, at its present revision if it has one.
    pub(super) fn unstored(
        &self,
        key: Key,
        object: &Value,
        revision: Option<u64>,
    ) -> Result<Arc<Object>, Status> {
        let stored = encode(&*self.strategy, object);
        match revision {
            Some(revision) => self.decode(key, revision, stored),
            None => {
                let object = self.decode(key, 0, stored.clone())?;
                Ok(Arc::new(Arc::unwrap_or_clone(object).with_json(stored)))
            }
        }
    }
}
