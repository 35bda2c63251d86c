//! Pods that were said to be about to go, and then stayed.
//!
//! **Upstream**: `syncStalePodDisruption`; two minutes are its `stalePodDisruptionTimeout`.

use super::target::TYPE;
use crate::error::code;
use crate::workload::{is_conflict, seconds};
use crate::{Error, Manager};
use client::{Action, Key, Queue, controller};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
const NAME: &str = "stale-pod-disruption";

/// Runs until the manager's context ends.
pub(super) async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let pods = manager.informers.of::<Pod>();
    pods.feed(&manager.context, &queue, |pod| is_announced(pod).then(|| Key::of(pod)));
    pods.synced().await;
    let context = manager.context.clone();
    controller::run(NAME, &context, 1, queue, move |key: Key| {
        let (manager, pod) = (manager.clone(), pods.get_key(&key));
        async move {
            let now = manager.context.clock.now();
            match pod.and_then(|pod| left(&pod, now)) {
                None => Ok(Action::Done),
                Some(left) if left > Duration::ZERO => Ok(Action::RequeueAfter(left)),
                Some(_) => withdraw(&manager, &key, now).await,
            }
        }
    })
    .await;
}

/// Whether a pod should go, and nobody has deleted it.
fn is_announced(pod: &Pod) -> bool {
    !api::pod::is_terminating(pod)
        && !api::pod::is_terminal(pod)
        && api::pod::condition(pod, TYPE).is_some_and(|condition| condition.status == "True")
}

/// How long it is still waited for; zero when it is over.
fn left(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let condition = api::pod::condition(pod, TYPE).filter(|_| is_announced(pod))?;
    let since = condition.last_transition_time.as_ref()?;
    Some(Duration::try_from(TIMEOUT - now.duration_since(since.0)).unwrap_or(Duration::ZERO))
}

async fn withdraw(manager: &Manager, key: &Key, now: Timestamp) -> Result<Action, Error> {
    let condition = json!({"type": TYPE, "status": "False", "lastTransitionTime": seconds(now),
                           "reason": null, "message": null});
    let change = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    let api = Api::<Pod>::namespaced(manager.client.clone(), &key.namespace);
    match api.patch_status(&key.name, &PatchParams::default(), &change).await {
        Err(error) if !is_conflict(&error) && code(&error) != 404 => {
            Err(Error::request("patch the status of", format!("pod {key}"))(error))
        }
        _ => Ok(Action::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use testkit::build::{self, at};

    #[test]
    fn an_announced_pod_is_waited_for_two_minutes() {
        let announced = |value: &str| {
            build::pod("p").condition(TYPE, value).with(|pod| {
                let conditions = pod.status.as_mut().and_then(|status| status.conditions.as_mut());
                conditions.expect("a condition")[0].last_transition_time = Some(Time(at(0)));
            })
        };
        for (name, pod, now, wanted) in [
            ("early", announced("True"), 30, Some(90)),
            ("late", announced("True"), 500, Some(0)),
            ("not announced", announced("False"), 500, None),
            ("going", announced("True").deleted(at(1)), 500, None),
            ("ended", announced("True").phase("Failed"), 500, None),
        ] {
            assert_eq!(left(&pod.get(), at(now)), wanted.map(Duration::from_secs), "{name}");
        }
    }
}
