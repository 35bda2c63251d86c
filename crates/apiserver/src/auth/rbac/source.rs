//! Roles and bindings as the registry's watch cache has them.

use super::{GROUP, PolicySource};
use crate::admission::Lookup;
use crate::registry::Registry;
use serde_json::Value;
use std::sync::Arc;

impl PolicySource for Registry {
    fn generation(&self, plural: &str) -> u64 {
        self.store(GROUP, plural).map_or(0, |store| store.snapshot().revision())
    }

    fn objects(&self, plural: &str) -> Vec<Arc<Value>> {
        self.list(GROUP, plural, "")
    }
}
