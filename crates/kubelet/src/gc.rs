//! What the runtime has of pods that nobody may want any more.
//!
//! **Contract**: a pod that only the runtime knows is described well enough to be ended: its name, its UID and its
//! grace period, from the labels and annotations that this kubelet has put there.
//! **Upstream**: `HandlePodCleanups` of `pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/kuberuntime/labels.go`.

use crate::container_config::GRACE_ANNOTATION;
use api::k8s_openapi::api::core::v1::{Pod, PodSpec};
use runtime::{ContainerFilter, PodSandbox, PodSandboxFilter, RuntimeService, StringMap, labels};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// All pods of which the runtime has a sandbox or a container, by UID.
pub(crate) async fn pods_in(runtime: &dyn RuntimeService) -> runtime::Result<HashMap<String, Arc<Pod>>> {
    let sandboxes = runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await?;
    let containers = runtime.list_containers(&ContainerFilter::default()).await?;
    let of_sandboxes = sandboxes.iter().map(|s| {
        let PodSandbox { metadata, annotations, .. } = s;
        describe(&metadata.namespace, &metadata.name, &metadata.uid, annotations)
    });
    let of_containers = containers.iter().map(|c| {
        let label = |key: &str| c.labels.get(key).map_or("", String::as_str);
        describe(label(labels::POD_NAMESPACE), label(labels::POD_NAME), c.pod_uid(), &c.annotations)
    });
    let all = of_sandboxes.chain(of_containers).filter(|(uid, _)| !uid.is_empty());
    Ok(all.map(|(uid, pod)| (uid, Arc::new(pod))).collect())
}

/// The UIDs of pods that have files on this node.
pub(crate) fn pods_on_disk(pods_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(pods_dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A pod of which nothing but its UID is known.
pub(crate) fn describe_by_uid(uid: &str) -> Pod {
    describe("", "", uid, &StringMap::new()).1
}

fn describe(namespace: &str, name: &str, uid: &str, annotations: &StringMap) -> (String, Pod) {
    let mut pod = Pod::default();
    pod.metadata.namespace = Some(namespace.to_owned());
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.uid = Some(uid.to_owned());
    pod.spec = Some(PodSpec {
        termination_grace_period_seconds: annotations.get(GRACE_ANNOTATION).and_then(|g| g.parse().ok()),
        ..PodSpec::default()
    });
    (uid.to_owned(), pod)
}
