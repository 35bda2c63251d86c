//! The legacy documents: one for versions, one for groups, one for each group's versions and resources.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/discovery`.

use super::facts::{ResourceFacts, groups as group_names, versions};
use api::kind::api_version;
use serde_json::{Value, json};

/// `/api`: `APIVersions`.
pub(super) fn core_versions(address: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

/// `/apis`: `APIGroupList`.
pub(super) fn groups(facts: &[ResourceFacts]) -> Value {
    let groups: Vec<Value> = group_names(facts).iter().filter_map(|group| describe(facts, group)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/G`: `APIGroup`.
pub(super) fn group(facts: &[ResourceFacts], group: &str) -> Option<Value> {
    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
    let described = describe(facts, group).filter(|_| !group.is_empty())?;
    for (field, value) in described.as_object()? {
        document[field] = value.clone();
    }
    Some(document)
}

fn describe(facts: &[ResourceFacts], group: &str) -> Option<Value> {
    let versions: Vec<Value> = versions(facts, group)
        .iter()
        .map(|version| json!({"groupVersion": api_version(group, version), "version": version}))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({"name": group, "versions": versions, "preferredVersion": preferred}))
}

/// `/api/v1`, `/apis/G/V`: `APIResourceList`.
pub(super) fn resources(facts: &[ResourceFacts], group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for facts in facts.iter().filter(|f| f.resource.group == group && f.resource.version == version) {
        list.push(resource(facts));
        list.extend(subresources(facts));
    }
    if list.is_empty() {
        return None;
    }
    let mut document = json!({"kind": "APIResourceList"});
    // Upstream leaves the apiVersion out of the core group's document.
    if !group.is_empty() {
        document["apiVersion"] = json!("v1");
    }
    document["groupVersion"] = json!(api_version(group, version));
    document["resources"] = json!(list);
    Some(document)
}

fn resource(facts: &ResourceFacts) -> Value {
    let r = &facts.resource;
    let mut document = json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced(),
        "kind": r.kind, "verbs": facts.verbs});
    if !r.short_names.is_empty() {
        document["shortNames"] = json!(r.short_names);
    }
    if !r.categories.is_empty() {
        document["categories"] = json!(r.categories);
    }
    if let Some(hash) = facts.storage_version_hash() {
        document["storageVersionHash"] = json!(hash);
    }
    document
}

fn subresources(facts: &ResourceFacts) -> impl Iterator<Item = Value> {
    let r = &facts.resource;
    facts.subresources.iter().map(move |s| {
        let mut document = json!({"name": format!("{}/{}", r.plural, s.name), "singularName": "",
            "namespaced": r.namespaced(), "kind": s.kind.kind, "verbs": s.verbs});
        if s.kind.group != r.group || s.kind.version != r.version {
            document["group"] = json!(s.kind.group);
            document["version"] = json!(s.kind.version);
        }
        document
    })
}
