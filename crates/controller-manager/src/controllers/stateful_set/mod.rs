//! StatefulSets: pods with names, order and storage of their own.
//!
//! **Upstream**: `pkg/controller/statefulset`.

mod claims;
mod identity;
mod plan;

use crate::error::code;
use crate::workload::availability::next_available;
use crate::workload::owned::{self, Owned};
use crate::workload::revisions::{self, Ensured};
use crate::workload::{message, write_status};
use crate::{Error, Manager};
use api::pod;
use client::events::Type;
use client::{Action, Informer, Key, Queue, Recorder, controller};
use identity::{name, spec};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::api::{Api, DeleteParams, PostParams};
use plan::{Step, Version, View};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "statefulset-controller";

/// StatefulSets worked on at a time (`--concurrent-statefulset-syncs`).
const WORKERS: usize = 5;
/// The label with the hash of a revision's template.
const HASH: &str = "controller.kubernetes.io/hash";

struct Shell {
    manager: Manager,
    recorder: Recorder,
    sets: Informer<StatefulSet>,
    pods: Owned<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Owned<ControllerRevision>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let sets = manager.informers.of::<StatefulSet>();
    let claims = manager.informers.of::<PersistentVolumeClaim>();
    let pods = Owned::new(&manager.informers.of::<Pod>());
    let revisions = Owned::new(&manager.informers.of::<ControllerRevision>());
    sets.feed(&manager.context, &queue, |set| [Key::of(set)]);
    let known = sets.clone();
    pods.informer().feed(&manager.context, &queue, move |pod| interested(&known, pod));
    sets.synced().await;
    claims.synced().await;
    pods.informer().synced().await;
    revisions.informer().synced().await;
    let recorder = Recorder::new(manager.client.clone(), NAME, None, &manager.context);
    let context = manager.context.clone();
    let shell = Arc::new(Shell { manager, recorder, sets, pods, claims, revisions });
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

/// The StatefulSets that a pod concerns.
fn interested(sets: &Informer<StatefulSet>, pod: &Pod) -> Vec<Key> {
    if owned::controller_of(pod).is_some() {
        return owned::controller_key::<StatefulSet, _>(pod).into_iter().collect();
    }
    let sets = sets.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
    let selects = |set: &&Arc<StatefulSet>| {
        owned::selects(&owned::selector(&spec(set).selector), pod.metadata.labels.as_ref())
    };
    sets.iter().filter(selects).map(|set| Key::of(set.as_ref())).collect()
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(set) = self.sets.get_key(key) else { return Ok(Action::Done) };
        let selector = owned::selector(&spec(&set).selector);
        let history = revisions::history(&self.manager, &self.revisions, &*set, &selector).await?;
        let member = |pod: &Pod| identity::is_member(&set, pod);
        let pods = self.pods.claim(&self.manager, &*set, &selector, member, &json!({})).await?;
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let snapshot = revisions::snapshot(&*set, &spec(&set).template, Some(collisions.unwrap_or(0)), HASH);
        let update = match revisions::ensure(&self.manager, &self.revisions, &history, snapshot).await? {
            Ensured::Exists(update) => update,
            Ensured::Collision => {
                let mut status = set.status.clone().unwrap_or_default();
                status.collision_count = Some(collisions.unwrap_or(0) + 1);
                self.update_status(&set, status).await?;
                return Ok(Action::Done);
            }
        };
        let known = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let current = history.iter().find(|revision| Some(revisions::name(revision)) == known);
        let current = current.map_or(update.as_ref(), |revision| revision.as_ref());
        let current_template = template(current).unwrap_or_else(|| spec(&set).template.clone());
        let now = self.manager.context.clock.now();
        let view = View {
            set: &set,
            current: Version { name: revisions::name(current), template: &current_template },
            update: Version { name: revisions::name(&update), template: &spec(&set).template },
            pods: &pods,
            collisions,
            now,
        };
        let result = self.carry_out(&set, plan::plan(&view), &pods).await;
        self.update_status(&set, plan::status(&view)).await?;
        result?;
        self.clean_up(&set, &history, &pods, [revisions::name(current), revisions::name(&update)]).await?;
        let next = next_available(pods.iter().map(AsRef::as_ref), plan::min_ready_seconds(&set), now);
        let next = next.into_iter().chain(plan::next_recreation(&view)).min();
        Ok(next.map_or(Action::Done, Action::RequeueAfter))
    }

    async fn carry_out(&self, set: &StatefulSet, steps: Vec<Step>, pods: &[Arc<Pod>]) -> Result<(), Error> {
        self.retain_claims(set, pods).await?;
        let mut written = String::new();
        for step in steps {
            if let Some(revision) = self.take(set, step).await? {
                written = revision;
            }
        }
        self.pods.informer().caught_up(&written).await;
        Ok(())
    }

    fn pods(&self, set: &StatefulSet) -> Api<Pod> {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.manager.client.clone(), namespace)
    }

    /// Does one thing; the revision that it wrote.
    async fn take(&self, set: &StatefulSet, step: Step) -> Result<Option<String>, Error> {
        match step {
            Step::Create(pod, ordinal) => {
                self.make_claims(set, ordinal).await?;
                let result = self.pods(set).create(&PostParams::default(), &pod).await;
                // It is there: the cache will tell, and whose it is.
                let result = match result {
                    Err(error) if code(&error) == 409 => return self.wait_for(set, &pod).await,
                    result => result,
                };
                let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
                self.tell(set, "create", &format!("Pod {pod_name}"), &result);
                let created = result.map_err(Error::request("create", format!("pod {pod_name}")))?;
                Ok(created.metadata.resource_version)
            }
            Step::Delete(pod) => self.delete(set, &pod).await,
            Step::Recreate(pod) => {
                let key = Key::of(set);
                let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
                if pod::phase(&pod) == "Failed" {
                    let told = format!("StatefulSet {key} is recreating failed Pod {pod_name}");
                    self.recorder.on(set, Type::Warning, "RecreatingFailedPod", told);
                } else {
                    let told = format!("StatefulSet {key} is recreating terminated Pod {pod_name}");
                    self.recorder.on(set, Type::Normal, "RecreatingTerminatedPod", told);
                }
                self.delete(set, &pod).await
            }
            Step::Claims(ordinal) => {
                self.make_claims(set, ordinal).await?;
                Ok(None)
            }
            Step::Label(pod) => {
                let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
                match self.pods(set).replace(pod_name, &PostParams::default(), &pod).await {
                    Ok(written) => Ok(written.metadata.resource_version),
                    Err(error) if [404, 409].contains(&code(&error)) => Ok(None),
                    Err(error) => Err(Error::request("update", format!("pod {pod_name}"))(error)),
                }
            }
        }
    }

    /// Waits until the cache has a pod that is there already.
    async fn wait_for(&self, set: &StatefulSet, pod: &Pod) -> Result<Option<String>, Error> {
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        let there = self.pods(set).get_opt(pod_name).await;
        let there = there.map_err(Error::request("get", format!("pod {pod_name}")))?;
        let revision = there.as_ref().and_then(|there| there.metadata.resource_version.clone());
        match there {
            Some(there) if !owned::is_controlled_by(&there, set.metadata.uid.as_deref()) => {
                Err(Error::Occupied {
                    what: format!("pod {}", Key::of(&there)),
                    by: Key::of(set).to_string(),
                })
            }
            _ => Ok(revision),
        }
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod) -> Result<Option<String>, Error> {
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        let result = self.pods(set).delete(pod_name, &DeleteParams::default()).await;
        let result = match result {
            Err(error) if code(&error) == 404 => return Ok(None),
            result => result,
        };
        self.tell(set, "delete", &format!("Pod {pod_name}"), &result);
        let answer = result.map_err(Error::request("delete", format!("pod {pod_name}")))?;
        Ok(answer.left().and_then(|pod| pod.metadata.resource_version))
    }

    /// The event of a write.
    fn tell<T>(&self, set: &StatefulSet, verb: &str, what: &str, result: &kube::Result<T>) {
        let done = if verb == "create" { "Create" } else { "Delete" };
        match result {
            Ok(_) => {
                let told = format!("{verb} {what} in StatefulSet {} successful", name(set));
                self.recorder.on(set, Type::Normal, &format!("Successful{done}"), told);
            }
            Err(error) => {
                let told =
                    format!("{verb} {what} in StatefulSet {} failed error: {}", name(set), message(error));
                self.recorder.on(set, Type::Warning, &format!("Failed{done}"), told);
            }
        }
    }

    async fn clean_up(
        &self,
        set: &StatefulSet,
        history: &[Arc<ControllerRevision>],
        pods: &[Arc<Pod>],
        live: [&str; 2],
    ) -> Result<(), Error> {
        let mut used: BTreeSet<_> = pods.iter().map(|pod| identity::revision(pod).to_owned()).collect();
        used.extend(live.map(str::to_owned));
        let limit = spec(set).revision_history_limit.unwrap_or(10);
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        revisions::delete(&self.manager, namespace, revisions::surplus(history, &used, limit)).await
    }

    async fn update_status(&self, set: &StatefulSet, status: StatefulSetStatus) -> Result<(), Error> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        write_status(&self.manager, &self.sets, &StatefulSet { status: Some(status), ..set.clone() }).await
    }
}

/// The template that a revision keeps.
fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.get("spec")?.get("template")?.clone();
    template.as_object_mut()?.shift_remove("$patch");
    serde_json::from_value(template).ok()
}
