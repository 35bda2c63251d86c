//! Discovery documents of the built-in kinds.

use super::facts::gather;
use super::*;
use crate::registry::Version;
use crate::{resources, reviews, subresources};
use http_body_util::BodyExt;

fn all() -> Vec<ResourceFacts> {
    let strategies = resources::all();
    let kinds: Vec<Vec<Version>> = strategies.iter().map(Version::all).collect();
    gather(kinds.iter().map(Vec::as_slice), &subresources::all(), &reviews::all())
}

fn catalog() -> Catalog {
    Catalog::new(std::sync::Arc::new(()), all())
}

fn asked(headers: &HeaderMap) -> Asked<'_> {
    Asked { headers, pretty: None, address: "10.0.0.1:6443" }
}

async fn get(path: &str, accept: &str) -> Option<(http::response::Parts, Value)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, accept.parse().unwrap());
    let (parts, body) = answer(path, asked(&headers), &catalog(), &Others::default()).ok()??.into_parts();
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

/// A resource and its subresources as lines of `served-1.36.txt`.
fn lines(facts: &ResourceFacts) -> Vec<String> {
    let (resource, api_version) = (&facts.resource, facts.resource.api_version());
    let mut line = format!(
        "{api_version} {} {} {} {} {}",
        resource.plural,
        resource.singular,
        resource.kind,
        if resource.namespaced() { "Namespaced" } else { "Cluster" },
        facts.verbs.join(",")
    );
    for (name, list) in [("short", &resource.short_names), ("categories", &resource.categories)] {
        if !list.is_empty() {
            line += &format!(" {name}={}", list.join(","));
        }
    }
    if let Some(hash) = facts.storage_version_hash() {
        line += &format!(" hash={hash}");
    }
    let subresource = |s: &SubresourceFacts| {
        let own = s.kind.group == resource.group && s.kind.version == resource.version;
        let kind =
            if own { s.kind.kind.to_string() } else { format!("{}/{}", s.kind.api_version(), s.kind.kind) };
        format!("  {} {kind} {}", s.name, s.verbs.join(","))
    };
    std::iter::once(line).chain(facts.subresources.iter().map(subresource)).collect()
}

#[test]
fn what_is_served_is_what_upstream_serves() {
    let expected: Vec<&str> =
        include_str!("served-1.36.txt").lines().filter(|line| !line.starts_with('#')).collect();
    let served: Vec<String> = all().iter().flat_map(lines).collect();
    let missing: Vec<&&str> = expected.iter().filter(|line| !served.iter().any(|s| s == **line)).collect();
    let extra: Vec<&String> = served.iter().filter(|line| !expected.contains(&line.as_str())).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nnot upstream's: {extra:#?}");
    assert_eq!(served, expected, "the order");
}

/// Every document says the same of a resource.
#[tokio::test]
async fn both_ways_of_discovery_agree() {
    let facts = all();
    for (root, own) in [("/api", true), ("/apis", false)] {
        let (_, aggregated) = get(root, V2).await.unwrap();
        for item in aggregated["items"].as_array().unwrap() {
            let group = item["metadata"]["name"].as_str().unwrap_or("");
            for version in item["versions"].as_array().unwrap() {
                assert_eq!(version["freshness"], "Current");
                let name = version["version"].as_str().unwrap();
                let path = if own { format!("/api/{name}") } else { format!("/apis/{group}/{name}") };
                let (_, legacy) = get(&path, "application/json").await.unwrap();
                let legacy = legacy["resources"].as_array().unwrap();
                let resources = version["resources"].as_array().unwrap();
                let subresources: usize =
                    resources.iter().map(|r| r["subresources"].as_array().map_or(0, Vec::len)).sum();
                assert_eq!(legacy.len(), resources.len() + subresources, "{path}");
                for resource in resources {
                    let same = legacy.iter().find(|r| r["name"] == resource["resource"]).unwrap();
                    for (a, b) in [
                        ("verbs", "verbs"),
                        ("shortNames", "shortNames"),
                        ("categories", "categories"),
                        ("singularName", "singularResource"),
                    ] {
                        assert_eq!(same[a], resource[b], "{path} {a}");
                    }
                    assert_eq!(same["kind"], resource["responseKind"]["kind"]);
                }
            }
        }
    }
    assert!(facts.iter().all(|f| !f.verbs.is_empty()));
}

#[tokio::test]
async fn groups_come_in_upstreams_order() {
    let (_, document) = get("/apis/", "application/json").await.unwrap();
    let names: Vec<&str> =
        document["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "apiregistration.k8s.io",
            "apps",
            "events.k8s.io",
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
            "apiextensions.k8s.io",
            "scheduling.k8s.io",
            "coordination.k8s.io",
            "node.k8s.io",
            "discovery.k8s.io",
            "resource.k8s.io",
            "flowcontrol.apiserver.k8s.io",
        ]
    );
    let (_, group) = get("/apis/autoscaling", "*/*").await.unwrap();
    assert_eq!(group["preferredVersion"]["version"], "v2");
    assert_eq!(group["versions"].as_array().unwrap().len(), 2);
    let (_, group) = get("/apis/coordination.k8s.io", "*/*").await.unwrap();
    assert_eq!(group["preferredVersion"]["groupVersion"], "coordination.k8s.io/v1");
    assert!(get("/apis/nothing.example.com", "*/*").await.is_none());
    assert!(get("/apis/coordination.k8s.io/v9", "*/*").await.is_none());
    assert!(get("/api/v9", "*/*").await.is_none());
}

#[tokio::test]
async fn aggregated_discovery_is_for_those_who_ask_for_v2() {
    let (parts, document) = get("/apis", V2).await.unwrap();
    let content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    assert_eq!(parts.headers["content-type"], content_type);
    assert_eq!(parts.headers["vary"], "Accept");
    assert_eq!(document["kind"], "APIGroupDiscoveryList");
    assert_eq!(document["items"][0]["metadata"]["name"], "apiregistration.k8s.io");
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
        let (_, versions) = get("/api", accept).await.unwrap();
        assert_eq!(versions["kind"], "APIVersions", "{accept}");
        assert_eq!(versions["serverAddressByClientCIDRs"][0]["serverAddress"], "10.0.0.1:6443");
    }
}

#[tokio::test]
async fn the_aggregated_document_comes_in_every_encoding() {
    for (accept, encoding) in [
        ("application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "json"),
        ("*/*;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "json"),
        ("application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "yaml"),
        (
            "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            "vnd.kubernetes.protobuf",
        ),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let response = answer("/apis", asked(&headers), &catalog(), &Others::default()).unwrap().unwrap();
        let content_type =
            format!("application/{encoding};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        assert_eq!(response.headers()[header::CONTENT_TYPE], content_type, "{accept}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let document: Value = match encoding {
            "json" => serde_json::from_slice(&body).unwrap(),
            "yaml" => serde_saphyr::from_slice(&body).unwrap(),
            _ => api::protobuf::object(&body).unwrap(),
        };
        let first = &document["items"][0];
        assert_eq!(first["metadata"]["name"], "apiregistration.k8s.io", "{accept}");
        assert_eq!(first["versions"][0]["resources"][0]["responseKind"]["kind"], "APIService", "{accept}");
    }
}

#[test]
fn an_unchanged_document_is_not_sent_again() {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, V2.parse().unwrap());
    let etag = answer("/apis", asked(&headers), &catalog(), &Others::default()).unwrap().unwrap().headers()
        [header::ETAG]
        .clone();
    headers.insert(header::IF_NONE_MATCH, etag.clone());
    let again = answer("/apis", asked(&headers), &catalog(), &Others::default()).unwrap().unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(again.headers()[header::ETAG], etag);
}

#[tokio::test]
async fn documents_come_in_the_form_that_is_accepted() {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, "text/html".parse().unwrap());
    for path in ["/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"] {
        assert_eq!(
            answer(path, asked(&headers), &catalog(), &Others::default()).unwrap_err().code,
            406,
            "{path}"
        );
    }
    headers.insert(header::ACCEPT, "application/vnd.kubernetes.protobuf".parse().unwrap());
    for path in ["/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"] {
        let response = answer(path, asked(&headers), &catalog(), &Others::default()).unwrap().unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/vnd.kubernetes.protobuf", "{path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"k8s\0"), "{path}");
    }
}
