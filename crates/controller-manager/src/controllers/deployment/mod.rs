//! Deployments: a ReplicaSet a template, and the way from one to the next.
//!
//! **Contract**: writes go to ReplicaSets and to the Deployment's status, never to pods.
//! **Upstream**: `pkg/controller/deployment`.

mod plan;
mod rolling;
mod sets;
mod status;

use crate::error::{code, is_namespace_terminating};
use crate::workload::owned::{self, Owned};
use crate::workload::{already_exists, is_conflict, message, write_status};
use crate::{Error, Manager};
use client::events::Type;
use client::{Action, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use plan::{Plan, Step, View};
use serde_json::json;
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "deployment-controller";

/// Deployments worked on at a time (`--concurrent-deployment-syncs`).
const WORKERS: usize = 5;

struct Shell {
    manager: Manager,
    recorder: Recorder,
    deployments: Informer<Deployment>,
    sets: Owned<ReplicaSet>,
    pods: Owned<Pod>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let deployments = manager.informers.of::<Deployment>();
    let sets = Owned::new(&manager.informers.of::<ReplicaSet>());
    let pods = Owned::new(&manager.informers.of::<Pod>());
    deployments.feed(&manager.context, &queue, |deployment| [Key::of(deployment)]);
    let known = deployments.clone();
    sets.informer().feed(&manager.context, &queue, move |set| interested(&known, set));
    // A pod that ends may be the last that a recreation waits for.
    let (known, all_sets) = (deployments.clone(), sets.informer().clone());
    pods.informer().feed(&manager.context, &queue, move |pod| recreating(&known, &all_sets, pod));
    deployments.synced().await;
    sets.informer().synced().await;
    pods.informer().synced().await;
    let recorder = Recorder::new(manager.client.clone(), NAME, None, &manager.context);
    let context = manager.context.clone();
    let shell = Arc::new(Shell { manager, recorder, deployments, sets, pods });
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

/// The Deployments that a ReplicaSet concerns.
fn interested(deployments: &Informer<Deployment>, set: &ReplicaSet) -> Vec<Key> {
    if owned::controller_of(set).is_some() {
        return owned::controller_key::<Deployment, _>(set).into_iter().collect();
    }
    let deployments = deployments.list_in(set.metadata.namespace.as_deref().unwrap_or_default());
    let selects = |deployment: &&Arc<Deployment>| {
        owned::selects(&owned::selector(&sets::spec(deployment).selector), set.metadata.labels.as_ref())
    };
    deployments.iter().filter(selects).map(|deployment| Key::of(deployment.as_ref())).collect()
}

/// The Deployment of a pod, if it waits for the ends of pods.
fn recreating(deployments: &Informer<Deployment>, sets: &Informer<ReplicaSet>, pod: &Pod) -> Option<Key> {
    let set = owned::controller_key::<ReplicaSet, _>(pod)?;
    let key = match sets.get_key(&set) {
        Some(set) => owned::controller_key::<Deployment, _>(set.as_ref())?,
        None => return None,
    };
    let deployment = deployments.get_key(&key)?;
    (!sets::is_rolling(&deployment)).then_some(key)
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(deployment) = self.deployments.get_key(key) else { return Ok(Action::Done) };
        if plan::selects_everything(&deployment) {
            let told = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.on(deployment.as_ref(), Type::Warning, "SelectingAll", told);
            let mut status = deployment.status.clone().unwrap_or_default();
            status.observed_generation = deployment.metadata.generation;
            self.update_status(&deployment, status, None).await?;
            return Ok(Action::Done);
        }
        let selector = owned::selector(&sets::spec(&deployment).selector);
        let sets = self.sets.claim(&self.manager, &*deployment, &selector, |_| true, &json!({})).await?;
        let uids = sets.iter().filter_map(|set| set.metadata.uid.as_deref());
        let pods: Vec<Arc<Pod>> = uids.flat_map(|uid| self.pods.by_uid(uid)).collect();
        let sets: Vec<ReplicaSet> = sets.iter().map(|set| set.as_ref().clone()).collect();
        let now = self.manager.context.clock.now();
        let view = View { deployment: &deployment, sets, pods: &pods, now };
        let Plan { steps, status, revision, again } = plan::plan(view);
        for step in steps {
            if !self.take(&deployment, step, &status).await? {
                return Ok(Action::Done);
            }
        }
        self.update_status(&deployment, status, revision).await?;
        Ok(again.map_or(Action::Done, Action::RequeueAfter))
    }

    fn api(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.manager.client.clone(), namespace)
    }

    /// Does one thing; whether the plan still holds afterwards.
    async fn take(
        &self,
        deployment: &Deployment,
        step: Step,
        planned: &DeploymentStatus,
    ) -> Result<bool, Error> {
        let api = self.api(deployment);
        let scaled = |told: String| self.recorder.on(deployment, Type::Normal, "ScalingReplicaSet", told);
        let revision = match step {
            Step::Create(set) => match api.create(&PostParams::default(), &set).await {
                Ok(created) => {
                    if sets::size(&set) > 0 {
                        let (name, size) = (sets::name(&set), sets::size(&set));
                        scaled(format!("Scaled up replica set {name} from 0 to {size}"));
                    }
                    created.metadata.resource_version
                }
                Err(error) => return self.not_created(deployment, &set, error, planned).await,
            },
            Step::Update(set, told) => {
                match api.replace(sets::name(&set), &PostParams::default(), &set).await {
                    Ok(updated) => {
                        told.into_iter().for_each(scaled);
                        updated.metadata.resource_version
                    }
                    Err(error) if is_conflict(&error) || code(&error) == 404 => return Ok(false),
                    Err(error) => return Err(Error::request("update replica set", sets::name(&set))(error)),
                }
            }
            Step::Delete(name) => match api.delete(&name, &DeleteParams::default()).await {
                Err(error) if code(&error) != 404 => {
                    return Err(Error::request("delete replica set", name)(error));
                }
                _ => None,
            },
        };
        self.sets.informer().caught_up(&revision.unwrap_or_default()).await;
        Ok(true)
    }

    /// A ReplicaSet could not be made: there is one of its name, or the server does not want it.
    async fn not_created(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        error: kube::Error,
        planned: &DeploymentStatus,
    ) -> Result<bool, Error> {
        let name = sets::name(set);
        if already_exists(&error) {
            let api = self.api(deployment);
            let there = api.get_opt(name).await.map_err(Error::request("get replica set", name))?;
            let Some(there) = there else { return Err(Error::request("create replica set", name)(error)) };
            let template = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone());
            let same = match (template(&there), template(set)) {
                (Some(there), Some(wanted)) => sets::same_template(&there, &wanted),
                _ => false,
            };
            if same && owned::is_controlled_by(&there, deployment.metadata.uid.as_deref()) {
                // Ours, from before the cache knew: once it does, the next look uses it.
                let revision = there.metadata.resource_version.unwrap_or_default();
                self.sets.informer().caught_up(&revision).await;
                return Err(Error::request("create replica set", name)(error));
            }
            let mut status = deployment.status.clone().unwrap_or_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.update_status(deployment, status, None).await?;
            return Err(Error::request("create replica set", name)(error));
        }
        if !is_namespace_terminating(&error) {
            let told = format!("Failed to create new replica set \"{name}\": {}", message(&error));
            let mut status = DeploymentStatus {
                conditions: planned.conditions.clone(),
                ..deployment.status.clone().unwrap_or_default()
            };
            status::not_created(&mut status, deployment, told.clone(), self.manager.context.clock.now());
            self.update_status(deployment, status, None).await?;
            self.recorder.on(deployment, Type::Warning, "FailedCreate", told);
        }
        Err(Error::request("create replica set", name)(error))
    }

    async fn update_status(
        &self,
        deployment: &Deployment,
        status: DeploymentStatus,
        revision: Option<i64>,
    ) -> Result<(), Error> {
        if revision.is_none() && deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut changed = deployment.clone();
        changed.status = Some(status);
        if let Some(revision) = revision {
            let annotations = changed.metadata.annotations.get_or_insert_default();
            annotations.insert(sets::REVISION.to_owned(), revision.to_string());
        }
        write_status(&self.manager, &self.deployments, &changed).await
    }
}
