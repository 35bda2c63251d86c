//! CronJobs: a Job at each time of a schedule.
//!
//! **Upstream**: `pkg/controller/cronjob`.

mod plan;

use crate::error::{code, is_namespace_terminating};
use crate::workload::owned::{self, Owned};
use crate::workload::{already_exists, message, seconds, write_status};
use crate::{Error, Manager};
use client::events::Type;
use client::{Action, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DeleteParams, PostParams};
use plan::Plan;
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "cronjob-controller";

/// CronJobs worked on at a time (`--concurrent-cron-job-syncs`).
const WORKERS: usize = 5;

struct Shell {
    manager: Manager,
    recorder: Recorder,
    crons: Informer<CronJob>,
    jobs: Owned<Job>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let crons = manager.informers.of::<CronJob>();
    let jobs = Owned::new(&manager.informers.of::<Job>());
    crons.feed(&manager.context, &queue, |cron| [Key::of(cron)]);
    jobs.informer().feed(&manager.context, &queue, owned::controller_key::<CronJob, _>);
    crons.synced().await;
    jobs.informer().synced().await;
    let recorder = Recorder::new(manager.client.clone(), NAME, None, &manager.context);
    let context = manager.context.clone();
    let shell = Arc::new(Shell { manager, recorder, crons, jobs });
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(cron) = self.crons.get_key(key) else { return Ok(Action::Done) };
        let jobs = self.jobs.by_uid(cron.metadata.uid.as_deref().unwrap_or_default());
        let now = self.manager.context.clock.now();
        let Plan { delete, create, mut status, events, again } = plan::plan(&cron, &jobs, now);
        for (warning, reason, message) in events {
            let kind = if warning { Type::Warning } else { Type::Normal };
            self.recorder.on(cron.as_ref(), kind, reason, message);
        }
        for job in delete {
            self.delete(&cron, &job).await?;
        }
        if let Some((job, due)) = create
            && let Some(made) = self.create(&cron, &job).await?
        {
            status.active.get_or_insert_default().push(plan::reference(&made));
            status.last_schedule_time = Some(seconds(due));
        }
        self.update_status(&cron, status).await?;
        Ok(again.map_or(Action::Done, Action::RequeueAfter))
    }

    fn api(&self, cron: &CronJob) -> Api<Job> {
        let namespace = cron.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.manager.client.clone(), namespace)
    }

    async fn delete(&self, cron: &CronJob, job: &ObjectReference) -> Result<(), Error> {
        let name = job.name.as_deref().unwrap_or_default();
        match self.api(cron).delete(name, &DeleteParams::background()).await {
            Ok(answer) => {
                self.recorder.on(cron, Type::Normal, "SuccessfulDelete", format!("Deleted job {name}"));
                let revision = answer.left().and_then(|job| job.metadata.resource_version);
                self.jobs.informer().caught_up(&revision.unwrap_or_default()).await;
                Ok(())
            }
            Err(error) if code(&error) == 404 => Ok(()),
            Err(error) => {
                let told = format!("Deleted job: {}", message(&error));
                self.recorder.on(cron, Type::Warning, "FailedDelete", told);
                Err(Error::request("delete job", name)(error))
            }
        }
    }

    /// Makes a Job; one of its name that is the CronJob's is as good. None if there is no place for it.
    async fn create(&self, cron: &CronJob, job: &Job) -> Result<Option<Job>, Error> {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let made = match self.api(cron).create(&PostParams::default(), job).await {
            Ok(made) => {
                self.recorder.on(cron, Type::Normal, "SuccessfulCreate", format!("Created job {name}"));
                made
            }
            Err(error) if is_namespace_terminating(&error) => return Ok(None),
            Err(error) if already_exists(&error) => {
                let there = self.api(cron).get(name).await.map_err(Error::request("get job", name))?;
                if !owned::is_controlled_by(&there, cron.metadata.uid.as_deref()) {
                    return Err(Error::request("create job", name)(error));
                }
                there
            }
            Err(error) => {
                let told = format!("Error creating job: {}", message(&error));
                self.recorder.on(cron, Type::Warning, "FailedCreate", told);
                return Err(Error::request("create job", name)(error));
            }
        };
        self.jobs.informer().caught_up(made.metadata.resource_version.as_deref().unwrap_or_default()).await;
        Ok(Some(made))
    }

    async fn update_status(&self, cron: &CronJob, status: CronJobStatus) -> Result<(), Error> {
        if cron.status.clone().unwrap_or_default() == status {
            return Ok(());
        }
        write_status(&self.manager, &self.crons, &CronJob { status: Some(status), ..cron.clone() }).await
    }
}
