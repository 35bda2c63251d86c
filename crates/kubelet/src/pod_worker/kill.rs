//! How one container stops: its preStop hook, its turn, its stop signal, SIGKILL.
//!
//! **Contract**: all of it happens within the grace, but for the last two seconds that every container gets. A hook runs
//! once, also when the stop is begun anew with a shorter grace. Sidecars wait for the main containers, and each for those
//! after it.
//! **Upstream**: `killContainer` of `pkg/kubelet/kuberuntime/kuberuntime_container.go`, `terminationOrdering`.

use super::{Node, PodWorker};
use crate::hooks;
use crate::images::EventKind;
use crate::restart;
use api::k8s_openapi::api::core::v1::{LifecycleHandler, Pod, PodSpec};
use api::pod::is_sidecar;
use runtime::{ContainerId, ContainerStatus};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;

/// `minimumGracePeriodInSeconds`: what a container gets between its stop signal and SIGKILL at least.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);

/// Who of a pod's containers has stopped, for those who wait for them.
pub(super) struct Turns {
    running: watch::Sender<BTreeSet<String>>,
}

impl Turns {
    /// Of these containers, which run.
    pub(super) fn new(running: &[ContainerStatus]) -> Self {
        let names = running.iter().map(|c| c.metadata.name.clone()).collect();
        Self { running: watch::channel(names).0 }
    }

    fn ended(&self, name: &str) {
        self.running.send_modify(|running| {
            running.remove(name);
        });
    }

    /// Waits until nobody is left whom a container must outlive.
    async fn wait(&self, spec: &PodSpec, name: &str) {
        let before = outlived_by(spec, name);
        let mut running = self.running.subscribe();
        if running.wait_for(|running| running.is_disjoint(&before)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The containers that stop before this one.
fn outlived_by(spec: &PodSpec, name: &str) -> BTreeSet<String> {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let Some(at) = init.iter().position(|c| c.name == name && is_sidecar(c)) else {
        return BTreeSet::new();
    };
    let later = init[at + 1..].iter().filter(|c| is_sidecar(c));
    spec.containers.iter().chain(later).map(|c| c.name.clone()).collect()
}

impl PodWorker {
    /// Stops a container of this pod.
    pub(super) async fn kill(
        &self,
        pod: &Pod,
        (id, name): (&ContainerId, &str),
        grace: Duration,
        turns: Option<&Turns>,
    ) -> runtime::Result<()> {
        let clock = &self.node.context.clock;
        let end = clock.instant() + grace;
        if !grace.is_zero() {
            let hook = async {
                if let Some(handler) = self.pre_stop(pod, id, name) {
                    self.run_pre_stop(pod, id, name, &handler).await;
                }
                if let (Some(turns), Some(spec)) = (turns, &pod.spec) {
                    turns.wait(spec, name).await;
                }
            };
            tokio::select! {
                () = hook => {}
                () = clock.sleep(grace) => {}
            }
        }
        let left = end.saturating_duration_since(clock.instant()).max(MINIMUM_GRACE);
        let stopped = self.node.runtime.stop_container(id, left).await;
        if let Some(turns) = turns {
            turns.ended(name);
        }
        stopped
    }

    fn pre_stop(&self, pod: &Pod, id: &ContainerId, name: &str) -> Option<LifecycleHandler> {
        let (_, container) = restart::find(pod.spec.as_ref()?, name)?;
        let handler = container.lifecycle?.pre_stop?;
        let mut hooked = self.hooked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        hooked.insert(id.clone()).then_some(handler)
    }

    async fn run_pre_stop(&self, pod: &Pod, id: &ContainerId, name: &str, handler: &LifecycleHandler) {
        let Some((_, container)) = pod.spec.as_ref().and_then(|spec| restart::find(spec, name)) else {
            return;
        };
        let node: &Node = &self.node;
        let pod_ip = self.pod_ips(pod).into_iter().next();
        if let Err(error) = hooks::run(node, handler, pod, &container, id, pod_ip.as_deref()).await {
            tracing::info!(pod = pod.metadata.name, container = name, "preStop hook: {error}");
            self.event(pod, Some(name), EventKind::Warning, "FailedPreStopHook", "PreStopHook failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sidecars_stop_after_the_others_in_reverse() {
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [
                {"name": "s1", "restartPolicy": "Always"}, {"name": "i"}, {"name": "s2", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}]
        }))
        .expect("a spec");
        for (name, expected) in
            [("a", vec![]), ("i", vec![]), ("s2", vec!["a", "b"]), ("s1", vec!["a", "b", "s2"])]
        {
            let before = outlived_by(&spec, name);
            assert_eq!(before.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{name}");
        }
    }
}
