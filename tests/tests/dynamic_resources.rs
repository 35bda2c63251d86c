//! Devices for pods in whole clusters on simulated nodes: classes, slices, claims from templates.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::{eventually, eventually_some};
use tests::workloads::{DEADLINE, cluster, create, selected, untainted, workload};

const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// Creates an object that is of no namespace.
async fn everywhere<K>(cluster: &Cluster, object: Value)
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
        + Clone
        + std::fmt::Debug
        + k8s_openapi::serde::Serialize
        + k8s_openapi::serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object).expect("an object");
    Api::<K>::all(cluster.client()).create(&PostParams::default(), &object).await.expect("the API takes it");
}

/// The class `gpu`, the template `gpu`, and on each node a pool of so many devices.
async fn devices(cluster: &Cluster, nodes: usize, count: usize) {
    let selector = json!([{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]);
    everywhere::<DeviceClass>(cluster, json!({"metadata": {"name": "gpu"}, "spec": {"selectors": selector}}))
        .await;
    for (node, name) in cluster_nodes(cluster).await.into_iter().take(nodes).enumerate() {
        let devices: Vec<Value> = (0..count)
            .map(|i| json!({"name": format!("gpu-{i}"), "attributes": {"index": {"int": i}}}))
            .collect();
        let spec = json!({"driver": "gpu.example.com", "nodeName": name, "devices": devices,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}});
        everywhere::<ResourceSlice>(
            cluster,
            json!({"metadata": {"name": format!("slice-{node}")}, "spec": spec}),
        )
        .await;
    }
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu",
        "selectors": [{"cel": {"expression": "device.attributes['gpu.example.com'].index >= 0"}}]}});
    create::<ResourceClaimTemplate>(
        cluster,
        json!({"metadata": {"name": "gpu"}, "spec": {"spec": {"devices": {"requests": [request]}}}}),
    )
    .await;
}

async fn cluster_nodes(cluster: &Cluster) -> Vec<String> {
    let nodes = Api::<k8s_openapi::api::core::v1::Node>::all(cluster.client());
    nodes.list(&ListParams::default()).await.expect("nodes").items.iter().map(ResourceExt::name_any).collect()
}

fn claims(cluster: &Cluster) -> Api<ResourceClaim> {
    Api::default_namespaced(cluster.client())
}

async fn all_claims(cluster: &Cluster) -> Vec<ResourceClaim> {
    claims(cluster).list(&ListParams::default()).await.expect("claims").items
}

/// The devices that claims have: pool and name.
async fn given(cluster: &Cluster) -> Vec<(String, String)> {
    let all = all_claims(cluster).await;
    let results = all.iter().filter_map(|claim| claim.status.as_ref()?.allocation.as_ref()?.devices.as_ref());
    let results = results.flat_map(|devices| devices.results.iter().flatten());
    results.map(|result| (result.pool.clone(), result.device.clone())).collect()
}

fn with_claim(mut workload: Value, template: &str) -> Value {
    workload["spec"]["template"]["spec"]["resourceClaims"] =
        json!([{"name": "gpu", "resourceClaimTemplateName": template}]);
    workload
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_a_device_gets_it_when_another_goes() {
    let cluster = cluster(2).await;
    untainted(&cluster).await;
    devices(&cluster, 2, 1).await;
    create::<Deployment>(&cluster, with_claim(workload("web", json!({"replicas": 3})), "gpu")).await;
    eventually(DEADLINE, async || {
        let pods = selected::<Pod>(&cluster, "web").await;
        pods.len() == 3 && pods.iter().filter(|pod| is_running(pod)).count() == 2
    })
    .await;
    // Each has its own.
    let distinct: BTreeSet<_> = given(&cluster).await.into_iter().collect();
    assert_eq!(distinct.len(), 2);
    let pods = selected::<Pod>(&cluster, "web").await;
    let running = pods.iter().find(|pod| is_running(pod)).expect("one that runs").clone();
    let statuses = running.status.as_ref().and_then(|status| status.resource_claim_statuses.clone());
    let name = statuses.expect("statuses")[0].resource_claim_name.clone().expect("a claim");
    assert!(name.starts_with(&format!("{}-gpu-", running.name_any())), "{name}");
    let claim = claims(&cluster).get(&name).await.expect("the claim");
    assert_eq!(claim.finalizers(), [FINALIZER]);
    assert_eq!(claim.annotations()["resource.kubernetes.io/pod-claim-name"], "gpu");
    let status = claim.status.expect("a status");
    let reserved = status.reserved_for.expect("reservations");
    assert_eq!((reserved.len(), Some(&reserved[0].uid)), (1, running.metadata.uid.as_ref()));
    let selector =
        serde_json::to_value(status.allocation.expect("an allocation").node_selector).expect("JSON");
    let node = running.spec.as_ref().and_then(|spec| spec.node_name.clone());
    assert_eq!(selector["nodeSelectorTerms"][0]["matchFields"][0]["values"], json!([node]));

    // Who waits is told why, once it is known that there is no device.
    let events = Api::<Event>::default_namespaced(cluster.client());
    let failed = ListParams::default().fields("reason=FailedScheduling");
    let told = eventually_some(DEADLINE, async || {
        let events = events.list(&failed).await.expect("events").items;
        events
            .into_iter()
            .filter_map(|event| event.message)
            .find(|message| message.contains("cannot allocate"))
    })
    .await;
    assert_eq!(
        told,
        "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );

    let waiting = selected::<Pod>(&cluster, "web").await;
    let waiting = waiting.iter().find(|pod| !is_running(pod)).expect("one that waits").name_any();
    let pods = Api::<Pod>::default_namespaced(cluster.client());
    pods.delete(&running.name_any(), &DeleteParams::default()).await.expect("it goes");
    eventually(DEADLINE, async || claims(&cluster).get_opt(&name).await.expect("an answer").is_none()).await;
    eventually(DEADLINE, async || is_running(&pods.get(&waiting).await.expect("who waited"))).await;
    // The one that took the other's place waits now.
    eventually(DEADLINE, async || {
        let pods = selected::<Pod>(&cluster, "web").await;
        pods.len() == 3 && pods.iter().filter(|pod| is_running(pod)).count() == 2
    })
    .await;

    // All go, and nothing is left of the claims.
    let deployments = Api::<Deployment>::default_namespaced(cluster.client());
    deployments.delete("web", &DeleteParams::background()).await.expect("it goes");
    eventually(DEADLINE, async || all_claims(&cluster).await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_have_ended_leave_their_devices_to_the_next() {
    let cluster = cluster(1).await;
    untainted(&cluster).await;
    devices(&cluster, 1, 2).await;
    let job = json!({"metadata": {"name": "train"}, "spec": {"completions": 6, "parallelism": 6, "template": {"spec": {
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "busybox", "command": ["sleep", "5"]}]}}}});
    create::<Job>(&cluster, with_claim(job, "gpu")).await;
    let jobs = Api::<Job>::default_namespaced(cluster.client());
    eventually(DEADLINE, async || {
        assert!(given(&cluster).await.len() <= 2, "no more than there are");
        let status = jobs.get("train").await.expect("the job").status;
        status.and_then(|status| status.succeeded) == Some(6)
    })
    .await;
    // The pods are there still, and need nothing any more.
    eventually(DEADLINE, async || all_claims(&cluster).await.is_empty()).await;
    let pods = Api::<Pod>::default_namespaced(cluster.client());
    assert_eq!(pods.list(&ListParams::default()).await.expect("pods").items.len(), 6);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_share_a_claim_of_their_users_where_its_devices_are() {
    let cluster = cluster(2).await;
    untainted(&cluster).await;
    devices(&cluster, 2, 1).await;
    let devices = json!({"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]});
    let mut web = workload("web", json!({"replicas": 3}));
    web["spec"]["template"]["spec"]["resourceClaims"] =
        json!([{"name": "gpu", "resourceClaimName": "shared"}]);
    create::<Deployment>(&cluster, web).await;
    // They wait for it.
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "web").await.len() == 3).await;
    create::<ResourceClaim>(&cluster, json!({"metadata": {"name": "shared"}, "spec": {"devices": devices}}))
        .await;
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "web").await.iter().all(is_running)).await;
    let pods = selected::<Pod>(&cluster, "web").await;
    let nodes: BTreeSet<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    assert_eq!(nodes.len(), 1);
    let claim = claims(&cluster).get("shared").await.expect("the claim");
    assert_eq!(claim.status.and_then(|status| status.reserved_for).map(|reserved| reserved.len()), Some(3));
    // A claim in use stays, and goes with its last user.
    claims(&cluster).delete("shared", &DeleteParams::default()).await.expect("it is marked");
    assert!(claims(&cluster).get("shared").await.expect("it is there").metadata.deletion_timestamp.is_some());
    let deployments = Api::<Deployment>::default_namespaced(cluster.client());
    deployments.delete("web", &DeleteParams::background()).await.expect("it goes");
    eventually(DEADLINE, async || all_claims(&cluster).await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_leave_devices_with_taints() {
    let cluster = cluster(1).await;
    untainted(&cluster).await;
    devices(&cluster, 1, 2).await;
    create::<Deployment>(&cluster, with_claim(workload("web", json!({"replicas": 1})), "gpu")).await;
    let first = eventually_some(DEADLINE, async || {
        selected::<Pod>(&cluster, "web").await.into_iter().find(is_running)
    })
    .await;
    let (_, device) = given(&cluster).await.pop().expect("a device");
    let slices = Api::<ResourceSlice>::all(cluster.client());
    let slice = slices.get("slice-0").await.expect("the slice");
    let mut devices = serde_json::to_value(slice.spec.devices).expect("JSON");
    for known in devices.as_array_mut().expect("devices") {
        if known["name"] == device.as_str() {
            known["taints"] = json!([{"key": "broken", "effect": "NoExecute"}]);
        }
    }
    let change = Patch::Merge(json!({"spec": {"devices": devices}}));
    slices.patch("slice-0", &PatchParams::default(), &change).await.expect("it is tainted");
    let second = eventually_some(DEADLINE, async || {
        let pods = selected::<Pod>(&cluster, "web").await;
        pods.into_iter().find(|pod| is_running(pod) && pod.metadata.uid != first.metadata.uid)
    })
    .await;
    assert_ne!(second.name_any(), first.name_any());
    eventually(DEADLINE, async || given(&cluster).await.iter().all(|(_, other)| *other != device)).await;
    cluster.stop().await;
}

/// What a driver says of the device of a claim: that this condition is met.
async fn report(cluster: &Cluster, claim: &ResourceClaim, condition: &str) {
    let results = claim.status.as_ref().and_then(|status| status.allocation.as_ref()?.devices.as_ref());
    let result = results.and_then(|devices| devices.results.as_ref()?.first()).expect("a device");
    let condition = json!({"type": condition, "status": "True", "reason": "Told", "message": "by the fabric",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let device = json!({"driver": result.driver, "pool": result.pool, "device": result.device, "conditions": [condition]});
    let change = Patch::Merge(json!({"status": {"devices": [device]}}));
    let written = claims(cluster).patch_status(&claim.name_any(), &PatchParams::default(), &change).await;
    written.expect("the driver is heard");
}

/// The claim that has a device, once there is one of which drivers have said nothing.
async fn silent(cluster: &Cluster) -> ResourceClaim {
    eventually_some(DEADLINE, async || {
        all_claims(cluster).await.into_iter().find(|claim| {
            let status = claim.status.as_ref();
            status.is_some_and(|status| status.allocation.is_some() && status.devices.is_none())
        })
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_when_its_devices_are_attached() {
    let cluster = cluster(1).await;
    untainted(&cluster).await;
    devices(&cluster, 0, 0).await;
    let spec = json!({"driver": "gpu.example.com", "allNodes": true,
        "pool": {"name": "fabric", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "gpu-0", "attributes": {"index": {"int": 0}}, "bindsToNode": true,
            "bindingConditions": ["Attached"], "bindingFailureConditions": ["Refused"]}]});
    everywhere::<ResourceSlice>(&cluster, json!({"metadata": {"name": "fabric"}, "spec": spec})).await;
    create::<Deployment>(&cluster, with_claim(workload("web", json!({"replicas": 1})), "gpu")).await;

    // It fails at first: the device is taken back, and given once more.
    let first = silent(&cluster).await;
    let allocation = first.status.clone().and_then(|status| status.allocation).expect("an allocation");
    assert!(allocation.allocation_timestamp.is_some());
    let node = cluster_nodes(&cluster).await.pop().expect("a node");
    let selector = serde_json::to_value(allocation.node_selector).expect("JSON");
    assert_eq!(selector["nodeSelectorTerms"][0]["matchFields"][0]["values"], json!([node]));
    let events = Api::<Event>::default_namespaced(cluster.client());
    let told = async |reason: &str, part: &str| {
        let all = ListParams::default().fields(&format!("reason={reason}"));
        eventually_some(DEADLINE, async || {
            let events = events.list(&all).await.expect("events").items;
            events.into_iter().filter_map(|event| event.message).find(|message| message.contains(part))
        })
        .await
    };
    let waiting = told("BindingConditionsPending", "waiting").await;
    assert_eq!(waiting, format!("waiting for binding conditions for device on node {node}"));
    assert!(selected::<Pod>(&cluster, "web").await.iter().all(|pod| !is_running(pod)));
    report(&cluster, &first, "Refused").await;
    let failed = told("FailedScheduling", "binding failed").await;
    let name = first.name_any();
    let why = format!("claim {name} binding failed: reason=Told, message=\"by the fabric\"");
    assert_eq!(failed, format!("running PreBind plugin \"DynamicResources\": {why}"));

    let second = silent(&cluster).await;
    assert_eq!(second.name_any(), name);
    assert!(selected::<Pod>(&cluster, "web").await.iter().all(|pod| !is_running(pod)));
    report(&cluster, &second, "Attached").await;
    eventually(DEADLINE, async || selected::<Pod>(&cluster, "web").await.iter().all(is_running)).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn access_as_an_administrator_is_refused_where_the_namespace_does_not_say_so() {
    let cluster = cluster(0).await;
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu", "adminAccess": true}});
    let claim = json!({"metadata": {"name": "all"}, "spec": {"devices": {"requests": [request]}}});
    let claim: ResourceClaim = serde_json::from_value(claim).expect("a claim");
    let refused = claims(&cluster).create(&PostParams::default(), &claim).await.expect_err("it is refused");
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            422,
            "ResourceClaim.resource.k8s.io \"all\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
        )
    );
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(cluster.client());
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    let labelled = namespaces.patch("default", &PatchParams::default(), &Patch::Merge(label)).await;
    labelled.expect("the namespace is labelled");
    claims(&cluster).create(&PostParams::default(), &claim).await.expect("it is taken");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_class_stands_for_an_extended_resource_where_a_node_does_not_offer_it() {
    let cluster = cluster(2).await;
    untainted(&cluster).await;
    devices(&cluster, 1, 2).await;
    let classes = Api::<DeviceClass>::all(cluster.client());
    let resource = "example.com/gpu";
    let mut web = workload("web", json!({"replicas": 2}));
    web["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"limits": {resource: "1", "cpu": "10m"}});
    create::<Deployment>(&cluster, web).await;
    let events = Api::<Event>::default_namespaced(cluster.client());
    let failed = ListParams::default().fields("reason=FailedScheduling");
    let told = eventually_some(DEADLINE, async || {
        let events = events.list(&failed).await.expect("events").items;
        events.into_iter().find_map(|event| event.message)
    })
    .await;
    assert!(told.contains("2 Insufficient example.com/gpu"), "{told}");

    let change = Patch::Merge(json!({"spec": {"extendedResourceName": resource}}));
    classes.patch("gpu", &PatchParams::default(), &change).await.expect("the class is changed");
    eventually(DEADLINE, async || {
        let pods = selected::<Pod>(&cluster, "web").await;
        pods.len() == 2 && pods.iter().all(is_running)
    })
    .await;
    let distinct: BTreeSet<_> = given(&cluster).await.into_iter().collect();
    assert_eq!(distinct.len(), 2);
    let pod = selected::<Pod>(&cluster, "web").await.pop().expect("a pod");
    let status = pod.status.clone().and_then(|status| status.extended_resource_claim_status);
    let status = status.expect("the pod tells of its claim");
    let name = status.resource_claim_name.clone();
    assert!(name.starts_with(&format!("{}-extended-resources-", pod.name_any())), "{name}");
    let container = pod.spec.as_ref().map(|spec| spec.containers[0].name.clone());
    let mapping = &status.request_mappings[0];
    assert_eq!(
        (Some(&mapping.container_name), mapping.request_name.as_str(), mapping.resource_name.as_str()),
        (container.as_ref(), "container-0-request-1", resource)
    );
    let claim = claims(&cluster).get(&name).await.expect("the claim");
    assert_eq!(claim.annotations()["resource.kubernetes.io/extended-resource-claim"], "true");
    assert_eq!(claim.owner_references()[0].uid, pod.uid().expect("an identity"));

    let deployments = Api::<Deployment>::default_namespaced(cluster.client());
    deployments.delete("web", &DeleteParams::background()).await.expect("it goes");
    eventually(DEADLINE, async || all_claims(&cluster).await.is_empty()).await;
    cluster.stop().await;
}
