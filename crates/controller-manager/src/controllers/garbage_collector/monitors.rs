//! A watch of the metadata of every kind that can be deleted, custom ones included.
//!
//! **Contract**: kinds come and go while the cluster runs; what cannot be discovered just now keeps its watch.
//! **Upstream**: `graph_builder.go` (`syncMonitors`), `GarbageCollector.Sync`.

use super::graph::{Graph, Place, Work};
use crate::discovery::{self, Resource};
use crate::{Error, Manager};
use client::{AnyObject, Delta, Informer, Queue};
use component_base::Context;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// What is written too often to be watched, and owns nothing (`DefaultIgnoredResources`).
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];
/// Kinds whose changes change what kinds there are.
const KINDS: [&str; 2] = ["customresourcedefinitions", "apiservices"];

/// All watches.
pub(super) struct Monitors {
    manager: Manager,
    graph: Arc<Mutex<Graph>>,
    queue: Queue<Work>,
    running: Mutex<HashMap<Resource, Monitor>>,
    /// Told when there may be new kinds.
    pub(super) kinds_changed: Arc<Notify>,
}

struct Monitor {
    context: Context,
    informer: Informer<AnyObject>,
}

impl Monitors {
    pub(super) fn new(manager: &Manager, graph: Arc<Mutex<Graph>>, queue: Queue<Work>) -> Self {
        Self {
            manager: manager.clone(),
            graph,
            queue,
            running: Mutex::default(),
            kinds_changed: Arc::default(),
        }
    }

    /// The resource that a group and kind mean.
    pub(super) fn resource(&self, group: &str, kind: &str) -> Option<Resource> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.keys().find(|resource| resource.group == group && resource.kind == kind).cloned()
    }

    /// Starts and ends watches until they are those of the kinds that there are; waits for what is new.
    pub(super) async fn sync(&self) -> Result<(), Error> {
        let (found, failed) = discovery::discover(&self.manager.client).await?;
        let watched = |resource: &Resource| {
            ["delete", "list", "watch"].iter().all(|verb| resource.can(verb))
                && !IGNORED.contains(&(resource.group.as_str(), resource.plural.as_str()))
        };
        let found: HashSet<Resource> = found.into_iter().filter(watched).collect();
        let unknown = |resource: &Resource| failed.iter().any(|group| group.starts_with(&resource.group));
        let informers: Vec<_> = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|resource, monitor| {
                let stays = found.contains(resource) || (!resource.group.is_empty() && unknown(resource));
                if !stays {
                    monitor.context.shutdown.trigger();
                }
                stays
            });
            for resource in found {
                running.entry(resource).or_insert_with_key(|resource| self.start(resource));
            }
            running.values().map(|monitor| monitor.informer.clone()).collect()
        };
        for informer in informers {
            informer.synced().await;
        }
        Ok(())
    }

    fn start(&self, resource: &Resource) -> Monitor {
        let context = self.manager.context.child();
        let informer = self.manager.informers.within(&context).metadata(&resource.all());
        let mut changes = informer.subscribe();
        let (graph, queue, resource) = (self.graph.clone(), self.queue.clone(), resource.clone());
        let kinds_changed = KINDS.contains(&resource.plural.as_str()).then(|| self.kinds_changed.clone());
        context.shutdown.spawn(async move {
            while let Some(delta) = changes.recv().await {
                if let Some(kinds_changed) = &kinds_changed {
                    kinds_changed.notify_one();
                }
                let mut graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
                let work = match delta {
                    Delta::Added(object) | Delta::Updated { new: object, .. } => {
                        graph.changed(place(&resource, &object), &object.metadata)
                    }
                    Delta::Deleted(object) => {
                        graph.removed(object.metadata.uid.as_deref().unwrap_or_default())
                    }
                    Delta::Synced => Vec::new(),
                };
                drop(graph);
                work.into_iter().for_each(|work| queue.add(work));
            }
        });
        Monitor { context, informer }
    }
}

fn place(resource: &Resource, object: &AnyObject) -> Place {
    Place {
        api_version: api::kind::api_version(&resource.group, &resource.version),
        kind: resource.kind.clone(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
    }
}
