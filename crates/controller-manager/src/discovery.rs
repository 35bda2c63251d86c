//! Every resource that the server has, from aggregated discovery.
//!
//! **Contract**: a resource is listed once, in its preferred version. What is missing here would stay behind for
//! ever, so an answer that is not understood is an error, never an empty list.
//! **Upstream**: `client-go/discovery.ServerPreferredResources`.

use crate::Error;
use serde::Deserialize;

/// Aggregated discovery, as the server must answer (no fallback: an older form would not tell all).
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A collection of objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// What can be done with it, in order.
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    /// Whether the server does this.
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// Where its objects of all namespaces are.
    pub(crate) fn all(&self) -> String {
        format!("{}/{}", self.root(), self.plural)
    }

    fn root(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    /// Where the objects of a namespace are; that of cluster-scoped ones is empty.
    pub(crate) fn path(&self, namespace: &str) -> String {
        if namespace.is_empty() {
            return self.all();
        }
        format!("{}/namespaces/{namespace}/{}", self.root(), self.plural)
    }

    /// Whether these are the pods, which go first.
    pub(crate) fn is_pods(&self) -> bool {
        self.group.is_empty() && self.plural == "pods"
    }
}

#[derive(Deserialize)]
pub(crate) struct GroupList {
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
    #[serde(default, rename = "responseKind")]
    response_kind: Kind,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

/// Asks the server for all resources, and the groups whose resources are not known just now.
pub(crate) async fn discover(client: &kube::Client) -> Result<(Vec<Resource>, Vec<String>), Error> {
    let mut lists = Vec::new();
    for path in ["/api", "/apis"] {
        let request = http::Request::get(path).header(http::header::ACCEPT, ACCEPT).body(Vec::new());
        let request = request.expect("a constant path and header make a request");
        lists.push(client.request::<GroupList>(request).await.map_err(Error::request("discover", path))?);
    }
    resources(lists)
}

/// What these lists name, each resource once in its preferred version.
fn resources(lists: Vec<GroupList>) -> Result<(Vec<Resource>, Vec<String>), Error> {
    let (mut found, mut failed) = (Vec::<Resource>::new(), Vec::new());
    for list in lists {
        if list.kind != "APIGroupDiscoveryList" {
            return Err(Error::Discovery(format!("unexpected kind {}", list.kind)));
        }
        for Group { metadata: Name { name: group }, versions } in list.items {
            // A group is listed once: only its own resources can be known already.
            let first = found.len();
            for version in versions {
                if version.freshness == "Stale" {
                    failed.push(format!("{group}/{}: stale GroupVersion discovery", version.version));
                }
                for resource in version.resources {
                    if found[first..].iter().any(|known| known.plural == resource.resource) {
                        continue;
                    }
                    found.push(Resource {
                        group: group.clone(),
                        version: version.version.clone(),
                        plural: resource.resource,
                        kind: resource.response_kind.kind,
                        namespaced: resource.scope == "Namespaced",
                        verbs: resource.verbs,
                    });
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
    fn names_each_resource_once_in_its_preferred_version() {
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
        let (found, failed) = resources(vec![serde_json::from_value(list).unwrap()]).unwrap();
        let deletable = found.iter().filter(|resource| resource.namespaced && resource.can("delete"));
        let paths: Vec<_> = deletable.map(|resource| resource.path("ns")).collect();
        assert_eq!(
            paths,
            [
                "/api/v1/namespaces/ns/pods",
                "/apis/apps/v1/namespaces/ns/deployments",
                "/apis/apps/v1beta1/namespaces/ns/old",
            ]
        );
        assert!(found[0].is_pods() && found[0].can("deletecollection"));
        assert_eq!(found[1].path(""), "/api/v1/nodes");
        assert_eq!(failed, ["x.y/v1: stale GroupVersion discovery"]);
    }

    #[test]
    fn an_answer_in_another_form_is_an_error() {
        let list = json!({"kind": "APIGroupList", "groups": []});
        assert!(resources(vec![serde_json::from_value(list).unwrap()]).is_err());
    }
}
