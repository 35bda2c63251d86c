//! Claims for devices on a node with containers: no driver makes devices ready there, and the pod waits.

use crate::{Bed, main, with};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::api::{Api, PostParams};
use runtime::fake::Operation;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_its_devices_waits_for_their_driver() {
    let folder = tempfile::tempdir().expect("a folder");
    let bed = Bed::with(Some(folder.path().to_owned())).await;
    let (client, params) = (bed.cluster.client(), PostParams::default());
    let class: DeviceClass =
        serde_json::from_value(json!({"metadata": {"name": "gpu"}, "spec": {}})).expect("a class");
    Api::all(client.clone()).create(&params, &class).await.expect("a class");
    let slice: ResourceSlice = serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {
        "driver": "gpu.example.com", "allNodes": true, "devices": [{"name": "a"}],
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}))
    .expect("a slice");
    Api::all(client.clone()).create(&params, &slice).await.expect("a slice");
    let claim: ResourceClaim = serde_json::from_value(json!({"metadata": {"name": "gpu"}, "spec": {
        "devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}}))
    .expect("a claim");
    Api::default_namespaced(client).create(&params, &claim).await.expect("a claim");
    bed.create(with("p", json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}))).await;
    let told = "Failed to prepare dynamic resources: prepare dynamic resources: DRA driver gpu.example.com is not registered";
    bed.event("p", "FailedPrepareDynamicResources", told).await;
    let waiting = bed.until("p", |pod| pod["status"]["containerStatuses"].is_array()).await;
    assert_eq!(main(&waiting)["state"]["waiting"]["reason"], "ContainerCreating");
    assert!(bed.calls(Operation::CreateContainer).is_empty());
    bed.delete("p", None).await;
    bed.gone("p").await;
}
