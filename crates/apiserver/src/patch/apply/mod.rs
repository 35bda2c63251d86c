//! Server-side apply: a configuration that its manager owns, field by field.
//!
//! **Contract**: pure. Fields of the configuration are set; fields that the manager applied before and neither it nor
//! anybody else names now are removed; a field that another manager owns with another value is a conflict unless
//! forced, which takes it over. Applying the same again changes nothing.
//! **Not here**: the entries themselves (`registry::managed_fields`), storing.
//! **Upstream**: `sigs.k8s.io/structured-merge-diff/merge`, `k8s.io/apimachinery/pkg/util/managedfields`.

mod check;
mod compare;
mod conflict;
mod last_applied;
mod merge;
mod set;
mod shape;
#[cfg(test)]
mod tests;

pub use compare::{Changes, compare, fields};
pub use set::FieldSet;
pub use shape::Shape;

use crate::handlers::decode::{self, Media};
use crate::registry::managed_fields::{Entry, ManagedFields, Operation, Written};
use api::kind::{GroupVersionKind, Resource};
use api::schema::Schema;
use api::status::Status;
use conflict::Conflict;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Its media type; the body may be JSON, which is YAML too.
pub const CONTENT_TYPE: &str = "application/apply-patch+yaml";

/// Who owns an object's fields before its first apply, if nobody was noted.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// A configuration and who applies it.
#[derive(Debug)]
pub struct Apply {
    /// The configuration.
    pub config: Value,
    /// The manager.
    pub manager: String,
    /// The subresource through which it applies, or empty.
    pub subresource: String,
    /// Whether to take over fields of others.
    pub force: bool,
    /// The time that an entry gets.
    pub time: String,
}

/// Parses a configuration: YAML, or JSON, which most clients send and whose escapes a reader of YAML need not know.
pub fn parse(body: &[u8]) -> Result<Value, Status> {
    let config = decode::any(Media::Json, body)
        .or_else(|_| decode::any(Media::Yaml, body))
        .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
    if config.is_object() {
        Ok(config)
    } else {
        Err(Status::bad_request("error decoding YAML: the configuration must be an object"))
    }
}

/// What is wrong with the text of a configuration that can be read: a key that comes twice.
pub fn problem(body: &[u8]) -> Option<String> {
    decode::twice(body).map(|problem| format!("error converting YAML to JSON: {problem}"))
}

/// Refuses what is no configuration for objects of this resource.
pub fn check(resource: &Resource, config: &Value) -> Result<(), Status> {
    check::check(resource, config, shape(resource))
}

/// The shape of a resource's objects.
pub fn shape(resource: &Resource) -> Shape<'static> {
    Shape::of_object(Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind))
}

/// The shape of objects of a built-in kind.
pub fn shape_of(kind: &GroupVersionKind) -> Shape<'static> {
    Shape::of_object(Schema::get().type_by_gvk(&kind.group, &kind.version, &kind.kind))
}

/// Merges a configuration that nobody owns into an object. What it says of values that only change as a whole is told,
/// by path, and then nothing is to be made of the object.
pub fn merge_configuration(object: &mut Value, config: &Value, shape: Shape<'_>) -> Vec<String> {
    let mut atomic = Vec::new();
    merge::atomics(config, shape, "", &mut atomic);
    merge::merge(object, config, shape);
    atomic
}

/// The object as the configuration wants it, with the entries that follow; `None`: it does not exist yet. Entries in
/// other versions are taken for entries in this one.
pub fn apply(
    (resource, shape): (&Resource, Shape<'_>),
    live: Option<&Value>,
    apply: &Apply,
) -> Result<Value, Status> {
    Merging::new((resource, shape), live, apply)?.finish(BTreeMap::new())
}

impl Apply {
    fn entry(&self, resource: &Resource, manager: String) -> Entry {
        Entry {
            manager,
            operation: Operation::Apply,
            subresource: self.subresource.clone(),
            api_version: resource.api_version(),
            time: Some(self.time.clone()),
            fields: FieldSet::default(),
        }
    }
}

/// An apply whose object is merged, before others are asked whether they let it happen.
#[derive(Debug)]
pub struct Merging<'a> {
    apply: &'a Apply,
    shape: Shape<'a>,
    live: Value,
    object: Value,
    /// The applier's entry as it is to be, and as it was.
    entry: Entry,
    last: Option<Entry>,
    others: Vec<Entry>,
}

impl<'a> Merging<'a> {
    /// Merges; all objects are in the resource's version.
    pub fn new(
        (resource, shape): (&Resource, Shape<'a>),
        live: Option<&Value>,
        apply: &'a Apply,
    ) -> Result<Self, Status> {
        check::check(resource, &apply.config, shape)?;
        let nothing = json!({"kind": &*resource.kind, "apiVersion": resource.api_version(), "metadata": {}});
        let mut managed = live.map(ManagedFields::of).unwrap_or_default();
        let live = live.unwrap_or(&nothing);
        if managed.0.is_empty() {
            let own = compare(&nothing, live, shape);
            let name = BEFORE_FIRST_APPLY.to_owned();
            let entry = Entry { operation: Operation::Update, ..apply.entry(resource, name) };
            managed.record(&Written { own, ..Written::default() }, entry);
        }
        let mut entry = apply.entry(resource, apply.manager.clone());
        entry.fields = fields(&apply.config, shape);
        let (own, others): (Vec<Entry>, Vec<Entry>) =
            managed.0.into_iter().partition(|other| other.is_of(&entry));
        let mut object = live.clone();
        merge::merge(&mut object, &apply.config, shape);
        let last = own.into_iter().next();
        if let Some(last) = &last {
            // With the name, so that the metadata stays.
            let mut owned = compare::all_fields(&apply.config, shape);
            others.iter().for_each(|other| owned.unite(&other.fields));
            merge::prune(&mut object, &last.fields, &owned, shape);
        }
        Ok(Self { apply, shape, live: live.clone(), object, entry, last, others })
    }

    /// The object as it would be, without its entries.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// The versions in which others have entries.
    pub fn versions(&self) -> BTreeSet<String> {
        self.others.iter().map(|other| other.api_version.clone()).collect()
    }

    /// The object with its entries, if nobody objects. `others`: what the apply changes in the terms of other versions.
    pub fn finish(mut self, others: BTreeMap<String, Changes>) -> Result<Value, Status> {
        let written = Written { own: compare(&self.live, &self.object, self.shape), others };
        let kubectl = self.apply.manager == last_applied::KUBECTL;
        let mut conflicts = self.conflicts(&written, None);
        if !conflicts.is_empty() && kubectl {
            // It inherits what it applied on the client's side.
            let own = last_applied::owned(&self.live, self.shape);
            conflicts = self.conflicts(&written, Some(&own));
        }
        if !conflicts.is_empty() {
            return Err(conflict::status(conflicts));
        }
        for other in &mut self.others {
            let changes = written.of(&other.api_version);
            other.fields.subtract(&changes.changed);
            other.fields.subtract(&changes.removed);
        }
        if kubectl {
            last_applied::refresh(&mut self.object, &self.apply.config);
        }
        let unchanged = written.own.changed.is_empty() && written.own.removed.is_empty();
        if let Some(last) = self.last
            && unchanged
            && last.fields.clone().into_value() == self.entry.fields.clone().into_value()
        {
            self.entry.time = last.time;
        }
        self.others.push(self.entry);
        ManagedFields(self.others).put(&mut self.object);
        Ok(self.object)
    }

    /// What others own of what changes. `yields`: fields that they give up without being forced.
    fn conflicts(&self, written: &Written, yields: Option<&FieldSet>) -> Vec<Conflict> {
        if self.apply.force {
            return Vec::new();
        }
        let taken = |other: &Entry| {
            let mut taken = other.fields.intersection(&written.of(&other.api_version).changed);
            if let Some(yields) = yields {
                taken.subtract(yields);
            }
            (!taken.is_empty()).then(|| Conflict::new(other, taken))
        };
        self.others.iter().filter_map(taken).collect()
    }
}
