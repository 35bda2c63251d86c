//! The garbage collector: what is owned goes with its last owner, before it, or becomes an orphan.
//!
//! **Contract**: the graph tells what to look at, live answers decide; deletions carry the identity and version that
//! was judged, so that nothing goes for a reason that no longer holds.
//! **Upstream**: `pkg/controller/garbagecollector`.

mod graph;
mod monitors;
mod plan;

use crate::discovery::Resource;
use crate::error::code;
use crate::workload::is_conflict;
use crate::{Error, Manager};
use client::{Action, AnyObject, Queue, controller};
use component_base::logging;
use graph::{Graph, Node, Place, Work};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::Request;
use monitors::Monitors;
use plan::{Owner, Verdict};
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "garbage-collector-controller";

/// Objects worked on at a time (`--concurrent-gc-syncs`).
const WORKERS: usize = 20;
/// Between two looks at what kinds there are, should nothing tell of a change (`Sync` period).
const SYNC: Duration = Duration::from_secs(30);
/// Before an object that was changed meanwhile is judged anew: the first delay of a failing key.
const CONFLICT: Duration = Duration::from_millis(5);

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let (queue, graph) = (Queue::new(&manager.context.clock), Arc::<Mutex<Graph>>::default());
    let monitors = Arc::new(Monitors::new(&manager, graph.clone(), queue.clone()));
    let context = manager.context.clone();
    let collector = Arc::new(Collector { manager, graph, monitors: monitors.clone(), queue: queue.clone() });
    context.shutdown.spawn(async move { collector.run(queue).await });
    context.shutdown.requested().await;
}

struct Collector {
    manager: Manager,
    graph: Arc<Mutex<Graph>>,
    monitors: Arc<Monitors>,
    queue: Queue<Work>,
}

impl Collector {
    /// Knows all kinds first, then works, and keeps knowing them.
    async fn run(self: Arc<Self>, queue: Queue<Work>) {
        let mut working = false;
        loop {
            match self.monitors.sync().await {
                Ok(()) if !working => {
                    working = true;
                    let (collector, queue) = (self.clone(), queue.clone());
                    self.manager.context.shutdown.spawn(async move { collector.work(queue).await });
                }
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(controller = NAME, error = %logging::Chain(&error), "could not find all kinds, will retry");
                }
            }
            let _ = tokio::time::timeout(SYNC, self.monitors.kinds_changed.notified()).await;
        }
    }

    async fn work(self: Arc<Self>, queue: Queue<Work>) {
        tracing::debug!(controller = NAME, objects = self.graph().len(), "all kinds are known");
        let context = self.manager.context.clone();
        controller::run(NAME, &context, WORKERS, queue, move |work: Work| {
            let collector = self.clone();
            async move {
                let result = match work {
                    Work::Delete(uid) => collector.attempt_to_delete(&uid).await,
                    Work::Orphan(uid) => collector.orphan(&uid).await,
                };
                match result {
                    Ok(()) => Ok(Action::Done),
                    // Somebody was faster: judge what is there now.
                    Err(Error::Request(failed)) if is_conflict(&failed.source) => {
                        Ok(Action::RequeueAfter(CONFLICT))
                    }
                    Err(error) => Err(error),
                }
            }
        })
        .await;
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, work: Vec<Work>) {
        work.into_iter().for_each(|work| self.queue.add(work));
    }

    /// Looks whether an object is to go.
    async fn attempt_to_delete(&self, uid: &str) -> Result<(), Error> {
        let Some(node) = self.graph().get(uid) else { return Ok(()) };
        if node.being_deleted && !node.deleting_dependents {
            return Ok(());
        }
        let live = self.get(&node.place).await?;
        let Some(live) = live.filter(|live| live.uid.as_deref() == Some(uid)) else {
            // The watch will tell the same, or (of what is virtual) nothing ever.
            let work = self.graph().removed(uid);
            self.add(work);
            return Ok(());
        };
        if node.deleting_dependents {
            return self.delete_dependents(&node, &live).await;
        }
        let mut owners = Vec::new();
        for owner in live.owner_references.iter().flatten() {
            owners.push((owner.clone(), self.classify(owner, &node.place.namespace).await?));
        }
        let dependents: Vec<bool> =
            self.graph().dependents(uid).iter().map(|dependent| dependent.deleting_dependents).collect();
        match plan::judge(&live, &owners, &dependents) {
            Verdict::Keep => Ok(()),
            Verdict::Disown(owners) => self.set_owners(&node.place, &live, &owners).await,
            Verdict::Delete(policy) => self.delete(&node.place, &live, policy).await,
            Verdict::BreakCircle(owners) => {
                self.set_owners(&node.place, &live, &owners).await?;
                let live = ObjectMeta { resource_version: None, ..live };
                self.delete(&node.place, &live, PropagationPolicy::Foreground).await
            }
        }
    }

    /// Goes on with an owner that waits for its dependents.
    async fn delete_dependents(&self, node: &Node, live: &ObjectMeta) -> Result<(), Error> {
        let blocking = self.graph().blocking(&node.place.uid);
        if blocking.is_empty() {
            return self.drop_finalizer(&node.place, live, api::well_known::finalizer::FOREGROUND).await;
        }
        let waiting = blocking.into_iter().filter(|dependent| !dependent.deleting_dependents);
        self.add(waiting.map(|dependent| Work::Delete(dependent.place.uid)).collect());
        Ok(())
    }

    async fn classify(&self, owner: &OwnerReference, namespace: &str) -> Result<Owner, Error> {
        let place = Place::of(owner, namespace);
        if self.graph().is_absent(&place) {
            return Ok(Owner::Dangling);
        }
        let class = plan::classify(owner, self.get(&place).await?.as_ref());
        if class == Owner::Dangling {
            self.graph().note_absent(place);
        }
        Ok(class)
    }

    /// Takes an owner's reference out of all its dependents, then lets it go.
    async fn orphan(&self, uid: &str) -> Result<(), Error> {
        let (Some(node), dependents) = ({
            let graph = self.graph();
            (graph.get(uid), graph.dependents(uid))
        }) else {
            return Ok(());
        };
        for dependent in dependents {
            let Some(live) = self.get(&dependent.place).await? else { continue };
            if live.uid.as_deref() != Some(&dependent.place.uid) {
                continue;
            }
            let owners: Vec<_> =
                live.owner_references.iter().flatten().filter(|owner| owner.uid != uid).cloned().collect();
            if owners.len() != live.owner_references.iter().flatten().count() {
                self.set_owners(&dependent.place, &live, &owners).await?;
            }
        }
        match self.get(&node.place).await?.filter(|live| live.uid.as_deref() == Some(uid)) {
            Some(live) => self.drop_finalizer(&node.place, &live, api::well_known::finalizer::ORPHAN).await,
            None => Ok(()),
        }
    }

    fn request(&self, place: &Place) -> Result<Request, Error> {
        let Some(resource) = self.monitors.resource(place.group(), &place.kind) else {
            return Err(Error::UnknownKind {
                kind: place.kind.clone(),
                api_version: place.api_version.clone(),
            });
        };
        let Resource { namespaced, .. } = resource;
        Ok(Request::new(resource.path(if namespaced { &place.namespace } else { "" })))
    }

    /// Metadata as it is now.
    async fn get(&self, place: &Place) -> Result<Option<ObjectMeta>, Error> {
        let request = self.request(place)?.get_metadata(&place.name, &GetParams::default());
        let request = request.map_err(kube::Error::BuildRequest).map_err(Error::request("get", place))?;
        match self.manager.client.request::<AnyObject>(request).await {
            Ok(object) => Ok(Some(object.metadata)),
            Err(error) if code(&error) == 404 => Ok(None),
            Err(error) => Err(Error::request("get", place)(error)),
        }
    }

    async fn delete(&self, place: &Place, live: &ObjectMeta, policy: PropagationPolicy) -> Result<(), Error> {
        let preconditions =
            Preconditions { uid: live.uid.clone(), resource_version: live.resource_version.clone() };
        let options = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let request = self.request(place)?.delete(&place.name, &options);
        self.send("delete", place, request).await
    }

    async fn set_owners(
        &self,
        place: &Place,
        live: &ObjectMeta,
        owners: &[OwnerReference],
    ) -> Result<(), Error> {
        self.patch(place, live, "ownerReferences", json!(owners)).await
    }

    async fn drop_finalizer(&self, place: &Place, live: &ObjectMeta, finalizer: &str) -> Result<(), Error> {
        let left: Vec<_> = live.finalizers.iter().flatten().filter(|known| *known != finalizer).collect();
        if left.len() == live.finalizers.iter().flatten().count() {
            return Ok(());
        }
        self.patch(place, live, "finalizers", json!(left)).await
    }

    /// Changes one field of metadata, if the object is still as it was seen.
    async fn patch(
        &self,
        place: &Place,
        live: &ObjectMeta,
        field: &str,
        value: serde_json::Value,
    ) -> Result<(), Error> {
        let change = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version, field: value,
        }});
        let request = self.request(place)?.patch(&place.name, &PatchParams::default(), &Patch::Merge(change));
        self.send("patch", place, request).await
    }

    async fn send(
        &self,
        verb: &'static str,
        place: &Place,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<(), Error> {
        let request = request.map_err(kube::Error::BuildRequest).map_err(Error::request(verb, place))?;
        match self.manager.client.request_text(request).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == 404 => Ok(()),
            Err(error) => Err(Error::request(verb, place)(error)),
        }
    }
}
