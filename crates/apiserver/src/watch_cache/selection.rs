//! What a list, a watch or a deletecollection selects: a namespace, labels, fields.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/storage` (`SelectionPredicate`).

use super::cache::Snapshot;
use crate::registry::{Object, Version};
use api::selector::{FieldSelector, LabelSelector};
use api::status::Status;
use std::sync::Arc;

/// A parsed selection, bound to one kind.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    namespace: String,
    labels: LabelSelector,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    field: Field,
    negated: bool,
    value: String,
}

/// What a selection may be by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Name,
    Namespace,
    /// The index in the strategy's field labels.
    Indexed(usize),
}

impl Field {
    /// An object's value.
    pub(super) fn of(self, object: &Object) -> &str {
        match self {
            Self::Name => object.name(),
            Self::Namespace => object.namespace(),
            Self::Indexed(index) => object.field(index).unwrap_or(""),
        }
    }
}

impl Selection {
    /// Everything in a namespace, or everywhere if it is empty.
    pub fn namespace(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    /// Parses both selectors as a request has them; the errors are upstream's.
    pub fn parse(version: &Version, namespace: &str, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(Status::bad_request)?;
        let fields = FieldSelector::parse(fields).map_err(Status::bad_request)?;
        let fields = fields
            .requirements
            .into_iter()
            .map(|requirement| {
                Ok(Requirement {
                    field: field(version, &requirement.label)?,
                    negated: requirement.negated,
                    value: requirement.value,
                })
            })
            .collect::<Result<_, Status>>()?;
        Ok(Self { namespace: namespace.to_owned(), labels, fields })
    }

    /// The same, of one name only (if it is not empty): the one that authorization granted, whether it came by the
    /// path (`/api/v1/watch/pods/x`) or by a field selector.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        if !name.is_empty() {
            self.fields.push(Requirement { field: Field::Name, negated: false, value: name.to_owned() });
        }
        self
    }

    /// Whether neither labels nor fields restrict it.
    pub fn is_unrestricted(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    /// What the keys of selected objects begin with, given what those of the kind begin with.
    pub fn prefix(&self, kind: &str) -> String {
        if self.namespace.is_empty() { kind.to_owned() } else { format!("{kind}{}/", self.namespace) }
    }

    /// The one name that it can select, if it names one.
    fn name(&self) -> Option<&str> {
        self.fields.iter().find(|r| r.field == Field::Name && !r.negated).map(|r| r.value.as_str())
    }

    /// A field of which it takes one value only, if there is one: the name before all others.
    pub(super) fn only(&self) -> Option<(Field, &str)> {
        let only = self.fields.iter().filter(|r| !r.negated && r.field != Field::Namespace);
        only.min_by_key(|r| r.field).map(|r| (r.field, r.value.as_str()))
    }

    /// Whether it selects this object.
    pub fn matches(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || self.namespace == object.namespace()) && self.matches_within(object)
    }

    /// The same of an object of its namespace, as all are whose keys begin with its prefix.
    pub(crate) fn matches_within(&self, object: &Object) -> bool {
        let fields = &self.fields;
        fields.iter().all(|field| (field.field.of(object) == field.value) != field.negated)
            && self.labels.matches(|key| object.label(key))
    }

    /// The selected objects of a snapshot, in order.
    pub fn list<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Arc<Object>> {
        let one = match (self.name(), self.namespace.is_empty()) {
            // A name within a namespace (or of a cluster-scoped kind) is one look-up.
            (Some(name), false) => Some(snapshot.get(&format!("{}/{name}", self.namespace))),
            (Some(name), true) if !snapshot.namespaced() => Some(snapshot.get(name)),
            _ => None,
        };
        let all = one.is_none().then(|| snapshot.namespace(&self.namespace));
        one.flatten()
            .into_iter()
            .chain(all.into_iter().flatten())
            .filter(|object| self.matches_within(object))
    }
}

fn field(version: &Version, label: &str) -> Result<Field, Status> {
    let unknown = || Status::bad_request(format!("field label not supported: {label}"));
    match version.stored_label(label).ok_or_else(unknown)? {
        "metadata.name" => Ok(Field::Name),
        "metadata.namespace" => Ok(Field::Namespace),
        stored => indexed(version, label, stored),
    }
}

fn indexed(version: &Version, label: &str, stored: &str) -> Result<Field, Status> {
    let strategy = version.strategy();
    strategy.field_index(stored).map(Field::Indexed).ok_or_else(|| {
        Status::bad_request(if !strategy.has_fields() {
            format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {label}")
        })
    })
}
