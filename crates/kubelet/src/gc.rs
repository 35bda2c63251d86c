//! What the runtime has of pods that nobody wants any more.
//!
//! **Upstream**: `HandlePodCleanups` of `pkg/kubelet/kubelet_pods.go`.

use api::k8s_openapi::api::core::v1::Pod;
use runtime::{ContainerFilter, PodSandboxFilter, RuntimeService};
use std::collections::HashSet;

/// UIDs of all pods of which the runtime has a sandbox or a container.
pub(crate) async fn pods_in(runtime: &dyn RuntimeService) -> runtime::Result<HashSet<String>> {
    let sandboxes = runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await?;
    let containers = runtime.list_containers(&ContainerFilter::default()).await?;
    let of_containers = containers.iter().map(|c| c.pod_uid().to_owned());
    Ok(sandboxes
        .into_iter()
        .map(|s| s.metadata.uid)
        .chain(of_containers)
        .filter(|uid| !uid.is_empty())
        .collect())
}

/// A pod of which only the UID is known, for a worker to end.
pub(crate) fn orphan(uid: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = Some(uid.to_owned());
    pod
}
