//! Pods from files: they run without the API's word, and the API shows them.

use crate::{Bed, main};
use kube::api::DeleteParams;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The folder of a bed's only node.
fn manifests(root: &Path) -> PathBuf {
    let mut nodes = std::fs::read_dir(root).expect("a folder").flatten();
    nodes.next().expect("a node").path().join("manifests")
}

fn file(image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         containers: [{{name: main, image: {image}, command: [sleep, infinity]}}]\n"
    )
}

fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

#[tokio::test(start_paused = true)]
async fn a_file_is_a_pod_as_long_as_it_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let bed = Bed::with(Some(folder.path().to_owned())).await;
    let node = bed.cluster.client();
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(node);
    let node = nodes.list(&Default::default()).await.expect("a list").items.remove(0);
    let name = format!("web-{}", node.metadata.name.expect("a name"));
    let path = manifests(folder.path()).join("web.yaml");
    std::fs::write(&path, file("busybox:1")).expect("written");

    let shown = bed.until(&name, is_running).await;
    assert_eq!(shown["metadata"]["ownerReferences"][0]["kind"], "Node");
    let uid = shown["metadata"]["annotations"]["kubernetes.io/config.mirror"].clone();
    let id = main(&shown)["containerID"].clone();

    // Whoever deletes its picture deletes no more than that.
    bed.pods().delete(&name, &DeleteParams::default()).await.expect("it is deleted");
    let before = shown["metadata"]["uid"].clone();
    let again = bed.until(&name, move |pod| pod["metadata"]["uid"] != before && is_running(pod)).await;
    assert_eq!(main(&again)["containerID"], id);

    // Another content is another pod.
    std::fs::write(&path, file("busybox:2")).expect("written");
    let other = bed
        .until(&name, move |pod| {
            pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] != uid && is_running(pod)
        })
        .await;
    assert_ne!(main(&other)["containerID"], id);

    // A kubelet that starts anew goes on with it.
    let bed = bed.restart().await;
    let adopted = bed.until(&name, is_running).await;
    assert_eq!(main(&adopted)["containerID"], main(&other)["containerID"]);

    std::fs::remove_file(&path).expect("removed");
    bed.gone(&name).await;
    while !bed.is_clean().await {
        bed.pass(1).await;
    }
}
