//! Discovery documents of the built-in kinds.

use super::facts::gather;
use super::*;
use crate::{resources, reviews, subresources};
use http_body_util::BodyExt;

fn all() -> Vec<ResourceFacts> {
    let strategies = resources::all();
    gather(strategies.iter().map(|s| &**s), &subresources::all(), &reviews::all())
}

async fn get(path: &str, accept: &str) -> Option<(http::response::Parts, Value)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, accept.parse().unwrap());
    let (parts, body) = answer(path, &headers, &all())?.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Some((parts, serde_json::from_slice(&body).unwrap_or_default()))
}

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
const V2BETA1: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn legacy_documents_list_resources_and_subresources() {
    let (parts, document) = get("/api/v1", "application/json, */*").await.unwrap();
    assert_eq!(parts.headers["content-type"], "application/json");
    assert_eq!(document["kind"], "APIResourceList");
    let list = document["resources"].as_array().unwrap();
    let find = |name: &str| list.iter().find(|r| r["name"] == name).unwrap();
    assert_eq!(find("pods")["shortNames"], serde_json::json!(["po"]));
    assert_eq!(find("pods")["storageVersionHash"], "xPOwRZ+Yhw8=");
    assert_eq!(find("pods/status")["kind"], "Pod");
    assert_eq!(find("pods/eviction")["group"], "policy");
    assert_eq!(find("namespaces")["namespaced"], false);
    let names: Vec<&str> = list.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[tokio::test]
async fn groups_come_in_upstreams_order() {
    let (_, document) = get("/apis/", "application/json").await.unwrap();
    let names: Vec<&str> =
        document["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "apps",
            "authentication.k8s.io",
            "authorization.k8s.io",
            "autoscaling",
            "batch",
            "certificates.k8s.io",
            "networking.k8s.io",
            "policy",
            "rbac.authorization.k8s.io",
            "storage.k8s.io",
            "admissionregistration.k8s.io",
            "scheduling.k8s.io",
            "coordination.k8s.io",
            "node.k8s.io",
            "discovery.k8s.io",
            "resource.k8s.io",
            "flowcontrol.apiserver.k8s.io",
        ]
    );
    let (_, group) = get("/apis/coordination.k8s.io", "*/*").await.unwrap();
    assert_eq!(group["preferredVersion"]["groupVersion"], "coordination.k8s.io/v1");
    assert!(get("/apis/nothing.example.com", "*/*").await.is_none());
    assert!(get("/apis/coordination.k8s.io/v9", "*/*").await.is_none());
    assert!(get("/api/v9", "*/*").await.is_none());
}

#[tokio::test]
async fn aggregated_discovery_is_for_those_who_ask_for_v2() {
    let (parts, document) = get("/apis", V2).await.unwrap();
    assert_eq!(parts.headers["content-type"], AGGREGATED);
    assert_eq!(parts.headers["vary"], "Accept");
    assert_eq!(document["kind"], "APIGroupDiscoveryList");
    assert_eq!(document["items"][0]["metadata"]["name"], "apps");
    assert_eq!(document["items"][0]["versions"][0]["freshness"], "Current");
    let (_, core) = get("/api", V2).await.unwrap();
    let pods = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
    let pods = pods.iter().find(|r| r["resource"] == "pods").unwrap();
    assert_eq!(pods["scope"], "Namespaced");
    let eviction =
        pods["subresources"].as_array().unwrap().iter().find(|s| s["subresource"] == "eviction").unwrap();
    assert_eq!(
        eviction["responseKind"],
        serde_json::json!({"group": "policy", "version": "v1", "kind": "Eviction"})
    );
    for accept in [V2BETA1, "application/json", "*/*", ""] {
        assert_eq!(get("/api", accept).await.unwrap().1["kind"], "APIVersions", "{accept}");
    }
}

#[test]
fn an_unchanged_document_is_not_sent_again() {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, V2.parse().unwrap());
    let etag = answer("/apis", &headers, &all()).unwrap().headers()[header::ETAG].clone();
    headers.insert(header::IF_NONE_MATCH, etag.clone());
    let again = answer("/apis", &headers, &all()).unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(again.headers()[header::ETAG], etag);
}
