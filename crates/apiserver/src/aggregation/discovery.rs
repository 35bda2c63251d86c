//! What other servers serve, in our discovery documents.
//!
//! **Upstream**: `kube-aggregator/pkg/apiserver/handler_{apis,discovery}.go`.

use super::Aggregator;
use super::remote::Remote;
use api::kind::version_priority;
use serde_json::{Map, Value, json};

/// The priority of groups that are served here and that nobody has given one. **Upstream**: that of CRDs.
const LOCAL_PRIORITY: i64 = 1000;

/// An `APIResourceList` as the resources of aggregated discovery.
pub(super) fn converted(list: &Value) -> Value {
    let mut resources: Vec<Value> = Vec::new();
    let listed = || list["resources"].as_array().into_iter().flatten();
    let (group, version) = api::kind::parse_api_version(list["groupVersion"].as_str().unwrap_or_default());
    let kind = |of: &Value| {
        let text = |field: &str, own: &str| {
            of[field].as_str().filter(|text| !text.is_empty()).unwrap_or(own).to_owned()
        };
        json!({"group": text("group", group), "version": text("version", version), "kind": of["kind"]})
    };
    for of in listed() {
        let name = of["name"].as_str().unwrap_or_default();
        if name.is_empty() || name.contains('/') {
            continue;
        }
        let mut resource = json!({
            "resource": name,
            "responseKind": kind(of),
            "scope": if of["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "singularResource": of["singularName"],
            "verbs": of["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if of[field].is_array() {
                resource[field] = of[field].clone();
            }
        }
        let below = listed().filter_map(|other| {
            let subresource = other["name"].as_str()?.strip_prefix(name)?.strip_prefix('/')?;
            Some(json!({"subresource": subresource, "responseKind": kind(other), "verbs": other["verbs"]}))
        });
        let below: Vec<Value> = below.collect();
        if !below.is_empty() {
            resource["subresources"] = below.into();
        }
        resources.push(resource);
    }
    resources.into()
}

fn remotes(all: &[(String, std::sync::Arc<Option<Remote>>)]) -> impl Iterator<Item = &Remote> {
    all.iter().filter_map(|(_, remote)| (**remote).as_ref()).filter(|remote| !remote.group.is_empty())
}

/// Adds them to an `APIGroupDiscoveryList`.
pub(crate) fn add_groups(aggregator: &Aggregator, document: &mut Value) {
    let all = aggregator.all();
    for remote in remotes(&all) {
        let learnt = aggregator.learnt(&remote.name).filter(|_| remote.available);
        // Of a server that does not answer nothing is told but that it is there.
        let version = match learnt {
            Some(learnt) => {
                json!({"version": remote.version, "resources": learnt.resources, "freshness": "Current"})
            }
            None => json!({"version": remote.version, "freshness": "Stale"}),
        };
        add(
            document,
            "items",
            remote,
            |item| &item["metadata"]["name"],
            "version",
            version,
            || json!({"metadata": {"name": remote.group}, "versions": []}),
        );
    }
}

/// Adds them to an `APIGroupList`, or to the `APIGroup` of one group.
pub(crate) fn add_legacy_groups(aggregator: &Aggregator, document: &mut Value) {
    let all = aggregator.all();
    for remote in remotes(&all) {
        let group_version = format!("{}/{}", remote.group, remote.version);
        let version = json!({"groupVersion": group_version, "version": remote.version});
        let new = || json!({"name": remote.group, "versions": [], "preferredVersion": version});
        add(document, "groups", remote, |item| &item["name"], "version", version.clone(), new);
    }
}

/// Puts a version into the group of a list, which is made if need be.
fn add(
    document: &mut Value,
    list: &str,
    remote: &Remote,
    name: impl Fn(&Value) -> &Value,
    key: &str,
    version: Value,
    new: impl FnOnce() -> Value,
) {
    let Some(groups) = document[list].as_array_mut() else { return };
    let at = match groups.iter().position(|group| *name(group) == remote.group.as_str()) {
        Some(at) => at,
        None => {
            // Built-in groups come first by far, and those without a priority have that of CRDs.
            let before = groups.iter().position(|group| {
                let text = name(group).as_str().unwrap_or_default();
                remote.priority > LOCAL_PRIORITY && !crate::discovery::is_built_in(text)
            });
            let at = before.unwrap_or(groups.len());
            groups.insert(at, new());
            at
        }
    };
    let Some(versions) = groups[at]["versions"].as_array_mut() else { return };
    versions.retain(|known| known[key] != version[key]);
    versions.push(version);
    let text = |version: &Value| version[key].as_str().unwrap_or_default().to_owned();
    versions.sort_by(|a, b| version_priority(&text(b)).cmp(&version_priority(&text(a))));
}

/// The `APIGroup` of a group of which other servers serve versions; `None`: they do not.
pub(crate) fn group(aggregator: &Aggregator, local: Option<Value>, name: &str) -> Option<Value> {
    let mut document = json!({"groups": local.map_or_else(Vec::new, |group| vec![group])});
    add_legacy_groups(aggregator, &mut document);
    let groups = document["groups"].as_array_mut()?;
    let at = groups.iter().position(|group| group["name"] == name)?;
    let group = groups.swap_remove(at);
    let mut described = Map::new();
    described.insert("kind".to_owned(), "APIGroup".into());
    described.insert("apiVersion".to_owned(), "v1".into());
    described.extend(group.as_object()?.clone());
    Some(Value::Object(described))
}
