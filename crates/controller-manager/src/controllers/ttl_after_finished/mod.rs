//! Jobs that have ended are deleted when their time is over.
//!
//! **Upstream**: `pkg/controller/ttlafterfinished`.

mod plan;

use crate::error::code;
use crate::{Error, Manager};
use client::{Action, Key, Queue, controller};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams, Preconditions, PropagationPolicy};
use plan::Decision;
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "ttl-after-finished-controller";

/// Jobs worked on at a time (`--concurrent-ttl-after-finished-syncs`).
const WORKERS: usize = 5;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let jobs = manager.informers.of::<Job>();
    jobs.feed(&manager.context, &queue, |job| plan::has_limit(job).then(|| Key::of(job)));
    jobs.synced().await;
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let manager = manager.clone();
        async move { reconcile(&manager, &key).await }
    })
    .await;
}

/// Looks at the Job as it is: its time may have been made longer.
async fn reconcile(manager: &Manager, key: &Key) -> Result<Action, Error> {
    let api = Api::<Job>::namespaced(manager.client.clone(), &key.namespace);
    let Some(job) = api.get_opt(&key.name).await.map_err(Error::request("get job", key))? else {
        return Ok(Action::Done);
    };
    let now = manager.context.clock.now();
    match plan::decide(&job, now) {
        Decision::Keep => Ok(Action::Done),
        Decision::DeleteAt(at) => {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
            Ok(Action::RequeueAfter(wait))
        }
        Decision::Delete => {
            let same =
                Preconditions { uid: job.metadata.uid, resource_version: job.metadata.resource_version };
            let options = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                preconditions: Some(same),
                ..DeleteParams::default()
            };
            match api.delete(&key.name, &options).await {
                Err(error) if code(&error) != 404 => Err(Error::request("delete job", key)(error)),
                _ => Ok(Action::Done),
            }
        }
    }
}
