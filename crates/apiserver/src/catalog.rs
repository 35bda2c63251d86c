//! Everything that is served, in the form in which OpenAPI wants it: discovery's facts, retold.

use crate::discovery;
use crate::openapi::{ResourceFacts, SubresourceFacts};
use crate::server::Server;

/// Every resource that the server serves.
pub(crate) fn resources(server: &Server) -> Vec<ResourceFacts> {
    discovery::facts(server).into_iter().map(retold).collect()
}

fn retold(facts: discovery::ResourceFacts) -> ResourceFacts {
    let namespaced = facts.resource.namespaced();
    let subresources = facts.subresources.into_iter().map(|subresource| SubresourceFacts {
        name: subresource.name,
        group: subresource.kind.group,
        version: subresource.kind.version,
        kind: subresource.kind.kind,
        verbs: subresource.verbs,
    });
    ResourceFacts {
        subresources: subresources.collect(),
        group: facts.resource.group,
        version: facts.resource.version,
        kind: facts.resource.kind,
        plural: facts.resource.plural,
        namespaced,
        verbs: facts.verbs,
        published: facts.published,
    }
}
