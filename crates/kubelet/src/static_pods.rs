//! Pods that a node runs by itself, from the files of its folder `manifests` and from its launcher, and their pictures in
//! the API.
//!
//! **Contract**: a file is one pod; its identity is made of its content, so a changed file is another pod. The API has a
//! mirror of each, `NAME-NODE`, which shows its status; one that is deleted comes back as long as the file is there. Files
//! are read when the folder changes, and every 20 s. The launcher's pods are there for good.
//! **Not here**: how such a pod runs (`pod_worker`: as any other).
//! **Upstream**: `pkg/kubelet/config/file.go`, `pkg/kubelet/pod/mirror_client.go`.

use crate::pod_worker::Node;
use api::k8s_openapi::api::core::v1::{Container, Node as ApiNode, Pod, PodStatus};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use component_base::logging::chain;
use component_base::{Clock, Folder};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The annotation of the API's picture of such a pod; its value is the pod's own UID.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const HASH: &str = "kubernetes.io/config.hash";
const SOURCE: &str = "kubernetes.io/config.source";
/// `fileCheckFrequency`.
const PERIOD: Duration = Duration::from_secs(20);

/// Whether a pod comes from a file.
pub(crate) fn is_static(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.iter().flatten();
    annotations.into_iter().any(|(key, value)| key == SOURCE && value == "file")
}

/// The UID of the pod that a mirror shows.
pub(crate) fn mirrored(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(MIRROR).map(String::as_str)
}

/// The UID under which the runtime has a pod of the API.
pub(crate) fn runtime_uid(pod: &Pod) -> String {
    mirrored(pod).map(str::to_owned).or_else(|| pod.metadata.uid.clone()).unwrap_or_default()
}

/// Tells the pods of a folder, now and whenever they change.
pub(crate) async fn watch(folder: PathBuf, node: String, clock: Clock, pods: mpsc::Sender<Vec<Arc<Pod>>>) {
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tracing::warn!(folder = %folder.display(), "make the folder of static pods: {error}");
    }
    let changes =
        Folder::watch(&folder).map_err(|error| tracing::warn!("watch {}: {error}", folder.display()));
    let mut last: Option<Vec<Arc<Pod>>> = None;
    loop {
        let found = read(&folder, &node);
        if last.as_ref() != Some(&found) {
            last = Some(found.clone());
            if pods.send(found).await.is_err() {
                return;
            }
        }
        let changed = async {
            match &changes {
                Ok(changes) => changes.changed().await,
                Err(()) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = clock.sleep(PERIOD) => {}
        }
    }
}

/// The pods of a folder, in the order of their names. A file that is none is left out, with a warning.
fn read(folder: &Path, node: &str) -> Vec<Arc<Pod>> {
    let mut pods = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') || !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| parse(&text, node)) {
            Ok(pod) => {
                pods.insert(pod.metadata.name.clone(), Arc::new(pod));
            }
            Err(error) => tracing::warn!("static pod {}: {error}", path.display()),
        }
    }
    pods.into_values().collect()
}

/// A file's pod as this node runs it.
fn parse(text: &str, node: &str) -> Result<Pod, String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if value["kind"] != "Pod" || value["apiVersion"] != "v1" {
        return Err("it is no Pod of v1".to_owned());
    }
    let pod: Pod = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if pod.metadata.name.as_ref().is_none_or(String::is_empty) {
        return Err("it has no name".to_owned());
    }
    if pod.spec.as_ref().is_none_or(|spec| spec.containers.is_empty()) {
        return Err("it has no containers".to_owned());
    }
    Ok(of_node(pod, node, text))
}

/// A pod as a node runs it by itself; `source` is what it was made of, and thereby its identity.
pub fn of_node(mut pod: Pod, node: &str, source: &str) -> Pod {
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.to_owned());
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            set_defaults(container);
        }
    }
    let uid = identity(&format!("{node}\n{source}"));
    pod.metadata.name = pod.metadata.name.map(|name| format!("{name}-{node}"));
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    pod.metadata.uid = Some(uid.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), uid);
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    pod
}

/// A pod that knows from its mirror how often its containers have started, so that they are not counted from 0 again.
pub(crate) fn remembering(pod: &Pod, mirror: Option<&Pod>) -> Pod {
    let mirror = mirror.filter(|mirror| mirrored(mirror) == pod.metadata.uid.as_deref());
    let status = mirror.and_then(|mirror| mirror.status.as_ref()).map(|shown| PodStatus {
        container_statuses: shown.container_statuses.clone(),
        init_container_statuses: shown.init_container_statuses.clone(),
        ..PodStatus::default()
    });
    Pod { status, ..pod.clone() }
}

/// What the API server would fill in and this kubelet relies on.
fn set_defaults(container: &mut Container) {
    let image = container.image.clone().unwrap_or_default();
    let latest = runtime::reference::parse(&image).is_ok_and(|r| r.tag.as_deref() == Some("latest"));
    let policy = if latest { "Always" } else { "IfNotPresent" };
    container.image_pull_policy.get_or_insert_with(|| policy.to_owned());
    container.termination_message_path.get_or_insert_with(|| "/dev/termination-log".to_owned());
}

/// 32 hexadecimal digits of a text: FNV-1a, 64 bits, from both ends.
fn identity(text: &str) -> String {
    let step = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let forth = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let back = text.bytes().rev().fold(forth, step);
    format!("{forth:016x}{back:016x}")
}

/// Makes the mirrors in the API agree with the static pods. Whether they do now.
pub(crate) async fn mirror(node: &Node, statics: &[Arc<Pod>]) -> bool {
    let mut settled = true;
    for mirror in node.pods.list().iter().filter(|pod| mirrored(pod).is_some()) {
        let wanted = statics.iter().any(|pod| pod.metadata.uid.as_deref() == mirrored(mirror));
        if (!wanted || mirror.metadata.deletion_timestamp.is_some()) && !delete(node, mirror).await {
            settled = false;
        }
    }
    for pod in statics {
        let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        let shown = node.pods.get(namespace, name);
        let shows_it = shown.is_some_and(|mirror| {
            mirrored(&mirror) == pod.metadata.uid.as_deref() && mirror.metadata.deletion_timestamp.is_none()
        });
        if !shows_it && !create(node, pod).await {
            settled = false;
        }
    }
    settled
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

async fn create(node: &Node, pod: &Pod) -> bool {
    let nodes: Api<ApiNode> = Api::all(node.client.clone());
    let owner = match nodes.get(&node.facts.node_name).await {
        Ok(owner) => owner,
        Err(error) => {
            tracing::debug!("mirror a static pod: {}", chain(&error));
            return false;
        }
    };
    let mut mirror = pod.clone();
    let uid = mirror.metadata.uid.take().unwrap_or_default();
    mirror.metadata.annotations.get_or_insert_default().insert(MIRROR.to_owned(), uid);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.facts.node_name.clone(),
        uid: owner.metadata.uid.unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    let pods: Api<Pod> = Api::namespaced(node.client.clone(), text(&pod.metadata.namespace));
    match pods.create(&PostParams::default(), &mirror).await {
        Ok(_) => true,
        // Made a moment ago, and not seen yet; or somebody else's, and to be asked for again.
        Err(kube::Error::Api(status)) if status.code == 409 => false,
        Err(error) => {
            tracing::warn!(pod = text(&pod.metadata.name), "mirror a static pod: {}", chain(&error));
            false
        }
    }
}

async fn delete(node: &Node, mirror: &Pod) -> bool {
    let pods: Api<Pod> = Api::namespaced(node.client.clone(), text(&mirror.metadata.namespace));
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: mirror.metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    match pods.delete(text(&mirror.metadata.name), &parameters).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => true,
        Err(error) => {
            tracing::warn!(pod = text(&mirror.metadata.name), "delete a mirror pod: {}", chain(&error));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: nginx}]\n";

    #[test]
    fn a_file_is_a_pod_of_this_node_whose_content_is_its_identity() {
        let pod = parse(FILE, "n1").expect("a pod");
        assert_eq!(text(&pod.metadata.name), "web-n1");
        assert_eq!(text(&pod.metadata.namespace), "default");
        assert!(is_static(&pod));
        let spec = pod.spec.as_ref().expect("a spec");
        assert_eq!(spec.node_name.as_deref(), Some("n1"));
        assert_eq!(spec.containers[0].image_pull_policy.as_deref(), Some("Always"));
        let uid = text(&pod.metadata.uid);
        assert_eq!(uid.len(), 32);
        assert_ne!(text(&parse(FILE, "n2").expect("a pod").metadata.uid), uid);
        let other = FILE.replace("nginx", "nginx:1.25");
        assert_ne!(text(&parse(&other, "n1").expect("a pod").metadata.uid), uid);
        let mut mirror = pod.clone();
        mirror.metadata.annotations.get_or_insert_default().insert(MIRROR.to_owned(), uid.to_owned());
        mirror.status = Some(PodStatus {
            phase: Some("Running".to_owned()),
            container_statuses: Some(vec![Default::default()]),
            ..PodStatus::default()
        });
        let status = remembering(&pod, Some(&mirror)).status.expect("remembered");
        assert_eq!((status.container_statuses.map_or(0, |c| c.len()), status.phase), (1, None));
        assert_eq!(remembering(&pod, Some(&pod)).status, None);
        for wrong in
            ["kind: Service\napiVersion: v1\n", "apiVersion: v1\nkind: Pod\nspec: {containers: []}\n", "{"]
        {
            assert!(parse(wrong, "n1").is_err(), "{wrong}");
        }
    }
}
