//! What counts, and for whom.

use super::*;
use serde_json::json;

const PODS: Kind<'_> = Kind::core("pods");

fn used(kind: Kind<'_>, object: &Value) -> Value {
    to_json(&kind.usage(object, Timestamp::UNIX_EPOCH))
}

#[test]
fn a_pod_uses_what_it_requests_until_it_ends() {
    let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": {
        "requests": {"cpu": "500m", "memory": "1Gi", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"},
        "limits": {"cpu": "1", "ephemeral-storage": "2Gi"},
    }}]}});
    assert_eq!(
        used(PODS, &pod),
        json!({
            "count/pods": "1", "pods": "1", "cpu": "500m", "requests.cpu": "500m", "limits.cpu": "1",
            "memory": "1Gi", "requests.memory": "1Gi", "requests.example.com/gpu": "2",
            "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi", "limits.ephemeral-storage": "2Gi",
        })
    );
    pod["status"]["phase"] = json!("Succeeded");
    assert_eq!(used(PODS, &pod), json!({"count/pods": "1"}));
    // Overdue to be gone.
    pod["status"] = json!({});
    pod["metadata"] = json!({"deletionTimestamp": "1969-12-31T23:00:00Z", "deletionGracePeriodSeconds": 30});
    assert_eq!(used(PODS, &pod), json!({"count/pods": "1"}));
}

#[test]
fn services_claims_and_others_are_measured() {
    let services = Kind::core("services");
    let service = |spec: Value| used(services, &json!({"spec": spec}));
    let two = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    for (spec, node_ports, balancers) in [
        (json!({"type": "ClusterIP", "ports": two}), "0", "0"),
        (json!({"type": "NodePort", "ports": two}), "2", "0"),
        (json!({"type": "LoadBalancer", "ports": two}), "2", "1"),
        (json!({"type": "LoadBalancer", "ports": two, "allocateLoadBalancerNodePorts": false}), "1", "1"),
    ] {
        let used = service(spec);
        assert_eq!(
            (&used["services.nodeports"], &used["services.loadbalancers"]),
            (&json!(node_ports), &json!(balancers))
        );
    }
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}},
                       "status": {"allocatedResources": {"storage": "2Gi"}}});
    assert_eq!(
        used(Kind::core("persistentvolumeclaims"), &claim),
        json!({
            "count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "2Gi",
            "gold.storageclass.storage.k8s.io/requests.storage": "2Gi",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        })
    );
    assert_eq!(used(Kind::core("secrets"), &json!({})), json!({"count/secrets": "1", "secrets": "1"}));
    let deployments = Kind { group: "apps", plural: "deployments" };
    assert_eq!(used(deployments, &json!({})), json!({"count/deployments.apps": "1"}));
    let devices = json!({"spec": {"devices": {"requests": [
        {"exactly": {"deviceClassName": "gpu", "count": 2}},
        {"firstAvailable": [{"deviceClassName": "gpu"}, {"deviceClassName": "tpu", "count": 3}]},
    ]}}});
    let claims = Kind { group: "resource.k8s.io", plural: "resourceclaims" };
    assert_eq!(used(claims, &devices)["gpu.deviceclass.resource.k8s.io/devices"], "3");
}

#[test]
fn a_name_measures_one_kind() {
    for (name, group, plural) in [
        ("pods", "", "pods"),
        ("count/pods", "", "pods"),
        ("limits.memory", "", "pods"),
        ("requests.example.com/gpu", "", "pods"),
        ("requests.storage", "", "persistentvolumeclaims"),
        ("gold.storageclass.storage.k8s.io/requests.storage", "", "persistentvolumeclaims"),
        ("services.nodeports", "", "services"),
        ("configmaps", "", "configmaps"),
        ("count/widgets.example.com", "example.com", "widgets"),
        ("gpu.deviceclass.resource.k8s.io/devices", "resource.k8s.io", "resourceclaims"),
    ] {
        let kind = kind_of(name).unwrap();
        assert_eq!((kind.group, kind.plural), (group, plural), "{name}");
        assert!(kind.is_measured_by(name), "{name}");
    }
    assert_eq!(kind_of("nonsense"), None);
    assert!(!PODS.is_measured_by("requests.storage") && !PODS.is_measured_by("example.com/gpu"));
}

#[test]
fn containers_state_what_a_quota_names() {
    let pod = json!({"spec": {
        "containers": [{"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}],
        "initContainers": [{"name": "i"}],
    }});
    assert_eq!(
        missing(["cpu", "limits.memory", "pods"], &pod).unwrap(),
        "must specify cpu for: b,i; limits.memory for: a,b,i"
    );
    assert_eq!(missing(["pods", "requests.ephemeral-storage"], &pod), None);
    let mut whole = pod.clone();
    whole["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
    assert_eq!(missing(["cpu"], &whole), None);
}

#[test]
fn scopes_select_objects() {
    let selector = |name: &str, operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": name, "operator": operator, "values": values}]}});
    let best_effort = json!({"spec": {"containers": [{"name": "c"}]}});
    let urgent = json!({"spec": {
        "priorityClassName": "high", "activeDeadlineSeconds": 5,
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
        "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaceSelector": {}}]}},
    }});
    for (spec, wanted) in [
        (json!({}), (true, true)),
        (json!({"scopes": ["BestEffort"]}), (true, false)),
        (json!({"scopes": ["NotBestEffort"]}), (false, true)),
        (json!({"scopes": ["Terminating"]}), (false, true)),
        (json!({"scopes": ["NotTerminating", "BestEffort"]}), (true, false)),
        (selector("PriorityClass", "In", json!(["high"])), (false, true)),
        (selector("PriorityClass", "NotIn", json!(["high"])), (true, false)),
        (selector("PriorityClass", "Exists", json!([])), (false, true)),
        (selector("PriorityClass", "DoesNotExist", json!([])), (true, false)),
        (selector("CrossNamespacePodAffinity", "Exists", json!([])), (false, true)),
    ] {
        let found = (matches(PODS, &spec, &best_effort), matches(PODS, &spec, &urgent));
        assert_eq!(found, wanted, "{spec}");
    }
    let claim = json!({"spec": {"volumeAttributesClassName": "fast"}});
    let claims = Kind::core("persistentvolumeclaims");
    assert!(matches(claims, &selector("VolumeAttributesClass", "In", json!(["fast"])), &claim));
    assert!(!matches(claims, &json!({"scopes": ["Terminating"]}), &claim));
    assert!(!matches(Kind::core("secrets"), &json!({"scopes": ["Terminating"]}), &json!({})));
}
