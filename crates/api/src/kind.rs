//! Group, version, kind, resource, scope: the names by which the API speaks of a type.
//!
//! **Upstream**: `k8s.io/apimachinery/pkg/runtime/schema`.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;

/// A string that is a constant for built-in kinds and owned for kinds added at run time.
pub type Name = Cow<'static, str>;

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The object belongs to no namespace (`nodes`).
    Cluster,
    /// The object belongs to one namespace (`pods`).
    Namespaced,
}

/// A group, a version and a kind; the core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// API group, `""` for core.
    pub group: Name,
    /// API version, `v1`.
    pub version: Name,
    /// Kind in CamelCase.
    pub kind: Name,
}

impl GroupVersionKind {
    /// A constant group-version-kind.
    pub const fn new(group: &'static str, version: &'static str, kind: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), version: Cow::Borrowed(version), kind: Cow::Borrowed(kind) }
    }

    /// `apiVersion` as it stands in objects: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}

/// `apiVersion` from its two halves.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Splits `apps/v1` into group and version; `v1` is the core group.
pub fn parse_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// How versions of a group are ordered, the greatest being preferred: `v2` > `v1` > `v2beta1` > `v1alpha3` > anything else,
/// of which the first by name is the greatest.
///
/// **Upstream**: `k8s.io/apimachinery/pkg/version` (`CompareKubeAwareVersionStrings`).
pub fn version_priority(version: &str) -> (u8, u32, u32, Reverse<&str>) {
    let parse = |text: &str| -> Option<(u8, u32, u32)> {
        let text = text.strip_prefix('v')?;
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let major = text[..end].parse().ok()?;
        let rest = &text[end..];
        for (stage, rank) in [("beta", 2), ("alpha", 1)] {
            if let Some(minor) = rest.strip_prefix(stage) {
                return Some((rank, major, minor.parse().ok()?));
            }
        }
        rest.is_empty().then_some((3, major, 0))
    };
    match parse(version) {
        Some((stage, major, minor)) => (stage, major, minor, Reverse("")),
        None => (0, 0, 0, Reverse(version)),
    }
}

/// The facts of a resource that discovery publishes and that every handler needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group, `""` for core.
    pub group: Name,
    /// API version.
    pub version: Name,
    /// Kind in CamelCase, `Pod`.
    pub kind: Name,
    /// Lower-case plural: the path segment, `pods`.
    pub plural: Name,
    /// Lower-case singular, `pod`.
    pub singular: Name,
    /// Short names, `po`.
    pub short_names: Vec<Name>,
    /// Categories, `all`.
    pub categories: Vec<Name>,
    /// Scope of the objects.
    pub scope: Scope,
    /// The kind of a list, if it is not the kind's name with `List` behind it.
    pub list_kind: Option<Name>,
}

impl Resource {
    /// A built-in resource.
    pub fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        singular: &'static str,
        scope: Scope,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: singular.into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope,
            list_kind: None,
        }
    }

    /// With these short names.
    pub fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names = names.iter().map(|n| Name::Borrowed(n)).collect();
        self
    }

    /// In these categories.
    pub fn in_categories(mut self, names: &[&'static str]) -> Self {
        self.categories = names.iter().map(|n| Name::Borrowed(n)).collect();
        self
    }

    /// `apiVersion` as it stands in objects.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// The kind of a list, `PodList`.
    pub fn list_kind(&self) -> String {
        self.list_kind.as_ref().map_or_else(|| format!("{}List", self.kind), ToString::to_string)
    }

    /// `pods`, or `deployments.apps` outside the core group: how error messages name a resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}
