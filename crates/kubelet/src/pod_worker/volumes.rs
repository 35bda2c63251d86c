//! A pod's volumes from its worker's side: made before anything starts, brought up to date when something changed.
//!
//! **Contract**: until every volume is there no container starts; one that was there once and cannot be brought up to date
//! holds up nothing, but an event says so.
//! **Upstream**: `WaitForAttachAndMount` of `pkg/kubelet/volumemanager`, its back-off included.

use super::{PodWorker, earliest, revision};
use crate::images::EventKind;
use crate::references;
use api::k8s_openapi::api::core::v1::Pod;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// `initialDurationBeforeRetry` and `maxDurationBeforeRetry` of upstream's exponential back-off.
pub(super) const RETRY: SignedDuration = SignedDuration::from_millis(500);
pub(super) const RETRY_MAX: SignedDuration = SignedDuration::from_secs(122);

impl PodWorker {
    /// Makes the pod's volumes, or brings them up to date. `Err`: some are missing; when to try again.
    pub(super) async fn mount(&mut self, pod: &Arc<Pod>) -> Result<(), Timestamp> {
        let pod_dir = self.node.pod_dir(pod);
        let names = references::names(pod, pod_dir.is_some());
        self.held.hold(&self.node.references, &names);
        let changed = self.held.take_changed();
        if changed {
            // What could not be configured may be complete now.
            self.retry.clear();
        }
        let Some(pod_dir) = pod_dir.filter(|_| has_volumes(pod)) else { return Ok(()) };
        let now = self.now();
        let due = self.volumes_due().is_some_and(|at| at <= now);
        let same = self.volumes_of == Some(revision(pod));
        if same && !changed && !due {
            return match self.volumes_retry {
                Some((at, _)) if !self.all_mounted(pod) => Err(at),
                _ => Ok(()),
            };
        }
        tokio::select! {
            () = self.held.synced() => {}
            () = self.doom() => return Err(self.now()),
        }
        let node = self.node.clone();
        let doom = self.news.doom();
        let failed = self.volumes.set_up(&node, pod, &pod_dir, &self.held, &doom).await;
        if self.is_doomed() {
            return Err(self.now());
        }
        self.volumes_of = Some(revision(pod));
        for (volume, error) in &failed {
            let message = format!("MountVolume.SetUp failed for volume {volume:?} : {error}");
            self.event(pod, None, EventKind::Warning, "FailedMount", &message);
        }
        let now = self.now();
        self.volumes_retry = (!failed.is_empty()).then(|| {
            let pause = self.volumes_retry.map_or(RETRY, |(_, pause)| (pause * 2).min(RETRY_MAX));
            (now + pause, pause)
        });
        match self.volumes_retry {
            Some((at, _)) if !self.all_mounted(pod) => Err(at),
            _ => Ok(()),
        }
    }

    /// When volumes are to be looked at although nothing changed.
    pub(super) fn volumes_due(&self) -> Option<Timestamp> {
        earliest(self.volumes.refresh_at(), self.volumes_retry.map(|(at, _)| at))
    }

    fn all_mounted(&self, pod: &Pod) -> bool {
        let spec = pod.spec.iter();
        let mounted = self.volumes.mounted();
        spec.flat_map(|s| s.volumes.iter().flatten()).all(|volume| mounted.contains_key(&volume.name))
    }
}

fn has_volumes(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|s| s.volumes.iter().flatten().next().is_some())
}
