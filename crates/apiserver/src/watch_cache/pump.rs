//! The task that follows the storage and feeds the caches.
//!
//! **Contract**: survives a broken watch: it resumes where it was, or, if that history is gone, lists anew and
//! ends all watchers. It ends when the storage is closed.

use super::{Caches, ROOT, prefix_of};
use crate::registry::Error;
use component_base::Clock;
use component_base::logging::Chain;
use futures::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{Batch, KeyValue, ListOptions, WatchStream};

/// Objects read at a time while loading.
const PAGE: usize = 500;
/// The pause before a broken watch is opened again, doubled up to the second one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Follows the storage.
pub(crate) struct Pump {
    caches: Arc<Caches>,
    watch: Option<WatchStream>,
}

impl Pump {
    /// Loads every cache; reads are complete when this returns.
    pub(crate) async fn load(caches: Arc<Caches>) -> Result<Self, Error> {
        let fed = caches.fed.load_full();
        let feed = |prefix: &str, items: &[KeyValue]| {
            for cache in fed.get(prefix).into_iter().flatten() {
                cache.load(items.iter().filter_map(|item| cache.decode(item)).collect());
            }
        };
        let revision = list(&caches, ROOT, feed).await?;
        fed.values().flatten().for_each(|cache| cache.loaded(revision));
        let watch = caches.storage.watch(ROOT, revision).await.map_err(Error::Load)?;
        caches.revision.send_replace(revision);
        caches.following.store(true, Ordering::Release);
        Ok(Self { caches, watch: Some(watch) })
    }

    /// Follows until the storage is closed.
    pub(crate) async fn run(mut self, clock: Clock) {
        let mut pause = BACKOFF.0;
        let mut lost = false;
        loop {
            if let Some(mut watch) = self.watch.take() {
                self.caches.following.store(true, Ordering::Release);
                while let Some(batch) = watch.next().await {
                    match batch {
                        Ok(batch) => self.apply(&batch),
                        Err(error) => {
                            tracing::warn!(error = %Chain(&error), "the storage watch broke");
                            lost = matches!(error, storage::Error::Compacted { .. });
                            break;
                        }
                    }
                    pause = BACKOFF.0;
                }
                self.caches.following.store(false, Ordering::Release);
            }
            match if lost { self.resync().await } else { self.reopen().await } {
                Ok(()) => lost = false,
                Err(storage::Error::Closed) => return,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot follow the storage");
                    clock.sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    fn apply(&self, batch: &Batch) {
        let fed = self.caches.fed.load();
        let apply = |prefix: &str, events: &[storage::Event]| {
            fed.get(prefix).into_iter().flatten().for_each(|cache| cache.apply(events));
        };
        match batch.events.as_slice() {
            [] => {}
            [event] => {
                if let Some(prefix) = prefix_of(&event.key) {
                    apply(prefix, std::slice::from_ref(event));
                }
            }
            events => {
                // One resource's part of a transaction is taken over at once.
                let mut parts: BTreeMap<&str, Vec<storage::Event>> = BTreeMap::new();
                for event in events {
                    if let Some(prefix) = prefix_of(&event.key) {
                        parts.entry(prefix).or_default().push(event.clone());
                    }
                }
                parts.into_iter().for_each(|(prefix, events)| apply(prefix, &events));
            }
        }
        self.caches.revision.send_if_modified(|revision| {
            let further = batch.revision > *revision;
            *revision = batch.revision.max(*revision);
            further
        });
    }

    async fn reopen(&mut self) -> Result<(), storage::Error> {
        match self.caches.storage.watch(ROOT, self.caches.revision()).await {
            Ok(watch) => {
                self.watch = Some(watch);
                Ok(())
            }
            Err(storage::Error::Compacted { .. }) => self.resync().await,
            Err(error) => Err(error),
        }
    }

    async fn resync(&mut self) -> Result<(), storage::Error> {
        let caches = Arc::clone(&self.caches);
        let _alone = caches.listing.lock().await;
        let fed = caches.fed.load_full();
        let mut listed: HashMap<Arc<str>, Vec<KeyValue>> = HashMap::new();
        let keep = |prefix: &str, items: &[KeyValue]| {
            if fed.contains_key(prefix) {
                listed.entry(prefix.into()).or_default().extend_from_slice(items);
            }
        };
        let revision = match list(&caches, ROOT, keep).await {
            Ok(revision) => revision,
            Err(Error::Load(error)) => return Err(error),
            Err(Error::Damaged { .. }) => return Err(storage::Error::Closed),
        };
        tracing::warn!(revision, "the storage's history was lost; caches were listed anew");
        self.watch = Some(caches.storage.watch(ROOT, revision).await?);
        for (prefix, caches) in fed.iter() {
            let items = listed.remove(prefix).unwrap_or_default();
            for cache in caches {
                cache.replace(items.iter().filter_map(|item| cache.decode(item)).collect(), revision);
            }
        }
        caches.revision.send_replace(revision);
        Ok(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.caches.following.store(false, Ordering::Release);
        self.caches.ended.store(true, Ordering::Release);
        self.caches.revision.send_modify(|_| {});
    }
}

/// Lists everything below a prefix at one revision, page by page, and hands it out by what the keys begin with.
pub(super) async fn list(
    caches: &Caches,
    root: &str,
    mut take: impl FnMut(&str, &[KeyValue]),
) -> Result<u64, Error> {
    let mut options = ListOptions { limit: Some(PAGE), ..ListOptions::default() };
    loop {
        let page = caches.storage.list(root, options.clone()).await.map_err(Error::Load)?;
        // The items come in the order of their keys.
        for part in page.items.chunk_by(|a, b| prefix_of(&a.key) == prefix_of(&b.key)) {
            if let Some(prefix) = part.first().and_then(|item| prefix_of(&item.key)) {
                take(prefix, part);
            }
        }
        let last = page.items.last().map(|item| item.key.clone());
        if !page.more() || last.is_none() {
            return Ok(page.revision);
        }
        options.start_after = last;
        options.revision = Some(page.revision);
    }
}
