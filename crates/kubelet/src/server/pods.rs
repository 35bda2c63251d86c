//! The pods of this node: as the API has them, and as the runtime has them.
//!
//! **Upstream**: `getPods`, `getRunningPods` of `pkg/kubelet/server`.

use super::{Answer, Body, Refusal, Server, json};
use http::Response;
use runtime::{Container, ContainerFilter, ContainerState, labels};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Server {
    /// What the API has bound to this node.
    pub(super) fn pods(&self) -> Response<Body> {
        let items = self.host.pods.list();
        let items: Vec<_> = items.iter().map(|pod| &**pod).collect();
        json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    /// What the runtime runs.
    pub(super) async fn running_pods(&self) -> Answer {
        let filter = ContainerFilter { state: Some(ContainerState::Running), ..ContainerFilter::default() };
        let found = self.containers.runtime.list_containers(&filter).await.map_err(Refusal::internal)?;
        let items = running(&found);
        Ok(json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})))
    }
}

fn running(containers: &[Container]) -> Vec<Value> {
    let mut pods: BTreeMap<[&str; 3], Vec<Value>> = BTreeMap::new();
    for container in containers {
        let label = |key: &str| container.labels.get(key).map_or("", String::as_str);
        let pod = [label(labels::POD_NAMESPACE), label(labels::POD_NAME), label(labels::POD_UID)];
        let described = json!({"name": container.metadata.name, "image": container.image, "resources": {}});
        pods.entry(pod).or_default().push(described);
    }
    let describe = |([namespace, name, uid], mut containers): ([&str; 3], Vec<Value>)| {
        containers.sort_by_key(|container| container["name"].to_string());
        json!({
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": null},
            "spec": {"containers": containers},
            "status": {},
        })
    };
    pods.into_iter().map(describe).collect()
}
