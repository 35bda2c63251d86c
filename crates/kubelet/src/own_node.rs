//! The node's own object, as this kubelet knows it.
//!
//! **Contract**: a kubelet of a real machine watches it. There may be a thousand nodes on paper in a process: they remember what
//! they were told last, as far as admission asks.
//! **Not here**: what the object is to say (`node_status`).

use api::k8s_openapi::api::core::v1::{Node as ApiNode, NodeSpec, NodeStatus};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::{Informer, Informers, Selection};
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of the node's object.
pub(crate) enum OwnNode {
    Watched { name: String, informer: Informer<ApiNode> },
    Remembered(Mutex<Option<Arc<ApiNode>>>),
}

impl OwnNode {
    pub(crate) fn watched(informers: &Informers, name: &str) -> Self {
        let selection = Selection::all().fields(&format!("metadata.name={name}"));
        Self::Watched { name: name.to_owned(), informer: informers.select(selection) }
    }

    pub(crate) fn remembered() -> Self {
        Self::Remembered(Mutex::default())
    }

    /// As the watch has it; none: there is no watch, or it has not told of the node.
    pub(crate) fn current(&self) -> Option<Arc<ApiNode>> {
        match self {
            Self::Watched { name, informer } => informer.get("", name),
            Self::Remembered(_) => None,
        }
    }

    /// As it is, or as it was last seen.
    pub(crate) fn last_seen(&self) -> Option<Arc<ApiNode>> {
        match self {
            Self::Watched { .. } => self.current(),
            Self::Remembered(node) => node.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Takes note of what the API said.
    pub(crate) fn saw(&self, node: &ApiNode) {
        let Self::Remembered(seen) = self else { return };
        let metadata = ObjectMeta {
            name: node.metadata.name.clone(),
            labels: node.metadata.labels.clone(),
            ..ObjectMeta::default()
        };
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone());
        let node = ApiNode {
            metadata,
            spec: Some(NodeSpec { taints, ..NodeSpec::default() }),
            status: Some(NodeStatus { allocatable, ..NodeStatus::default() }),
        };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(node));
    }
}
