//! sig-network: services, their endpoints, and what leads to them.

use super::operations::{Case, operations, run_in};
use super::wire::{MERGE, Wire};
use serde_json::{Value, json};

fn service(_: &str) -> Value {
    json!({"spec": {"ports": [{"name": "http", "port": 80}]}})
}

fn endpoints(_: &str) -> Value {
    json!({"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]})
}

fn slice(_: &str) -> Value {
    json!({"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
}

fn ingress(_: &str) -> Value {
    json!({"spec": {"defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}}}})
}

fn ingress_class(_: &str) -> Value {
    json!({"spec": {"controller": "example.com/controller"}})
}

fn policy(_: &str) -> Value {
    json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
}

fn service_cidr(name: &str) -> Value {
    json!({"spec": {"cidrs": [if name == "one" { "10.10.0.0/24" } else { "10.11.0.0/24" }]}})
}

fn address(_: &str) -> Value {
    json!({"spec": {"parentRef": {"group": "", "resource": "services", "namespace": "default", "name": "foo"}}})
}

fn budget() -> Value {
    json!({"conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
}

operations! {
    services_should_complete_a_service_status_lifecycle_and_delete_a_collection_of_services:
        Case::new("v1", "Service", "services", service).status(budget());
    endpoint_slice_should_support_creating_endpoint_slice_api_operations:
        Case::new("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", slice);
    ingress_api_should_support_creating_ingress_api_operations:
        Case::new("networking.k8s.io/v1", "Ingress", "ingresses", ingress)
            .wish(json!({"spec": {"defaultBackend": {"service": {"name": "other"}}}}))
            .status(json!({"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}));
    ingress_class_api_should_support_creating_ingress_class_api_operations:
        Case::new("networking.k8s.io/v1", "IngressClass", "ingressclasses", ingress_class).cluster_scoped();
    network_policy_api_should_support_creating_network_policy_api_operations:
        Case::new("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", policy);
    service_cidr_and_ip_address_api_should_support_service_cidr_api_operations:
        Case::new("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs", service_cidr).cluster_scoped();
    service_cidr_and_ip_address_api_should_support_ip_address_api_operations:
        Case::new("networking.k8s.io/v1", "IPAddress", "ipaddresses", address)
            .cluster_scoped()
            .named("192.168.1.1", "192.168.1.2");
}

/// Endpoints without a Service that the controller finds when it starts are left over, and deleted: it has to have started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_should_test_the_lifecycle_of_an_endpoint() {
    let wire = Wire::start().await;
    let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "started"},
        "spec": {"selector": {"app": "none"}, "ports": [{"port": 80}]}});
    assert_eq!(wire.post("/api/v1/namespaces/default/services", &service).await.code, 201);
    wire.eventually("/api/v1/namespaces/default/endpoints/started", |answer| answer.code == 200).await;
    run_in(wire, Case::new("v1", "Endpoints", "endpoints", endpoints)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_should_provide_secure_master_service() {
    let wire = Wire::start().await;
    let service = wire.get("/api/v1/namespaces/default/services/kubernetes").await.ok();
    assert_eq!(
        (&service["spec"]["ports"][0]["name"], &service["spec"]["ports"][0]["port"]),
        (&json!("https"), &json!(443))
    );
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_should_find_a_service_from_listing_all_namespaces() {
    let wire = Wire::start().await;
    let list = wire.get("/api/v1/services").await.ok();
    let mut items = list["items"].as_array().into_iter().flatten();
    assert!(items.any(|s| s["metadata"]["name"] == "kubernetes" && s["metadata"]["namespace"] == "default"));
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_should_be_able_to_change_the_type_between_external_name_cluster_ip_and_node_port() {
    let wire = Wire::start().await;
    let path = "/api/v1/namespaces/default/services";
    let external = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"},
        "spec": {"type": "ExternalName", "externalName": "foo.example.com"}});
    let created = wire.post(path, &external).await.ok();
    assert_eq!(created["spec"]["clusterIP"], Value::Null);
    let at = format!("{path}/s");
    let cluster_ip = wire
        .update(&at, |s| {
            s["spec"]["type"] = "ClusterIP".into();
            s["spec"]["externalName"] = Value::Null;
            s["spec"]["ports"] = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
        })
        .await;
    assert!(cluster_ip["spec"]["clusterIP"].is_string(), "{cluster_ip}");
    let node_port = wire.update(&at, |s| s["spec"]["type"] = "NodePort".into()).await;
    assert_eq!(node_port["spec"]["clusterIP"], cluster_ip["spec"]["clusterIP"]);
    assert!(node_port["spec"]["ports"][0]["nodePort"].as_i64().is_some_and(|p| (30000..32768).contains(&p)));
    let external = wire
        .update(&at, |s| {
            s["spec"]["type"] = "ExternalName".into();
            s["spec"]["externalName"] = "bar.example.com".into();
        })
        .await;
    assert_eq!(external["spec"]["clusterIP"], Value::Null, "{external}");
    assert_eq!(external["spec"]["ports"][0]["nodePort"], Value::Null, "{external}");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingress_api_should_refuse_what_leads_nowhere() {
    let wire = Wire::start().await;
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let empty = json!({"kind": "Ingress", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "i"}, "spec": {}});
    let refused = wire.post(path, &empty).await.refused(422);
    assert!(refused.contains("either `defaultBackend` or `rules` must be specified"), "{refused}");
    let full = json!({"kind": "Ingress", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "i"}, "spec": ingress("")["spec"]});
    wire.post(path, &full).await.ok();
    let patched = wire
        .patch(MERGE, &format!("{path}/i"), &json!({"spec": {"rules": [{"host": "a.example.com", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}))
        .await
        .ok();
    assert_eq!(patched["metadata"]["generation"], 2);
    wire.stop().await;
}

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_slice_should_have_endpoints_and_endpoint_slices_pointing_to_the_api_server() {
    let wire = Wire::start().await;
    let endpoints = wire.get("/api/v1/namespaces/default/endpoints/kubernetes").await.ok();
    let slice = wire.get(&format!("{SLICES}/kubernetes")).await.ok();
    let (subset, endpoint) = (&endpoints["subsets"][0], &slice["endpoints"][0]);
    assert_eq!(subset["addresses"][0]["ip"], endpoint["addresses"][0]);
    assert_eq!(subset["ports"][0]["port"], slice["ports"][0]["port"]);
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "kubernetes");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_slice_should_create_and_delete_both_for_a_service_with_a_selector_that_matches_no_pods() {
    let wire = Wire::start().await;
    let services = "/api/v1/namespaces/default/services";
    let object = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "empty"},
        "spec": {"selector": {"does-not-match": "endpoints"}, "ports": [{"name": "http", "port": 80}]}});
    wire.post(services, &object).await.ok();
    let endpoints = "/api/v1/namespaces/default/endpoints/empty";
    wire.eventually(endpoints, |answer| answer.code == 200 && answer.body["subsets"].is_null()).await;
    let slices = format!("{SLICES}?labelSelector=kubernetes.io/service-name%3Dempty");
    let count = |answer: &super::wire::Answer| answer.body["items"].as_array().map_or(0, Vec::len);
    wire.eventually(&slices, |answer| count(answer) == 1).await;
    wire.delete(&format!("{services}/empty")).await.ok();
    wire.eventually(endpoints, |answer| answer.code == 404).await;
    wire.eventually(&slices, |answer| count(answer) == 0).await;
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_slice_mirroring_should_mirror_a_custom_endpoints_resource_through_create_update_and_delete()
{
    let wire = Wire::start().await;
    let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "custom"},
        "spec": {"ports": [{"name": "example", "port": 80}]}});
    wire.post("/api/v1/namespaces/default/services", &service).await.ok();
    let endpoints = "/api/v1/namespaces/default/endpoints";
    let object = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "custom"},
        "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "example", "port": 80}]}]});
    wire.post(endpoints, &object).await.ok();
    let slices = format!("{SLICES}?labelSelector=kubernetes.io/service-name%3Dcustom");
    let shows = async |address: &str| {
        wire.eventually(&slices, |answer| {
            let slice = &answer.body["items"][0];
            slice["endpoints"][0]["addresses"][0] == *address
                && slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
                    == "endpointslicemirroring-controller.k8s.io"
        })
        .await;
    };
    shows("10.1.2.3").await;
    let at = format!("{endpoints}/custom");
    wire.update(&at, |endpoints| endpoints["subsets"][0]["addresses"][0]["ip"] = "10.2.3.4".into()).await;
    shows("10.2.3.4").await;
    wire.delete(&at).await.ok();
    wire.eventually(&slices, |answer| answer.body["items"].as_array().is_some_and(Vec::is_empty)).await;
    wire.stop().await;
}
