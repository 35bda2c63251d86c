//! Events about a pod that is given other resources while it runs.
//!
//! **Contract**: each is told once: that a resize waits or never comes, that it begins, that it is done.
//! **Upstream**: `pkg/kubelet/events/pod_resize.go`, `pkg/kubelet/allocation`.

use super::PodWorker;
use crate::images::EventKind;
use crate::limits::{self, Pending};
use api::k8s_openapi::api::core::v1::Pod;

impl PodWorker {
    /// Tells what has changed. `asked`: the pod asks for other resources than it has; `before`: why it did not get them.
    pub(super) fn tell_of_resize(&mut self, pod: &Pod, asked: bool, before: Option<Pending>) {
        let generation = pod.metadata.generation;
        match &self.knowledge.pending {
            Some(pending) if before.as_ref() != Some(pending) => {
                let text =
                    format!("Pod resize {}: {}", pending.reason, limits::summary(pod, &pending.message));
                self.event(pod, None, EventKind::Warning, &format!("Resize{}", pending.reason), &text);
            }
            Some(_) => {}
            None if asked && self.resizing != generation => {
                self.resizing = generation;
                let text = format!("Pod resize started: {}", limits::summary(pod, ""));
                self.event(pod, None, EventKind::Normal, "ResizeStarted", &text);
            }
            None if !asked && self.resizing.take().is_some() => {
                let text = format!("Pod resize completed: {}", limits::summary(pod, ""));
                self.event(pod, None, EventKind::Normal, "ResizeCompleted", &text);
            }
            None => {}
        }
    }
}
