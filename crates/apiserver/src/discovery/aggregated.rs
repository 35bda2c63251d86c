//! The aggregated documents, `apidiscovery.k8s.io/v2`: everything below `/api`, everything below `/apis`.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/discovery/aggregated`.

use super::facts::{ResourceFacts, groups as group_names, versions};
use api::kind::GroupVersionKind;
use serde_json::{Value, json};

/// The core group.
pub(super) fn core(facts: &[ResourceFacts]) -> Value {
    list(vec![json!({"metadata": {}, "versions": group_versions(facts, "")})])
}

/// All other groups, by priority.
pub(super) fn groups(facts: &[ResourceFacts]) -> Value {
    let item = |group: &str| json!({"metadata": {"name": group}, "versions": group_versions(facts, group)});
    list(group_names(facts).iter().map(|group| item(group)).collect())
}

fn list(items: Vec<Value>) -> Value {
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn group_versions(facts: &[ResourceFacts], group: &str) -> Vec<Value> {
    versions(facts, group)
        .iter()
        .map(|version| {
            let own = facts.iter().filter(|f| f.resource.group == group && f.resource.version == *version);
            let resources: Vec<Value> = own.map(resource).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect()
}

fn resource(facts: &ResourceFacts) -> Value {
    let r = &facts.resource;
    let mut document = json!({
        "resource": r.plural,
        "responseKind": {"group": "", "version": "", "kind": r.kind},
        "scope": if r.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": r.singular,
        "verbs": facts.verbs,
    });
    if !r.short_names.is_empty() {
        document["shortNames"] = json!(r.short_names);
    }
    if !r.categories.is_empty() {
        document["categories"] = json!(r.categories);
    }
    if !facts.subresources.is_empty() {
        let listed = facts.subresources.iter().map(|s| {
            json!({"subresource": s.name, "responseKind": response_kind(&s.kind, facts), "verbs": s.verbs})
        });
        document["subresources"] = listed.collect();
    }
    document
}

/// A kind of the resource's own group and version leaves both out.
fn response_kind(kind: &GroupVersionKind, facts: &ResourceFacts) -> Value {
    if kind.group == facts.resource.group && kind.version == facts.resource.version {
        json!({"group": "", "version": "", "kind": kind.kind})
    } else {
        json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
    }
}
