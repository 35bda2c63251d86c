//! What all workers of a node share.

use super::uid;
use crate::container_config::NodeContext;
use crate::images::{EventKind, Images};
use crate::network_files::ClusterDns;
use crate::references::References;
use crate::restart::{self, Role};
use api::k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use client::events::Type as EventType;
use client::{Informer, Recorder};
use component_base::Context;
use jiff::Timestamp;
use runtime::RuntimeService;
use std::path::PathBuf;
use std::sync::Arc;

/// What all workers of a node share.
pub(crate) struct Node {
    pub(crate) context: Context,
    pub(crate) client: kube::Client,
    pub(crate) runtime: Arc<dyn RuntimeService>,
    pub(crate) images: Images,
    pub(crate) recorder: Recorder,
    pub(crate) facts: NodeContext,
    /// The scheme of container ids.
    pub(crate) scheme: String,
    /// Where pods keep files on this node; none on a simulated node.
    pub(crate) pods_dir: Option<PathBuf>,
    /// Where seccomp profiles of this node are.
    pub(crate) seccomp_dir: Option<PathBuf>,
    /// Whether this process may mount.
    pub(crate) may_mount: bool,
    /// The objects that pods refer to.
    pub(crate) references: References,
    /// Every service, for the environment; none on a simulated node, where nobody reads it.
    pub(crate) services: Option<Informer<Service>>,
    pub(crate) cluster_dns: ClusterDns,
    /// The pods of this node.
    pub(crate) pods: Informer<Pod>,
    /// When this kubelet began.
    pub(crate) started: Timestamp,
}

impl Node {
    /// A pod's own folder.
    pub(crate) fn pod_dir(&self, pod: &Pod) -> Option<PathBuf> {
        Some(self.pods_dir.as_ref()?.join(uid(pod)))
    }

    /// Records an event about a pod, or about one of its containers.
    pub(crate) fn event(
        &self,
        pod: &Pod,
        container: Option<&str>,
        kind: EventKind,
        reason: &str,
        message: &str,
    ) {
        let event_type = match kind {
            EventKind::Normal => EventType::Normal,
            EventKind::Warning => EventType::Warning,
        };
        self.recorder.event(&reference(pod, container), event_type, reason, message);
    }
}

/// What an event is about: the pod, or a container of it by field path.
fn reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let field = container.map(|name| {
        let role = pod.spec.as_ref().and_then(|spec| restart::find(spec, name)).map(|(role, _)| role);
        let list = match role {
            Some(Role::Init) => "initContainers",
            Some(Role::Ephemeral) => "ephemeralContainers",
            _ => "containers",
        };
        format!("spec.{list}{{{name}}}")
    });
    ObjectReference {
        kind: Some("Pod".to_owned()),
        api_version: Some("v1".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: field,
    }
}
