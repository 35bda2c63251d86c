//! The control plane where users look for it: a pod in `kube-system` for each component of this process.
//!
//! **Contract**: the pods are static pods of the first node, so the API has mirrors of them: one that is deleted comes back,
//! a drain leaves them alone, nothing schedules or evicts them. They ask for no resources. Their only container is the
//! component itself ([`runtime`]): Ready is its own health, its restarts are counted, its log is its own lines.
//! **Upstream**: kubeadm's static pods (their names, labels and priority); kube-proxy and CoreDNS are pods of a DaemonSet and a
//! Deployment there.

mod runtime;
mod supervised;

use crate::cluster::KUBERNETES_VERSION;
use component_base::logging::Tail;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
pub(crate) use supervised::Supervised;

/// What a container of a component answers to a question for its health.
const HEALTH_COMMAND: &str = "/healthz";

/// How a component is: what is wrong with it, if anything is.
pub(crate) type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// One component of the control plane.
#[derive(Clone)]
pub(crate) struct Component {
    /// `kube-scheduler`: the pod's name, without the node's.
    pub(crate) name: &'static str,
    /// The container's name.
    pub(crate) container: &'static str,
    /// The crates whose log lines are its own.
    pub(crate) crates: &'static [&'static str],
    /// How it is.
    pub(crate) check: Check,
    /// What may end by itself and is started again then.
    pub(crate) task: Option<Supervised>,
}

impl Component {
    /// The image that its container is said to be made of; there is no such image in any engine.
    fn image(&self) -> String {
        // A tag may not have what a version has.
        format!("minik.internal/{}:{}", self.container, KUBERNETES_VERSION.replace('+', "-"))
    }

    fn pod(&self, node: &str) -> Pod {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": "kube-system",
                "labels": {"component": self.name, "tier": "control-plane"},
            },
            "spec": {
                "hostNetwork": true,
                "priorityClassName": "system-node-critical",
                "priority": 2_000_001_000,
                "restartPolicy": "Always",
                "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
                "containers": [{
                    "name": self.container,
                    "image": self.image(),
                    "imagePullPolicy": "Never",
                    "readinessProbe": {"exec": {"command": [HEALTH_COMMAND]}, "timeoutSeconds": 5},
                }],
            },
        });
        let source = pod.to_string();
        let pod = serde_json::from_value(pod).expect("a pod that is written above");
        kubelet::static_pod(pod, node, &source)
    }
}

/// Has a node show these components as pods of its own.
pub(crate) fn show(node: kubelet::Config, components: Vec<Component>, tail: Tail) -> kubelet::Config {
    let mut by_uid = HashMap::new();
    let mut static_pods = node.static_pods;
    for component in components {
        let pod = component.pod(&node.node_name);
        by_uid.insert(pod.metadata.uid.clone().unwrap_or_default(), component);
        static_pods.push(pod);
    }
    let shared = Arc::new(runtime::WithComponents::new(node.runtime, node.images, by_uid, tail));
    kubelet::Config { runtime: shared.clone(), images: shared, static_pods, ..node }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_a_static_pod_that_nothing_evicts() {
        let check: Check = Arc::new(|| Box::pin(async { Ok(()) }));
        let component =
            Component { name: "etcd", container: "embedded", crates: &["storage"], check, task: None };
        let pod = component.pod("n1");
        assert_eq!(pod.metadata.name.as_deref(), Some("etcd-n1"));
        let spec = pod.spec.as_ref().expect("a spec");
        assert_eq!(spec.node_name.as_deref(), Some("n1"));
        let image = spec.containers[0].image.as_deref().expect("an image");
        let parsed = ::runtime::reference::parse(image).expect("a reference");
        assert_eq!(parsed.repository, "embedded", "{image}");
        assert_ne!(component.pod("n2").metadata.uid, pod.metadata.uid);
    }
}
