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
use crate::registry::managed_fields::{Entry, ManagedFields, Operation};
use api::kind::Resource;
use api::schema::Schema;
use api::status::Status;
use conflict::Conflict;
use serde_json::{Value, json};

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

/// Refuses what is no configuration for objects of this resource.
pub fn check(resource: &Resource, config: &Value) -> Result<(), Status> {
    check::check(resource, config, shape(resource))
}

/// The shape of a resource's objects.
pub fn shape(resource: &Resource) -> Shape {
    Shape::of_object(Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind))
}

/// The object as the configuration wants it, with the entries that follow; `None`: it does not exist yet.
pub fn apply(resource: &Resource, live: Option<&Value>, apply: &Apply) -> Result<Value, Status> {
    let shape = shape(resource);
    check::check(resource, &apply.config, shape)?;
    let nothing = json!({"kind": &*resource.kind, "apiVersion": resource.api_version(), "metadata": {}});
    let mut managed = live.map(ManagedFields::of).unwrap_or_default();
    let live = live.unwrap_or(&nothing);
    if managed.0.is_empty() {
        let changes = compare(&nothing, live, shape);
        let name = BEFORE_FIRST_APPLY.to_owned();
        managed.record(&changes, Entry { operation: Operation::Update, ..apply.entry(resource, name) });
    }
    match merged(resource, live, &managed, apply, shape, None) {
        Err(_) if apply.manager == last_applied::KUBECTL => {
            let own = last_applied::owned(live, shape);
            merged(resource, live, &managed, apply, shape, Some(&own)).map_err(conflict::status)
        }
        result => result.map_err(conflict::status),
    }
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

/// `yields`: fields that others give up without being forced.
fn merged(
    resource: &Resource,
    live: &Value,
    managed: &ManagedFields,
    apply: &Apply,
    shape: Shape,
    yields: Option<&FieldSet>,
) -> Result<Value, Vec<Conflict>> {
    let mut entry = apply.entry(resource, apply.manager.clone());
    entry.fields = fields(&apply.config, shape);
    let (own, mut others): (Vec<Entry>, Vec<Entry>) =
        managed.0.iter().cloned().partition(|other| other.is_of(&entry));
    let mut object = live.clone();
    merge::merge(&mut object, &apply.config, shape);
    let last = own.into_iter().next();
    if let Some(last) = &last {
        // With the name, so that the metadata stays.
        let mut owned = compare::all_fields(&apply.config, shape);
        others.iter().for_each(|other| owned.unite(&other.fields));
        merge::prune(&mut object, &last.fields, &owned, shape);
    }
    let changes = compare(live, &object, shape);
    let mut conflicts = Vec::new();
    for other in &mut others {
        let mut taken = other.fields.intersection(&changes.changed);
        other.fields.subtract(&changes.changed);
        other.fields.subtract(&changes.removed);
        if let Some(yields) = yields {
            taken.subtract(yields);
        }
        if !apply.force && !taken.is_empty() {
            conflicts.push(Conflict::new(other, taken));
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    if apply.manager == last_applied::KUBECTL {
        last_applied::refresh(&mut object, &apply.config);
    }
    let unchanged = changes.changed.is_empty() && changes.removed.is_empty();
    if let Some(last) = last
        && unchanged
        && last.fields.clone().into_value() == entry.fields.clone().into_value()
    {
        entry.time = last.time;
    }
    others.push(entry);
    ManagedFields(others).put(&mut object);
    Ok(object)
}
