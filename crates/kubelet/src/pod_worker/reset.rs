//! All containers of a pod start anew, in the sandbox, with the volumes and under the address that it has.
//!
//! **Contract**: containers are killed without grace or hooks and removed, the one whose end asked for it last; whoever
//! comes after a crash finds that one and begins again. What the API says of them is written before and after.
//! **Upstream**: the `ContainersToReset` of `computePodActions`, `pkg/kubelet/kuberuntime`.

use super::{PodWorker, RETRY};
use crate::container_config;
use crate::images::EventKind;
use crate::restart;
use crate::sync_pod::{Reset, backoff_key};
use api::k8s_openapi::api::core::v1::Pod;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

impl PodWorker {
    /// Removes all containers. `Err`: when to try again.
    pub(super) async fn reset(&mut self, pod: &Arc<Pod>, reset: &Reset) -> Result<(), Timestamp> {
        self.knowledge.restarting = true;
        // Who looks at the pod sees why its containers go; if it cannot be told now, they go all the same.
        if self.publish(pod).await.is_err() {
            tracing::debug!(pod = pod.metadata.name, "a restart of all containers is not announced");
        }
        let runtime = &self.node.runtime;
        let running: Vec<_> = self.observed.running().filter(|c| reset.remove.contains(&c.id)).collect();
        for container in &running {
            let name = &container.metadata.name;
            self.event(pod, Some(name), EventKind::Normal, "Killing", &format!("Stopping container {name}"));
        }
        let stops = running.iter().map(|container| runtime.stop_container(&container.id, Duration::ZERO));
        let mut failed = futures::future::join_all(stops).await.into_iter().find_map(Result::err);
        for id in &reset.remove {
            if failed.is_none() {
                failed = runtime.remove_container(id).await.err();
            }
        }
        if let Some(error) = failed {
            tracing::warn!(pod = pod.metadata.name, "restart all containers: {error}");
            return Err(self.now() + RETRY);
        }
        let source = pod.spec.as_ref().and_then(|spec| restart::find(spec, &reset.name));
        if let Some((_, container)) = source {
            let key = backoff_key(&container.name, &container_config::hash(&container));
            self.backoff.next(&key, reset.failed_at, self.now());
        }
        self.look(pod).await?;
        // With this they are counted, and the pod says that it is about to begin again.
        let published = self.publish(pod).await;
        self.knowledge.restarting = false;
        published
    }
}
