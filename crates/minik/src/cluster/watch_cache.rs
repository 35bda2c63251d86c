//! The API server's watch cache, as the place where informers find what they were sent: it is in memory once.
//!
//! **Not here**: a way to objects. Who was not sent an object does not get it from here.

use apiserver::registry::{Object, Registry};
use bytes::Bytes;
use client::{Origin, Original, Place};
use std::sync::Arc;

/// The objects of all kinds.
pub(super) struct WatchCache(pub(super) Arc<Registry>);

struct Cached(Arc<Object>);

impl Origin for WatchCache {
    fn newest(&self, place: Place<'_>) -> Option<Arc<dyn Original>> {
        let Place { group, plural, namespace, name } = place;
        let object = self.0.store(group, plural)?.cached(namespace, name)?;
        Some(Arc::new(Cached(object)))
    }
}

impl Original for Cached {
    fn json(&self) -> Bytes {
        self.0.json()
    }
}
