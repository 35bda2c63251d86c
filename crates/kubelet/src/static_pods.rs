//! Pods that a node runs by itself, from files.

/// The annotation of the API's picture of such a pod.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
