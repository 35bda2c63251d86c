//! DaemonSets: a pod on every node that is meant.
//!
//! **Upstream**: `pkg/controller/daemon`.

mod plan;

use crate::workload::availability::next_available;
use crate::workload::owned::{self, Owned};
use crate::workload::pod_control::{PodControl, is_pointless};
use crate::workload::revisions::{self, Ensured};
use crate::workload::write_status;
use crate::{Error, Manager};
use api::pod;
use client::events::Type;
use client::{Action, Delta, Informer, Key, Queue, Recorder, controller};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use plan::{Plan, View};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "daemonset-controller";

/// DaemonSets worked on at a time (`--concurrent-daemonset-syncs`).
const WORKERS: usize = 2;
/// Pods that one look makes at most (`BurstReplicas`).
const BURST: usize = 250;
/// Back-off of pods that fail again and again (`failedPodsBackoff`).
const FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15 * 60));

struct Shell {
    manager: Manager,
    recorder: Recorder,
    sets: Informer<DaemonSet>,
    pods: Owned<Pod>,
    nodes: Informer<Node>,
    revisions: Owned<ControllerRevision>,
    failed: Mutex<HashMap<String, Failed>>,
}

/// How a pod failed on a node so far.
#[derive(Clone, Copy)]
struct Failed {
    delay: Duration,
    last: Timestamp,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (sets, nodes) = (manager.informers.of::<DaemonSet>(), manager.informers.of::<Node>());
    let pods = Owned::new(&manager.informers.of::<Pod>());
    let revisions = Owned::new(&manager.informers.of::<ControllerRevision>());
    sets.feed(&manager.context, &queue, |set| [Key::of(set)]);
    let known = sets.clone();
    pods.informer()
        .feed(&manager.context, &queue, move |pod| interested(&known, pod, pod.metadata.labels.as_ref()));
    let known = sets.clone();
    revisions.informer().feed(&manager.context, &queue, move |revision| {
        interested(&known, revision, revision.metadata.labels.as_ref())
    });
    feed_by_nodes(&manager, &sets, &nodes, &queue);
    sets.synced().await;
    nodes.synced().await;
    pods.informer().synced().await;
    revisions.informer().synced().await;
    let recorder = Recorder::new(manager.client.clone(), NAME, None, &manager.context);
    let context = manager.context.clone();
    let shell = Arc::new(Shell { manager, recorder, sets, pods, nodes, revisions, failed: Mutex::default() });
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

/// The DaemonSets that a pod or revision concerns.
fn interested<K: kube::Resource>(
    sets: &Informer<DaemonSet>,
    object: &K,
    labels: Option<&std::collections::BTreeMap<String, String>>,
) -> Vec<Key> {
    if owned::controller_of(object).is_some() {
        return owned::controller_key::<DaemonSet, _>(object).into_iter().collect();
    }
    let sets = sets.list_in(object.meta().namespace.as_deref().unwrap_or_default());
    let selects = |set: &&Arc<DaemonSet>| owned::selects(&owned::selector(&plan::spec(set).selector), labels);
    sets.iter().filter(selects).map(|set| Key::of(set.as_ref())).collect()
}

/// All DaemonSets are looked at when a node comes, goes, or is another as far as pods are chosen by it.
fn feed_by_nodes(manager: &Manager, sets: &Informer<DaemonSet>, nodes: &Informer<Node>, queue: &Queue<Key>) {
    let (mut changes, sets, queue) = (nodes.subscribe(), sets.clone(), queue.clone());
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    manager.context.shutdown.spawn(async move {
        while let Some(delta) = changes.recv().await {
            let matters = match &delta {
                Delta::Added(_) | Delta::Deleted(_) => true,
                Delta::Updated { old, new } => {
                    old.metadata.labels != new.metadata.labels || taints(old) != taints(new)
                }
                Delta::Synced => false,
            };
            if matters {
                sets.list().iter().for_each(|set| queue.add(Key::of(set.as_ref())));
            }
        }
    });
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(set) = self.sets.get_key(key) else { return Ok(Action::Done) };
        let selector = owned::selector(&plan::spec(&set).selector);
        if selector.is_everything() {
            let told = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.on(set.as_ref(), Type::Warning, "SelectingAll", told);
            return Ok(Action::Done);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let history = revisions::history(&self.manager, &self.revisions, &*set, &selector).await?;
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let snapshot = revisions::snapshot(&*set, &plan::spec(&set).template, collisions, plan::HASH);
        let current = match revisions::ensure(&self.manager, &self.revisions, &history, snapshot).await? {
            Ensured::Exists(current) => current,
            Ensured::Collision => {
                let mut status = set.status.clone().unwrap_or_default();
                status.collision_count = Some(collisions.unwrap_or(0) + 1);
                self.update_status(&set, status).await?;
                return Ok(Action::Done);
            }
        };
        let hash = current.metadata.labels.as_ref().and_then(|labels| labels.get(plan::HASH).cloned());
        let hash = hash.unwrap_or_default();
        let pods = self.pods.claim(&self.manager, &*set, &selector, |_| true, &json!({})).await?;
        let (nodes, now) = (self.nodes.list(), self.manager.context.clock.now());
        let view = View { set: &set, hash: &hash, nodes: &nodes, pods: &pods, now };
        let (result, again) = self.carry_out(&set, &hash, plan::plan(&view), now).await;
        self.update_status(&set, plan::status(&view)).await?;
        result?;
        self.clean_up(&set, &history, &pods, revisions::name(&current)).await?;
        let available = next_available(pods.iter().map(AsRef::as_ref), plan::min_ready_seconds(&set), now);
        Ok([again, available].into_iter().flatten().min().map_or(Action::Done, Action::RequeueAfter))
    }

    /// Makes and deletes pods; how long until a failed one may be replaced.
    async fn carry_out(
        &self,
        set: &DaemonSet,
        hash: &str,
        plan: Plan,
        now: Timestamp,
    ) -> (Result<(), Error>, Option<Duration>) {
        let control = PodControl::new(&self.manager, &self.recorder, set);
        let (mut delete, mut again) = (plan.delete, None::<Duration>);
        for (pod, node) in plan.ended {
            match self.backoff(set, hash, &pod, &node, now) {
                None => {
                    let name = Key::of(pod.as_ref());
                    let (kind, reason, told) = if pod::phase(&pod) == "Failed" {
                        let told =
                            format!("Found failed daemon pod {name} on node {node}, will try to kill it");
                        (Type::Warning, "FailedDaemonPod", told)
                    } else {
                        let told = format!(
                            "Found succeeded daemon pod {name} on node {node}, will try to delete it"
                        );
                        (Type::Normal, "SucceededDaemonPod", told)
                    };
                    self.recorder.on(set, kind, reason, told);
                    delete.push(pod);
                }
                Some(wait) => again = Some(again.map_or(wait, |known| known.min(wait))),
            }
        }
        let pods = plan.create.iter().take(BURST).map(|node| plan::pod_for(set, hash, node)).collect();
        let created = control.create_all(pods).await;
        let deleted = control.delete_all(delete).await;
        self.pods.informer().caught_up(&created.revision).await;
        self.pods.informer().caught_up(&deleted.revision).await;
        let error = created.error.or(deleted.error).filter(|error| !is_pointless(error));
        (error.map_or(Ok(()), Err), again)
    }

    /// How long a failed pod of a node has to wait for its end; none if it may go now, which counts.
    fn backoff(
        &self,
        set: &DaemonSet,
        hash: &str,
        pod: &Pod,
        node: &str,
        now: Timestamp,
    ) -> Option<Duration> {
        if pod::phase(pod) != "Failed" {
            return None;
        }
        let key = format!("{}/{hash}/{node}", set.metadata.uid.as_deref().unwrap_or_default());
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        // What has been quiet for twice the longest delay starts anew.
        failed.retain(|_, known| elapsed(known.last, now) < FAILED.1 * 2);
        match failed.get_mut(&key) {
            Some(known) if elapsed(known.last, now) < known.delay => {
                Some(known.delay - elapsed(known.last, now))
            }
            Some(known) => {
                *known = Failed { delay: (known.delay * 2).min(FAILED.1), last: now };
                None
            }
            None => {
                failed.insert(key, Failed { delay: FAILED.0, last: now });
                None
            }
        }
    }

    async fn clean_up(
        &self,
        set: &DaemonSet,
        history: &[Arc<ControllerRevision>],
        pods: &[Arc<Pod>],
        current: &str,
    ) -> Result<(), Error> {
        let hashes: BTreeSet<_> =
            pods.iter().filter_map(|pod| pod.metadata.labels.as_ref()?.get(plan::HASH).cloned()).collect();
        let used = history.iter().filter(|revision| {
            let hash = revision.metadata.labels.as_ref().and_then(|labels| labels.get(plan::HASH));
            hash.is_some_and(|hash| hashes.contains(hash)) || revisions::name(revision) == current
        });
        let used = used.map(|revision| revisions::name(revision).to_owned()).collect();
        let limit = plan::spec(set).revision_history_limit.unwrap_or(10);
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        revisions::delete(&self.manager, namespace, revisions::surplus(history, &used, limit)).await
    }

    async fn update_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), Error> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        write_status(&self.manager, &self.sets, &DaemonSet { status: Some(status), ..set.clone() }).await
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}
