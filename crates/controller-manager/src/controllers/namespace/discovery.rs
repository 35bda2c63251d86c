//! Every namespaced resource that can be deleted, from aggregated discovery.
//!
//! **Contract**: a resource is listed once, in its preferred version. What is missing here would stay behind for
//! ever, so an answer that is not understood is an error, never an empty list.
//! **Upstream**: `client-go/discovery.ServerPreferredNamespacedResources`.

use crate::Error;
use serde::Deserialize;

/// Aggregated discovery, as the server must answer (no fallback: an older form would not tell all).
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A collection of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    /// Whether all can be deleted in one request.
    pub(super) collection: bool,
}

impl Resource {
    /// Where the collection of a namespace lives.
    pub(super) fn path(&self, namespace: &str) -> String {
        let Self { group, version, plural, .. } = self;
        match group.as_str() {
            "" => format!("/api/{version}/namespaces/{namespace}/{plural}"),
            _ => format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}"),
        }
    }

    /// Whether these are the pods, which go first.
    pub(super) fn is_pods(&self) -> bool {
        self.group.is_empty() && self.plural == "pods"
    }
}

#[derive(Deserialize)]
pub(super) struct GroupList {
    kind: String,
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Name,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<ApiResource>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
struct ApiResource {
    resource: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

/// Asks the server.
pub(super) async fn discover(client: &kube::Client) -> Result<(Vec<Resource>, Vec<String>), Error> {
    let mut lists = Vec::new();
    for path in ["/api", "/apis"] {
        let request = http::Request::get(path).header(http::header::ACCEPT, ACCEPT).body(Vec::new());
        let request = request.expect("a constant path and header make a request");
        lists.push(client.request::<GroupList>(request).await.map_err(Error::request("discover", path))?);
    }
    deletable(lists)
}

/// What can be listed and deleted in a namespace, and the groups whose resources are not known just now.
pub(super) fn deletable(lists: Vec<GroupList>) -> Result<(Vec<Resource>, Vec<String>), Error> {
    let (mut found, mut failed) = (Vec::<Resource>::new(), Vec::new());
    for list in lists {
        if list.kind != "APIGroupDiscoveryList" {
            return Err(Error::Discovery(format!("unexpected kind {}", list.kind)));
        }
        for Group { metadata: Name { name: group }, versions } in list.items {
            for version in versions {
                if version.freshness == "Stale" {
                    failed.push(format!("{group}/{}: stale GroupVersion discovery", version.version));
                }
                for resource in version.resources {
                    let can = |verb: &str| resource.verbs.iter().any(|known| known == verb);
                    let preferred =
                        !found.iter().any(|known| known.group == group && known.plural == resource.resource);
                    if resource.scope == "Namespaced" && preferred && can("delete") && can("list") {
                        let collection = can("deletecollection");
                        let version = version.version.clone();
                        found.push(Resource {
                            group: group.clone(),
                            version,
                            plural: resource.resource,
                            collection,
                        });
                    }
                }
            }
        }
    }
    Ok((found, failed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(name: &str, scope: &str, verbs: &[&str]) -> serde_json::Value {
        json!({"resource": name, "responseKind": {}, "scope": scope, "verbs": verbs})
    }

    #[test]
    fn takes_what_is_namespaced_and_deletable_in_its_preferred_version() {
        let all = ["create", "delete", "deletecollection", "get", "list", "watch"];
        let list = json!({"kind": "APIGroupDiscoveryList", "items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [
                resource("pods", "Namespaced", &all), resource("nodes", "Cluster", &all),
                resource("bindings", "Namespaced", &["create"]),
            ]}]},
            {"metadata": {"name": "apps"}, "versions": [
                {"version": "v1", "freshness": "Current", "resources": [resource("deployments", "Namespaced", &all)]},
                {"version": "v1beta1", "resources": [
                    resource("deployments", "Namespaced", &all),
                    resource("old", "Namespaced", &["delete", "list"]),
                ]},
            ]},
            {"metadata": {"name": "x.y"}, "versions": [{"version": "v1", "freshness": "Stale"}]},
        ]});
        let (found, failed) = deletable(vec![serde_json::from_value(list).unwrap()]).unwrap();
        let paths: Vec<_> = found.iter().map(|resource| resource.path("ns")).collect();
        assert_eq!(
            paths,
            [
                "/api/v1/namespaces/ns/pods",
                "/apis/apps/v1/namespaces/ns/deployments",
                "/apis/apps/v1beta1/namespaces/ns/old",
            ]
        );
        assert!(found[0].is_pods() && found[0].collection && !found[2].collection);
        assert_eq!(failed, ["x.y/v1: stale GroupVersion discovery"]);
    }

    #[test]
    fn an_answer_in_another_form_is_an_error() {
        let list = json!({"kind": "APIGroupList", "groups": []});
        assert!(deletable(vec![serde_json::from_value(list).unwrap()]).is_err());
    }
}
