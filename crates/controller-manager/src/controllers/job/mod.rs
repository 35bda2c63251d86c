//! Jobs: pods that run to their end, so many times.
//!
//! **Contract**: each pod that ends is counted exactly once, whatever fails in between (see [`plan`]).
//! **Upstream**: `pkg/controller/job`.

mod indexes;
pub(super) mod plan;
mod policy;

use crate::error::code;
use crate::workload::owned::{self, Owned};
use crate::workload::pod_control::{PodControl, is_pointless, pod_from_template};
use crate::workload::write_status;
use crate::{Error, Manager};
use client::events::Type;
use client::{Action, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::api::{Api, Patch, PatchParams};
use plan::{Backoff, Plan, View};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// As upstream calls it.
pub const NAME: &str = "job-controller";

/// Jobs worked on at a time (`--concurrent-job-syncs`).
const WORKERS: usize = 5;
/// What `spec.managedBy` says of Jobs that are this controller's.
const MANAGED_BY: &str = "kubernetes.io/job-controller";
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";

struct Shell {
    manager: Manager,
    recorder: Recorder,
    jobs: Informer<Job>,
    pods: Owned<Pod>,
    backoffs: Mutex<HashMap<String, Backoff>>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let jobs = manager.informers.of::<Job>();
    let pods = Owned::new(&manager.informers.of::<Pod>());
    jobs.feed(&manager.context, &queue, |job| [Key::of(job)]);
    let known = jobs.clone();
    pods.informer().feed(&manager.context, &queue, move |pod| interested(&known, pod));
    jobs.synced().await;
    pods.informer().synced().await;
    let recorder = Recorder::new(manager.client.clone(), NAME, None, &manager.context);
    let context = manager.context.clone();
    let shell = Arc::new(Shell { manager, recorder, jobs, pods, backoffs: Mutex::default() });
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

/// The Jobs that a pod concerns.
fn interested(jobs: &Informer<Job>, pod: &Pod) -> Vec<Key> {
    if owned::controller_of(pod).is_some() {
        return owned::controller_key::<Job, _>(pod).into_iter().collect();
    }
    let jobs = jobs.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
    let selects = |job: &&Arc<Job>| owned::selects(&selector(job), pod.metadata.labels.as_ref());
    jobs.iter().filter(selects).map(|job| Key::of(job.as_ref())).collect()
}

fn selector(job: &Job) -> api::selector::LabelSelector {
    let selector = plan::spec(job).selector.as_ref();
    selector.map_or_else(api::selector::LabelSelector::nothing, owned::selector)
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(job) = self.jobs.get_key(key) else {
            self.release_orphans(key).await?;
            return Ok(Action::Done);
        };
        if plan::spec(&job).managed_by.as_deref().is_some_and(|manager| manager != MANAGED_BY) {
            return Ok(Action::Done);
        }
        let finalizer = json!({"finalizers": [plan::FINALIZER]});
        let pods = self.pods.claim(&self.manager, &*job, &selector(&job), |_| true, &finalizer).await?;
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let backoff = self.backoffs().get(&uid).copied().unwrap_or_default();
        let view = View { job: &job, pods: &pods, backoff, now: self.manager.context.clock.now() };
        let Plan { create, delete, forget, release, status, events, again, backoff } = plan::plan(&view);
        if plan::finished(&job).is_some() {
            self.backoffs().remove(&uid);
        } else {
            self.backoffs().insert(uid, backoff);
        }
        let result = self.change_pods(&job, create, delete, forget).await;
        if !self.update_status(&job, status).await? {
            // What was counted is not written: nothing may be released by it.
            result?;
            return Ok(Action::Done);
        }
        for (warning, reason, message) in events {
            let kind = if warning { Type::Warning } else { Type::Normal };
            self.recorder.on(job.as_ref(), kind, &reason, message);
        }
        self.release(release).await?;
        result?;
        Ok(again.map_or(Action::Done, Action::RequeueAfter))
    }

    fn backoffs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Backoff>> {
        self.backoffs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn change_pods(
        &self,
        job: &Job,
        create: Vec<(Option<i32>, u32)>,
        mut delete: Vec<Arc<Pod>>,
        forget: Vec<Arc<Pod>>,
    ) -> Result<(), Error> {
        self.release(forget.clone()).await?;
        delete.extend(forget);
        let control = PodControl::new(&self.manager, &self.recorder, job);
        let pods = create.into_iter().map(|(index, failures)| pod(job, index, failures)).collect();
        let (created, deleted) = (control.create_all(pods).await, control.delete_all(delete).await);
        self.pods.informer().caught_up(&created.revision).await;
        self.pods.informer().caught_up(&deleted.revision).await;
        let error = created.error.or(deleted.error).filter(|error| !is_pointless(error));
        error.map_or(Ok(()), Err)
    }

    /// Writes the status; whether the Job has it now.
    async fn update_status(&self, job: &Job, status: JobStatus) -> Result<bool, Error> {
        if job.status.as_ref() == Some(&status) {
            return Ok(true);
        }
        write_status(&self.manager, &self.jobs, &Job { status: Some(status.clone()), ..job.clone() }).await?;
        let written = self.jobs.get_key(&Key::of(job));
        Ok(written.is_some_and(|written| written.status.as_ref() == Some(&status)))
    }

    /// Takes the finalizer off pods that are counted.
    async fn release(&self, pods: Vec<Arc<Pod>>) -> Result<(), Error> {
        let mut written = String::new();
        for pod in pods {
            let Key { namespace, name } = Key::of(pod.as_ref());
            let api = Api::<Pod>::namespaced(self.manager.client.clone(), &namespace);
            let patch = json!({"metadata": {
                "uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [plan::FINALIZER],
            }});
            match api.patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(pod) => written = pod.metadata.resource_version.unwrap_or_default(),
                Err(error) if [404, 409, 422].contains(&code(&error)) => {}
                Err(error) => {
                    return Err(
                        Error::request("remove the finalizer of", format!("pod {namespace}/{name}"))(error),
                    );
                }
            }
        }
        self.pods.informer().caught_up(&written).await;
        Ok(())
    }

    /// Pods of a Job that is gone wait for nobody.
    async fn release_orphans(&self, key: &Key) -> Result<(), Error> {
        let held = |pod: &Arc<Pod>| {
            pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == plan::FINALIZER)
                && owned::controller_key::<Job, _>(pod.as_ref()).is_none_or(|owner| owner == *key)
        };
        let pods = self.pods.informer().list_in(&key.namespace);
        let of_job = |pod: &Arc<Pod>| owned::controller_key::<Job, _>(pod.as_ref()).as_ref() == Some(key);
        self.release(pods.into_iter().filter(|pod| held(pod) && of_job(pod)).collect()).await
    }
}

/// A pod of a Job, of an index if the Job has them.
fn pod(job: &Job, index: Option<i32>, failures: u32) -> Pod {
    let spec = plan::spec(job);
    let mut pod = pod_from_template(&spec.template, job);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == plan::FINALIZER) {
        finalizers.push(plan::FINALIZER.to_owned());
    }
    let Some(index) = index else { return pod };
    let name = format!("{}-{index}", job.metadata.name.as_deref().unwrap_or_default());
    pod.metadata.generate_name = Some(format!("{name}-"));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(indexes::INDEX.to_owned(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(indexes::INDEX.to_owned(), index.to_string());
    if spec.backoff_limit_per_index.is_some() {
        annotations.insert(plan::FAILURES.to_owned(), failures.to_string());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if env.iter().any(|variable| variable.name == INDEX_ENV) {
            continue;
        }
        let field = ObjectFieldSelector {
            field_path: format!("metadata.labels['{}']", indexes::INDEX),
            api_version: None,
        };
        env.push(EnvVar {
            name: INDEX_ENV.to_owned(),
            value: None,
            value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
        });
    }
    pod
}
