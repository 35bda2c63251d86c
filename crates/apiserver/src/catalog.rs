//! Everything that is served, gathered when it is first asked for and kept until a kind comes, changes or goes.
//!
//! **Not here**: the documents that are made of it (`discovery`, `openapi`).

use crate::discovery;
use crate::openapi::{ResourceFacts, SubresourceFacts};
use crate::server::Server;
use arc_swap::ArcSwapOption;
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// What is served at a moment.
pub(crate) struct Catalog {
    kinds: Arc<dyn Any + Send + Sync>,
    facts: Vec<discovery::ResourceFacts>,
    aggregated: discovery::Documents,
    retold: OnceLock<Vec<ResourceFacts>>,
}

/// The newest catalog.
#[derive(Default)]
pub(crate) struct Kept(ArcSwapOption<Catalog>);

impl Catalog {
    pub(crate) fn new(kinds: Arc<dyn Any + Send + Sync>, facts: Vec<discovery::ResourceFacts>) -> Self {
        Self { kinds, facts, aggregated: discovery::Documents::default(), retold: OnceLock::new() }
    }

    /// As discovery wants it.
    pub(crate) fn facts(&self) -> &[discovery::ResourceFacts] {
        &self.facts
    }

    /// The aggregated documents of it.
    pub(crate) fn aggregated(&self) -> &discovery::Documents {
        &self.aggregated
    }

    /// As OpenAPI wants it.
    pub(crate) fn resources(&self) -> &[ResourceFacts] {
        self.retold.get_or_init(|| self.facts.iter().cloned().map(retold).collect())
    }
}

/// What the server serves now.
pub(crate) fn of(server: &Server) -> Arc<Catalog> {
    let kinds = server.registry.kinds();
    if let Some(kept) = &*server.catalog.0.load()
        && Arc::ptr_eq(&kept.kinds, &kinds)
    {
        return Arc::clone(kept);
    }
    let catalog = Arc::new(Catalog::new(kinds, discovery::facts(server)));
    server.catalog.0.store(Some(Arc::clone(&catalog)));
    catalog
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
