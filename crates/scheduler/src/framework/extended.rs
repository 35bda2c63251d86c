//! Extended resources that a class of devices stands for: what a pod asks of them becomes a claim of its own.
//!
//! **Contract**: pure. A node that offers the resource itself (by a device plugin) needs no claim for it, so the claim
//! differs from node to node. It exists when it is written, just before the pod is bound.
//! **Upstream**: `extendeddynamicresources.go` of the plugin.

use super::{Devices, NodeInfo, PodInfo};
use api::k8s_openapi::api::core::v1::{Container, Pod};
use api::k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceRequest, ExactDeviceRequest, ResourceClaim, ResourceClaimSpec,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use api::pod::parse_quantity;
use api::resource_claim::EXTENDED_CLAIM;
use serde_json::{Value, json};

/// Whether a pod asks for a resource that a class stands for.
pub(crate) fn is_asked(pod: &PodInfo, devices: &Devices) -> bool {
    pod.requests.other.iter().any(|(name, amount)| *amount > 0 && devices.class_of(name).is_some())
}

/// What a container asks for of one resource.
struct Asked<'a> {
    container: &'a Container,
    resource: &'a str,
    /// The name of the claim's request: containers and, in each of them, resources are counted.
    request: String,
    amount: i64,
}

/// What the containers of a pod ask for, those that initialise it first.
fn asked(pod: &Pod) -> Vec<Asked<'_>> {
    let spec = pod.spec.as_ref();
    let first = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let containers = first.iter().chain(spec.map(|spec| spec.containers.as_slice()).unwrap_or_default());
    let mut all: Vec<_> = containers
        .enumerate()
        .flat_map(|(i, container)| {
            let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            requests.into_iter().flatten().enumerate().map(move |(j, (resource, amount))| Asked {
                container,
                resource,
                request: format!("container-{i}-request-{j}"),
                amount: parse_quantity(amount).value(),
            })
        })
        .collect();
    all.sort_by(|a, b| a.request.cmp(&b.request));
    all
}

/// The claim that a pod needs on a node; none if there is nothing to claim.
pub(crate) fn claim(pod: &PodInfo, node: &NodeInfo, devices: &Devices) -> Option<ResourceClaim> {
    let whole = pod.pod();
    let requests = asked(&whole).into_iter().filter(|asked| asked.amount > 0).filter_map(|asked| {
        let class = devices.class_of(asked.resource)?;
        let is_offered = node.allocatable.amount(asked.resource) > 0;
        (!is_offered).then(|| DeviceRequest {
            exactly: Some(ExactDeviceRequest {
                allocation_mode: Some("ExactCount".to_owned()),
                count: Some(asked.amount),
                device_class_name: class.to_owned(),
                ..ExactDeviceRequest::default()
            }),
            name: asked.request,
            ..DeviceRequest::default()
        })
    });
    let requests: Vec<_> = requests.collect();
    if requests.is_empty() {
        return None;
    }
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        controller: Some(true),
        kind: "Pod".to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        ..OwnerReference::default()
    };
    Some(ResourceClaim {
        metadata: ObjectMeta {
            annotations: Some([(EXTENDED_CLAIM.to_owned(), "true".to_owned())].into()),
            generate_name: Some(format!("{}-extended-resources-", pod.name())),
            namespace: Some(pod.namespace().to_owned()),
            owner_references: Some(vec![owner]),
            uid: Some(Devices::provisional(pod.uid())),
            ..ObjectMeta::default()
        },
        spec: ResourceClaimSpec {
            devices: Some(DeviceClaim { requests: Some(requests), ..DeviceClaim::default() }),
        },
        status: None,
    })
}

/// What the pod's status says of that claim, once it is there.
pub(crate) fn told(pod: &Pod, claim: &ResourceClaim) -> Value {
    let devices = claim.spec.devices.as_ref();
    let requests = devices.and_then(|devices| devices.requests.as_deref()).unwrap_or_default();
    let all = asked(pod);
    let is_claimed = |asked: &&Asked<'_>| requests.iter().any(|request| request.name == asked.request);
    let mappings: Vec<Value> = all
        .iter()
        .filter(is_claimed)
        .map(|asked| {
            let (container, resource, request) = (&asked.container.name, asked.resource, &asked.request);
            json!({"containerName": container, "resourceName": resource, "requestName": request})
        })
        .collect();
    json!({"resourceClaimName": claim.metadata.name, "requestMappings": mappings})
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::api::core::v1::Node;
    use std::sync::Arc;

    fn pod() -> PodInfo {
        let container =
            |name: &str, requests: Value| json!({"name": name, "resources": {"requests": requests}});
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
            "initContainers": [container("init", json!({"x.io/gpu": "1"}))],
            "containers": [container("main", json!({"cpu": "1", "x.io/gpu": "2", "y.io/fpga": "1",
                "deviceclass.resource.kubernetes.io/nic": "1"}))]}});
        PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
    }

    fn devices() -> Devices {
        let mut devices = Devices::default();
        for (name, resource, since) in [
            ("gpu", "x.io/gpu", "2026-01-02"),
            ("old", "x.io/gpu", "2026-01-01"),
            ("nic", "x.io/nic", "2026-01-01"),
        ] {
            let class = json!({"metadata": {"name": name, "creationTimestamp": format!("{since}T00:00:00Z")},
                "spec": {"extendedResourceName": resource}});
            devices.classes.insert(name.to_owned(), Arc::new(serde_json::from_value(class).unwrap()));
        }
        devices
    }

    fn requests(allocatable: Value) -> Vec<(String, String, i64)> {
        let node: Node = serde_json::from_value(json!({"status": {"allocatable": allocatable}})).unwrap();
        let mut info = NodeInfo::default();
        info.set_node(Arc::new(node));
        let claim = claim(&pod(), &info, &devices());
        let requests = claim.and_then(|claim| claim.spec.devices?.requests).unwrap_or_default();
        let told = |request: DeviceRequest| {
            let exactly = request.exactly.unwrap();
            (request.name, exactly.device_class_name, exactly.count.unwrap())
        };
        requests.into_iter().map(told).collect()
    }

    #[test]
    fn what_a_node_does_not_offer_is_claimed() {
        let request = |name: &str, class: &str, count| (name.to_owned(), class.to_owned(), count);
        let nic = request("container-1-request-1", "nic", 1);
        let gpus = [request("container-0-request-0", "gpu", 1), request("container-1-request-2", "gpu", 2)];
        let [first, second] = gpus;
        assert_eq!(requests(json!({})), [first, nic.clone(), second]);
        assert_eq!(requests(json!({"x.io/gpu": "4"})), [nic]);
        assert!(is_asked(&pod(), &devices()));
        assert!(!is_asked(&pod(), &Devices::default()));
    }

    #[test]
    fn a_pod_tells_which_request_is_for_which_container() {
        let claim: ResourceClaim = serde_json::from_value(json!({"metadata": {"name": "c"},
            "spec": {"devices": {"requests": [{"name": "container-1-request-2"}]}}}))
        .unwrap();
        assert_eq!(
            told(&pod().pod(), &claim),
            json!({"resourceClaimName": "c", "requestMappings": [
                {"containerName": "main", "resourceName": "x.io/gpu", "requestName": "container-1-request-2"}]})
        );
    }
}
