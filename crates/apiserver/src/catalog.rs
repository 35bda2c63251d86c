//! Everything that the server serves, as discovery and OpenAPI publish it: stored kinds, their subresources, questions.
//!
//! **Contract**: follows from the LISTs alone.

use crate::openapi::{ResourceFacts, SubresourceFacts};
use crate::reviews;
use crate::server::Server;
use api::kind::{Name, Resource};

const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

fn names(verbs: &'static [&'static str]) -> Vec<Name> {
    verbs.iter().map(|verb| Name::Borrowed(verb)).collect()
}

fn facts(resource: &Resource, verbs: &'static [&'static str]) -> ResourceFacts {
    ResourceFacts {
        group: resource.group.clone(),
        version: resource.version.clone(),
        kind: resource.kind.clone(),
        plural: resource.plural.clone(),
        namespaced: resource.namespaced(),
        verbs: names(verbs),
        subresources: Vec::new(),
    }
}

/// Every resource that the server serves.
pub(crate) fn resources(server: &Server) -> Vec<ResourceFacts> {
    let stored = server.registry.stores().iter().map(|store| {
        let strategy = store.strategy();
        let mut resource = facts(strategy.resource(), strategy.verbs());
        if strategy.has_status() {
            resource.subresources.push(SubresourceFacts {
                name: "status".into(),
                group: resource.group.clone(),
                version: resource.version.clone(),
                kind: resource.kind.clone(),
                verbs: names(STATUS_VERBS),
            });
        }
        for subresource in &server.subresources {
            let facts = subresource.facts();
            if resource.group == facts.group && resource.plural == facts.plural {
                resource.subresources.push(SubresourceFacts {
                    name: facts.name.into(),
                    group: facts.kind.group,
                    version: facts.kind.version,
                    kind: facts.kind.kind,
                    verbs: names(facts.verbs),
                });
            }
        }
        resource.subresources.sort_by(|a, b| a.name.cmp(&b.name));
        resource
    });
    let questions = server.reviews.iter().map(|review| facts(review.resource(), reviews::VERBS));
    stored.chain(questions).collect()
}
