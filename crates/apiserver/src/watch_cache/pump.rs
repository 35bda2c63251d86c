//! The task that follows the storage and feeds the caches.
//!
//! **Contract**: survives a broken watch: it resumes where it was, or, if that history is gone, lists anew and
//! ends all watchers. It ends when the storage is closed.

use super::{Caches, ROOT};
use crate::registry::{Error, Object};
use component_base::Clock;
use component_base::logging::Chain;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{Batch, ListOptions, WatchStream};

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
        let revision = list(&caches, |index, objects| caches.caches[index].load(objects)).await?;
        caches.caches.iter().for_each(|cache| cache.loaded(revision));
        let watch = caches.storage.watch(ROOT, revision).await.map_err(Error::Load)?;
        caches.revision.send_replace(revision);
        caches.following.store(true, Ordering::Release);
        Ok(Self { caches, watch: Some(watch) })
    }

    /// Follows until the storage is closed.
    pub(crate) async fn run(mut self, clock: Clock) {
        let mut pause = BACKOFF.0;
        loop {
            if let Some(mut watch) = self.watch.take() {
                self.caches.following.store(true, Ordering::Release);
                while let Some(batch) = watch.next().await {
                    match batch {
                        Ok(batch) => self.apply(&batch),
                        Err(error) => {
                            tracing::warn!(error = %Chain(&error), "the storage watch broke");
                            break;
                        }
                    }
                    pause = BACKOFF.0;
                }
                self.caches.following.store(false, Ordering::Release);
            }
            match self.reopen().await {
                Ok(()) => {}
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
        let caches = &self.caches;
        match batch.events.as_slice() {
            [] => {}
            [event] => {
                if let Some(index) = caches.index_of(&event.key) {
                    caches.caches[index].apply(std::slice::from_ref(event));
                }
            }
            events => {
                // One resource's part of a transaction is taken over at once.
                let mut parts: BTreeMap<usize, Vec<storage::Event>> = BTreeMap::new();
                for event in events {
                    if let Some(index) = caches.index_of(&event.key) {
                        parts.entry(index).or_default().push(event.clone());
                    }
                }
                for (index, events) in parts {
                    caches.caches[index].apply(&events);
                }
            }
        }
        caches.revision.send_if_modified(|revision| {
            let further = batch.revision > *revision;
            *revision = batch.revision.max(*revision);
            further
        });
    }

    async fn reopen(&mut self) -> Result<(), storage::Error> {
        let from = self.caches.revision();
        match self.caches.storage.watch(ROOT, from).await {
            Ok(mut watch) => {
                // The loss of history may be told by the stream's first word.
                match futures::poll!(watch.next()) {
                    std::task::Poll::Ready(Some(Ok(batch))) => self.apply(&batch),
                    std::task::Poll::Ready(Some(Err(storage::Error::Compacted { .. }))) => {
                        return self.resync().await;
                    }
                    std::task::Poll::Ready(Some(Err(error))) => return Err(error),
                    std::task::Poll::Ready(None) => return Err(storage::Error::Closed),
                    std::task::Poll::Pending => {}
                }
                self.watch = Some(watch);
                Ok(())
            }
            Err(storage::Error::Compacted { .. }) => self.resync().await,
            Err(error) => Err(error),
        }
    }

    async fn resync(&mut self) -> Result<(), storage::Error> {
        let caches = Arc::clone(&self.caches);
        let mut listed: Vec<Vec<Arc<Object>>> = caches.caches.iter().map(|_| Vec::new()).collect();
        let revision = match list(&caches, |index, objects| listed[index].extend(objects)).await {
            Ok(revision) => revision,
            Err(Error::Load(error)) => return Err(error),
            Err(Error::Damaged { .. }) => return Err(storage::Error::Closed),
        };
        tracing::warn!(revision, "the storage's history was lost; caches were listed anew");
        self.watch = Some(caches.storage.watch(ROOT, revision).await?);
        for (cache, objects) in caches.caches.iter().zip(listed) {
            cache.replace(objects, revision);
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

/// Lists everything at one revision, page by page.
async fn list(caches: &Caches, mut take: impl FnMut(usize, Vec<Arc<Object>>)) -> Result<u64, Error> {
    let mut options = ListOptions { limit: Some(PAGE), ..ListOptions::default() };
    loop {
        let page = caches.storage.list(ROOT, options.clone()).await.map_err(Error::Load)?;
        let mut parts: BTreeMap<usize, Vec<Arc<Object>>> = BTreeMap::new();
        for item in &page.items {
            if let Some(index) = caches.index_of(&item.key)
                && let Some(object) = caches.caches[index].decode(item)
            {
                parts.entry(index).or_default().push(object);
            }
        }
        parts.into_iter().for_each(|(index, objects)| take(index, objects));
        let last = page.items.last().map(|item| item.key.clone());
        if !page.more() || last.is_none() {
            return Ok(page.revision);
        }
        options.start_after = last;
        options.revision = Some(page.revision);
    }
}
