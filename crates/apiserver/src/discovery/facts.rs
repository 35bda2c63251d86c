//! What discovery knows of a resource, gathered from the LISTs.

use crate::computed::Computed;
use crate::crd::Published;
use crate::registry::Version;
use crate::reviews::{self, ReviewKind};
use crate::server::Server;
use crate::subresources::{self, Subresource};
use api::kind::{GroupVersionKind, Name, Resource, version_priority};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A subresource as discovery lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubresourceFacts {
    /// Last path segment, `log`.
    pub name: Name,
    /// What goes over the wire.
    pub kind: GroupVersionKind,
    /// The verbs served, sorted.
    pub verbs: Vec<Name>,
}

/// A resource as discovery lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceFacts {
    /// Names and scope.
    pub resource: Resource,
    /// The verbs served, sorted.
    pub verbs: Vec<Name>,
    /// The version in which objects are stored, if they are.
    pub stored: Option<Resource>,
    /// What is served below an object, by name.
    pub subresources: Vec<SubresourceFacts>,
    /// What OpenAPI says of a kind that was added at run time.
    pub published: Option<Published>,
}

impl ResourceFacts {
    /// The facts of a stored kind and its `status`, one for each version.
    pub fn of(versions: &[Version]) -> Vec<Self> {
        versions.iter().filter(|version| version.is_served()).map(Self::of_version).collect()
    }

    fn of_version(version: &Version) -> Self {
        let (strategy, resource) = (version.strategy(), version.resource().clone());
        let below = |name: &'static str, kind: GroupVersionKind| SubresourceFacts {
            name: name.into(),
            kind,
            verbs: names(&["get", "patch", "update"]),
        };
        let mut subresources = Vec::new();
        if version.scale().is_some() {
            subresources.push(below("scale", GroupVersionKind::new("autoscaling", "v1", "Scale")));
        }
        if version.has_status() {
            let Resource { group, version, kind, .. } = resource.clone();
            subresources.push(below("status", GroupVersionKind { group, version, kind }));
        }
        // Upstream makes up what can only be read.
        let stored = strategy.verbs().contains(&"create").then(|| {
            let version = strategy.storage_version().to_owned().into();
            Resource { version, ..strategy.resource().clone() }
        });
        let published = version.published();
        Self { verbs: names(strategy.verbs()), stored, subresources, resource, published }
    }

    /// The facts of a kind that is a question.
    pub fn question(resource: &Resource) -> Self {
        Self {
            verbs: names(reviews::VERBS),
            stored: None,
            subresources: Vec::new(),
            resource: resource.clone(),
            published: None,
        }
    }

    /// With these subresources, as far as they are this resource's.
    #[must_use]
    pub fn with(mut self, all: &[subresources::Facts]) -> Self {
        let own = all.iter().filter(|s| {
            (s.group, s.version, s.plural)
                == (&*self.resource.group, &*self.resource.version, &*self.resource.plural)
        });
        self.subresources.extend(own.map(|s| SubresourceFacts {
            name: s.name.into(),
            kind: s.kind.clone(),
            verbs: names(s.verbs),
        }));
        self.subresources.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// What tells storage versions apart: eight bytes of a hash of group, version and kind.
    pub fn storage_version_hash(&self) -> Option<String> {
        use base64::Engine as _;
        let stored = self.stored.as_ref()?;
        let text = format!("{}/{}/{}", stored.group, stored.version, stored.kind);
        Some(base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text.as_bytes())[..8]))
    }
}

fn names(verbs: &'static [&'static str]) -> Vec<Name> {
    verbs.iter().map(|v| Name::Borrowed(v)).collect()
}

/// The facts of everything that a server serves, sorted by group, version and plural.
pub fn facts(server: &Server) -> Vec<ResourceFacts> {
    let stores = server.registry.stores();
    let versions = stores.iter().map(|store| store.versions());
    let mut all = gather(versions, &server.subresources, &server.reviews);
    all.extend(server.computed.iter().flat_map(Computed::facts));
    sort(&mut all);
    all
}

fn sort(all: &mut [ResourceFacts]) {
    all.sort_by_key(|f| (f.resource.group.clone(), f.resource.version.clone(), f.resource.plural.clone()));
}

/// The facts that follow from the LISTs.
pub(super) fn gather<'a>(
    kinds: impl Iterator<Item = &'a [Version]>,
    subresources: &[Arc<dyn Subresource>],
    reviews: &[Arc<dyn ReviewKind>],
) -> Vec<ResourceFacts> {
    let subresources: Vec<subresources::Facts> = subresources.iter().map(|s| s.facts()).collect();
    let stored = kinds.flat_map(ResourceFacts::of);
    let questions = reviews.iter().map(|r| ResourceFacts::question(r.resource()));
    let mut all: Vec<ResourceFacts> = stored.chain(questions).map(|f| f.with(&subresources)).collect();
    sort(&mut all);
    all
}

/// Upstream's order of groups: `/apis` lists them by priority.
const GROUPS: [&str; 20] = [
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
];

/// Whether a group is one of upstream's.
pub(crate) fn is_built_in(group: &str) -> bool {
    GROUPS.contains(&group)
}

/// The groups but the core one, in upstream's order; those it does not know follow by name.
pub(super) fn groups(facts: &[ResourceFacts]) -> Vec<Name> {
    let mut groups: Vec<Name> =
        facts.iter().map(|f| f.resource.group.clone()).filter(|group| !group.is_empty()).collect();
    let rank = |group: &Name| GROUPS.iter().position(|g| g == group).unwrap_or(GROUPS.len());
    groups.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
    groups.dedup();
    groups
}

/// The versions of a group, the preferred one first: stable before beta before alpha, newer before older.
pub(super) fn versions(facts: &[ResourceFacts], group: &str) -> Vec<Name> {
    let mut versions: Vec<Name> =
        facts.iter().filter(|f| f.resource.group == group).map(|f| f.resource.version.clone()).collect();
    versions.sort_by(|a, b| version_priority(b).cmp(&version_priority(a)));
    versions.dedup();
    versions
}
