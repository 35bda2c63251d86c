//! The aggregated documents, `apidiscovery.k8s.io/v2`: everything below `/api`, everything below `/apis`.
//!
//! **Contract**: controllers ask for them at every change of what is served, so they are serialised once.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/discovery/aggregated`.

use super::facts::{ResourceFacts, groups as group_names, versions};
use crate::body::Response;
use crate::negotiate::{Encoding, Negotiated};
use crate::respond;
use api::kind::GroupVersionKind;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use std::sync::OnceLock;

/// Group, version and kind of the documents.
pub(super) const KIND: (&str, &str, &str) = ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList");

/// A document, and as what almost everybody asks for it.
#[derive(Debug)]
pub(crate) struct Document {
    json: Bytes,
    /// By which clients know it again.
    pub(super) etag: HeaderValue,
}

impl Document {
    /// In another form it is sent to nobody but those who look into things: it is made anew for them.
    pub(super) fn show(&self, form: Negotiated) -> Response {
        let mut response = if form.encoding == Encoding::Json && !form.pretty {
            respond::bytes(200, "application/json", self.json.clone())
        } else {
            let document = serde_json::from_slice(&self.json).unwrap_or_default();
            respond::object(200, &document, form)
        };
        let (group, version, kind) = KIND;
        let media_type = form.encoding.media_type();
        let content_type = HeaderValue::try_from(format!("{media_type};g={group};v={version};as={kind}"));
        response.headers_mut().insert(CONTENT_TYPE, content_type.expect("names are ASCII"));
        response
    }

    pub(super) fn of(document: &Value) -> Self {
        let body = document.to_string();
        let digest = Sha512::digest(body.as_bytes());
        let etag = format!("\"{}\"", digest.iter().map(|b| format!("{b:02X}")).collect::<String>());
        Self { json: body.into(), etag: HeaderValue::try_from(etag).expect("digits and letters") }
    }
}

/// Both documents of what is served here, each made when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    core: OnceLock<Document>,
    groups: OnceLock<Document>,
}

impl Documents {
    pub(super) fn core(&self, facts: &[ResourceFacts]) -> &Document {
        self.core.get_or_init(|| Document::of(&core(facts)))
    }

    pub(super) fn groups(&self, facts: &[ResourceFacts]) -> &Document {
        self.groups.get_or_init(|| Document::of(&groups(facts)))
    }
}

/// The core group.
fn core(facts: &[ResourceFacts]) -> Value {
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
