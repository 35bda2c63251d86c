//! ReplicaSets and ReplicationControllers: so many equal pods, neither more nor fewer.
//!
//! **Contract**: one implementation, one row a kind ([`kinds`]). Pods are adopted and released by their labels.
//! **Upstream**: `pkg/controller/replicaset`, `pkg/controller/replication`.

mod kinds;
mod plan;
mod rank;

use crate::workload::availability::{is_active, next_available};
use crate::workload::owned::{self, Owned};
use crate::workload::pod_control::{Outcome, PodControl, is_pointless, pod_from_template};
use crate::workload::{message, write_status};
use crate::{Error, Manager};
use api::pod;
use client::{Action, Informer, Key, Queue, Recorder, controller};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kinds::Replicated;
use plan::Failure;
use serde_json::json;
use std::sync::Arc;

/// As upstream calls it.
pub const REPLICA_SET: &str = <ReplicaSet as Replicated>::NAME;
/// As upstream calls it.
pub const REPLICATION_CONTROLLER: &str = <ReplicationController as Replicated>::NAME;

/// Sets worked on at a time (`--concurrent-replicaset-syncs`).
const WORKERS: usize = 5;

/// Runs the controller of ReplicaSets until the manager's context ends.
pub async fn run_replica_sets(manager: Manager) {
    run::<ReplicaSet>(manager).await;
}

/// Runs the controller of ReplicationControllers until the manager's context ends.
pub async fn run_replication_controllers(manager: Manager) {
    run::<ReplicationController>(manager).await;
}

struct Shell<K> {
    manager: Manager,
    recorder: Recorder,
    sets: Informer<K>,
    /// The sets by what controls them: those of one Deployment.
    siblings: Owned<K>,
    pods: Owned<Pod>,
}

async fn run<K: Replicated>(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (sets, pods) = (manager.informers.of::<K>(), manager.informers.of::<Pod>());
    let pods = Owned::new(&pods);
    let known = sets.clone();
    sets.feed(&manager.context, &queue, |set| [Key::of(set)]);
    pods.informer().feed(&manager.context, &queue, move |pod| interested(&known, pod));
    sets.synced().await;
    pods.informer().synced().await;
    let recorder = Recorder::new(manager.client.clone(), K::COMPONENT, None, &manager.context);
    let context = manager.context.clone();
    let siblings = Owned::new(&sets);
    let shell = Arc::new(Shell { manager, recorder, sets, siblings, pods });
    controller::run(K::NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

/// The sets that a pod concerns: its controller, or all that would adopt it.
fn interested<K: Replicated>(sets: &Informer<K>, pod: &Pod) -> Vec<Key> {
    if owned::controller_of(pod).is_some() {
        return owned::controller_key::<K, _>(pod).into_iter().collect();
    }
    let sets = sets.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
    let selects = |set: &&Arc<K>| {
        let spec = set.as_set().spec.unwrap_or_default();
        owned::selects(&owned::selector(&spec.selector), pod.metadata.labels.as_ref())
    };
    sets.iter().filter(selects).map(|set| Key::of(set.as_ref())).collect()
}

impl<K: Replicated> Shell<K> {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(object) = self.sets.get_key(key) else { return Ok(Action::Done) };
        let set = object.as_set();
        let selector = set.spec.as_ref().map(|spec| owned::selector(&spec.selector)).unwrap_or_default();
        let pods = self.pods.claim(&self.manager, &*object, &selector, is_active, &json!({})).await?;
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let terminating = self.pods.by_uid(uid);
        let terminating =
            terminating.iter().filter(|pod| pod::is_terminating(pod) && !pod::is_terminal(pod)).count();
        let now = self.manager.context.clock.now();
        let mut result = Ok(());
        if set.metadata.deletion_timestamp.is_none() {
            result = self.manage(&object, &set, &pods, now).await;
        }
        let failure = result.as_ref().err().map(|error| failure(&set, &pods, error));
        let status = plan::status(&set, &pods, terminating, failure, now);
        self.update_status(&object, &set, status).await?;
        result?;
        let next = next_available(pods.iter().map(AsRef::as_ref), plan::min_ready_seconds(&set), now);
        Ok(next.map_or(Action::Done, Action::RequeueAfter))
    }

    async fn manage(
        &self,
        object: &K,
        set: &ReplicaSet,
        pods: &[Arc<Pod>],
        now: Timestamp,
    ) -> Result<(), Error> {
        let plan = plan::manage(set, pods, || self.related(object), now);
        let control = PodControl::new(&self.manager, &self.recorder, object);
        let Outcome { revision, error, .. } = if plan.create > 0 {
            let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
            control.create_all(vec![pod_from_template(&template, object); plan.create]).await
        } else {
            control.delete_all(plan.delete).await
        };
        self.pods.informer().caught_up(&revision).await;
        match error {
            Some(error) if !is_pointless(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The active pods of all sets that have this set's controller.
    fn related(&self, object: &K) -> Vec<Arc<Pod>> {
        let siblings = match owned::controller_of(object) {
            Some(controller) => self.siblings.by_uid(&controller.uid),
            None => vec![Arc::new(object.clone())],
        };
        let uids = siblings.iter().filter_map(|set| set.meta().uid.clone());
        let pods = uids.flat_map(|uid| self.pods.by_uid(&uid));
        pods.filter(|pod| is_active(pod)).collect()
    }

    async fn update_status(
        &self,
        object: &K,
        set: &ReplicaSet,
        mut status: ReplicaSetStatus,
    ) -> Result<(), Error> {
        let known = set.status.clone().unwrap_or_default();
        if !K::TELLS_TERMINATING {
            status.terminating_replicas = None;
        }
        if known == status {
            return Ok(());
        }
        write_status(&self.manager, &self.sets, &object.with_status(status)).await
    }
}

fn failure(set: &ReplicaSet, pods: &[Arc<Pod>], error: &Error) -> Failure {
    let lacking = i64::from(plan::replicas(set)) > i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let reason = if lacking { "FailedCreate" } else { "FailedDelete" };
    let message = match error {
        Error::Request(failed) => message(&failed.source),
        other => other.to_string(),
    };
    Failure { reason, message }
}
