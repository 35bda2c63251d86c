//! Objects of the measured cluster, over its API.

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

/// Writes that are under way at a time while a store is filled.
const WRITERS: usize = 16;

/// Creates a pod of one container and returns it as soon as a watch shows it Running.
pub(super) async fn create_running(pods: &Api<Pod>, name: &str, image: &str) -> Result<Pod> {
    create_running_as(pods, name, image, &["sleep", "600"]).await
}

/// The same with this command.
pub(super) async fn create_running_as(
    pods: &Api<Pod>,
    name: &str,
    image: &str,
    command: &[&str],
) -> Result<Pod> {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": command,
            }],
        },
    }))?;
    until_running(pods, &pod).await
}

/// Creates a pod and returns it as soon as a watch shows it Running.
pub(super) async fn until_running(pods: &Api<Pod>, pod: &Pod) -> Result<Pod> {
    let created = pods.create(&PostParams::default(), pod).await.context("create a pod")?;
    let running = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    wait(pods, &created, |event| match event {
        WatchEvent::Modified(pod) if running(&pod) => Some(pod),
        _ => None,
    })
    .await
}

/// Deletes a pod and returns when it is gone.
pub(super) async fn delete(pods: &Api<Pod>, pod: &Pod) -> Result<()> {
    delete_with(pods, pod, &DeleteParams::default().grace_period(0)).await
}

/// The same with the usual grace.
pub(super) async fn delete_gracefully(pods: &Api<Pod>, pod: &Pod) -> Result<()> {
    delete_with(pods, pod, &DeleteParams::default().grace_period(30)).await
}

async fn delete_with(pods: &Api<Pod>, pod: &Pod, params: &DeleteParams) -> Result<()> {
    pods.delete(&pod.name_any(), params).await.context("delete a pod")?;
    let gone = |event| match event {
        WatchEvent::Deleted(pod) => Some(pod),
        _ => None,
    };
    wait(pods, pod, gone).await.map(drop)
}

/// Watches a pod from the version given until an event is what is waited for.
async fn wait(pods: &Api<Pod>, pod: &Pod, wanted: impl Fn(WatchEvent<Pod>) -> Option<Pod>) -> Result<Pod> {
    let only = WatchParams::default().fields(&format!("metadata.name={}", pod.name_any())).timeout(60);
    let version = pod.resource_version().context("a version")?;
    let mut events = pods.watch(&only, &version).await.context("watch a pod")?.boxed();
    while let Some(event) = events.try_next().await.context("watch a pod")? {
        if let WatchEvent::Error(status) = &event {
            bail!("watch a pod: {}", status.message);
        }
        if let Some(pod) = wanted(event) {
            return Ok(pod);
        }
    }
    bail!("pod {} did not get there within a minute", pod.name_any())
}

/// Creates so many small objects.
pub(super) async fn fill(client: &Client, objects: u32) -> Result<()> {
    fill_in(&Api::default_namespaced(client.clone()), objects).await
}

/// The same in some namespace.
pub(super) async fn fill_in(maps: &Api<ConfigMap>, objects: u32) -> Result<()> {
    let writes = (0..objects).map(|index| {
        let maps = maps.clone();
        async move {
            let map = serde_json::from_value(json!({
                "metadata": {"name": format!("map{index}"), "labels": {"app": "bench"}},
                "data": {"index": index.to_string(), "text": "x".repeat(200)},
            }))?;
            maps.create(&PostParams::default(), &map).await.context("create a config map")?;
            anyhow::Ok(())
        }
    });
    futures::stream::iter(writes).buffer_unordered(WRITERS).try_collect().await
}

/// Number of objects that [`fill`] made.
pub(super) async fn count(client: &Client) -> Result<usize> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    Ok(maps.list(&ListParams::default().labels("app=bench")).await.context("list config maps")?.items.len())
}
