//! What differs between kinds: the hooks that the generic store calls, in the order in which it calls them.
//!
//! **Contract**: hooks are pure; they see the object as JSON after strict decoding, may not do I/O, and may not look
//! at other objects (that is admission's part).
//!
//! Create: `default` → admission (mutating) → `prepare_for_create` → `validate` → admission (validating) → write.
//! Update: `default` → admission (mutating) → `prepare_for_update` → `validate_update` → admission (validating) → write.
//! The store itself sees to everything in `metadata` (name, uid, timestamps, generation, finalizers, ownership).
//!
//! **Upstream**: `k8s.io/apiserver/pkg/registry/rest` (`RESTCreateStrategy`, `RESTUpdateStrategy`, …).

use super::Conversion;
use crate::admission::Companion;
use crate::auth::UserInfo;
use api::field::ErrorList;
use api::kind::Resource;
use bytes::Bytes;
use component_base::Rng;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What a hook may know of the request.
#[derive(Clone, Copy)]
pub struct WriteContext<'a> {
    /// The time of the request.
    pub now: Timestamp,
    /// Randomness for generated values.
    pub rng: &'a Rng,
    /// Who asks.
    pub user: &'a UserInfo,
}

/// A column of the table that `kubectl get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// `Ready`; kubectl prints it in upper case.
    pub name: &'static str,
    /// `string`, `integer`, `date`, …
    pub kind: &'static str,
    /// `name` for the first column, else empty.
    pub format: &'static str,
    /// 0: always shown; 1: with `-o wide` only.
    pub priority: i32,
    /// What it shows.
    pub description: Description,
}

/// What a table says of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Description {
    /// Nothing.
    None,
    /// These words.
    Text(&'static str),
    /// What `explain` says of a field of the kind: `status.podIP`.
    Field(&'static str),
}

impl Column {
    /// A column that is always shown.
    pub const fn new(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind, format: "", priority: 0, description: Description::None }
    }

    /// A column that `-o wide` adds.
    pub const fn wide(name: &'static str, kind: &'static str) -> Self {
        Self { priority: 1, ..Self::new(name, kind) }
    }

    /// This column, described in these words.
    pub const fn text(self, words: &'static str) -> Self {
        Self { description: Description::Text(words), ..self }
    }

    /// This column, described as a field of the kind is: `status.podIP`.
    pub const fn field(self, path: &'static str) -> Self {
        Self { description: Description::Field(path), ..self }
    }

    /// The first column of every table.
    pub const NAME: Self = Self { format: "name", ..Self::new("Name", "string") }.field("metadata.name");
}

/// One cell of a table: a JSON scalar.
pub type Cell = Value;

/// How an object of a kind goes away once nobody's finalizer keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object is removed at once.
    Immediate,
    /// The object is marked, and stays for this many seconds or until somebody deletes it with grace 0.
    Graceful(i64),
}

/// What happens to dependents when a request does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes dependents afterwards.
    Background,
    /// Dependents stay.
    Orphan,
}

/// A cluster-wide claim that an object holds for as long as it exists: a service address, a node port.
/// The store writes and removes claims in the same transaction as the object, so two objects never hold the same.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The claim's key, below the store's own prefix for claims: `serviceips/10.96.0.1`.
    pub key: String,
    /// The field error to report when somebody else holds it, as (path, message).
    pub taken: (String, String),
    /// The object that shows to everybody who holds it; it comes and goes with the claim.
    pub shown: Option<Companion>,
}

const STANDARD_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What differs between kinds. Every hook has the default that fits a plain object.
pub trait Strategy: Send + Sync + 'static {
    /// The facts that discovery publishes.
    fn resource(&self) -> &Resource;

    /// The group-versions in which objects are served besides the one of [`Strategy::resource`], which is stored.
    fn versions(&self) -> Vec<Arc<dyn Conversion>> {
        Vec::new()
    }

    /// What the stored version has to say besides what the strategy does; `None`: nothing.
    fn stored_version(&self) -> Option<Arc<dyn Conversion>> {
        None
    }

    /// Whether the stored version is one of those that are served.
    fn serves_stored(&self) -> bool {
        true
    }

    /// What is to be read where these bytes are stored, if it is not what was written: fields may have been given
    /// defaults, and others may have gone, since.
    fn read(&self, _stored: &[u8]) -> Option<Bytes> {
        None
    }

    /// Whether there may be very many of them that are much alike and seldom read: these are packed in memory.
    fn is_packed(&self) -> bool {
        false
    }

    /// The version that the storage version hash speaks of: upstream still stores some kinds in an older one.
    fn storage_version(&self) -> &str {
        &self.resource().version
    }

    /// The verbs served on objects of this kind, sorted.
    fn verbs(&self) -> &'static [&'static str] {
        STANDARD_VERBS
    }

    /// Why a verb is not served that objects of other kinds have, if that has a reason of its own.
    fn refusal(&self, _verb: &str) -> Option<String> {
        None
    }

    /// Whether the kind has a `status` subresource: then `status` changes only through it, and spec only outside it.
    fn has_status(&self) -> bool {
        false
    }

    /// Whether `metadata.generation` counts changes of the spec.
    fn has_generation(&self) -> bool {
        self.has_status()
    }

    /// Why this name may not be used; empty when it may. `prefix`: the name is a `generateName`.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        api::names::dns_subdomain(name, prefix)
    }

    /// Fills what the API defines as default. Runs on every decoded object; must be idempotent.
    fn default(&self, _object: &mut Value) {}

    /// Resets what a creator may not set.
    fn prepare_for_create(&self, _context: &WriteContext<'_>, _object: &mut Value) {}

    /// All errors of a new object, `metadata` excepted.
    fn validate(&self, _object: &Value) -> ErrorList {
        ErrorList::new()
    }

    /// Carries over what an updater may not change silently (the store already keeps `status` if `has_status`).
    fn prepare_for_update(&self, _context: &WriteContext<'_>, _object: &mut Value, _old: &Value) {}

    /// All errors of a changed object, `metadata` excepted: immutable fields, and what `validate` finds.
    fn validate_update(&self, object: &Value, _old: &Value) -> ErrorList {
        self.validate(object)
    }

    /// Carries over what a status writer may not change (the store already keeps everything but `status`, and the
    /// metadata that upstream lets through).
    fn prepare_for_status_update(&self, _context: &WriteContext<'_>, _object: &mut Value, _old: &Value) {}

    /// All errors of a changed status.
    fn validate_status_update(&self, _object: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    /// A text for the `Warning:` header of every request for this kind: what to use instead of it.
    ///
    /// **Upstream**: `APILifecycleDeprecated`, `deprecation.WarningMessage`.
    fn deprecation(&self) -> Option<&'static str> {
        None
    }

    /// A text for the `Warning:` header of a deletion that does not say what becomes of dependents.
    fn deletion_warning(&self) -> Option<&'static str> {
        None
    }

    /// Texts for `Warning:` headers about what a new object says in a form that `prepare_for_create` replaces.
    fn deprecations(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Texts for `Warning:` headers about an accepted object.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Field labels that a field selector may name, beyond `metadata.name` and `metadata.namespace`.
    fn field_labels(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether there are any.
    fn has_fields(&self) -> bool {
        !self.field_labels().is_empty()
    }

    /// The place of a label among them.
    fn field_index(&self, label: &str) -> Option<usize> {
        self.field_labels().iter().position(|known| *known == label)
    }

    /// Another spelling of a field label (`spec.host` → `spec.nodeName`), or the label itself.
    fn canonical_field_label<'a>(&self, label: &'a str) -> &'a str {
        label
    }

    /// The fields that their values are made of, as paths; [`Strategy::selectable_fields`] is shown nothing else.
    fn selectable_paths(&self) -> Vec<&str> {
        self.field_labels().to_vec()
    }

    /// The values of all of them, in their order.
    fn selectable_fields(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Columns of the table, the first being [`Column::NAME`].
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("Created At", "date").field("metadata.creationTimestamp")] }
    }

    /// The cells of an object's row, in the order of `columns`.
    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Cell> {
        vec![object["metadata"]["name"].clone(), object["metadata"]["creationTimestamp"].clone()]
    }

    /// What a row says of its object besides the cells: `Completed`, once a pod will not run again.
    fn row_conditions(&self, _object: &Value) -> Vec<Value> {
        Vec::new()
    }

    /// The number that counts before the name in the order of a list's rows; `None`: the name alone counts.
    fn row_order(&self) -> Option<fn(&Value) -> i64> {
        None
    }

    /// Whether a PUT to a name that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without a resourceVersion is accepted.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// How the object goes away, given the grace period that the request asks for.
    fn deletion(&self, _object: &Value, _requested_grace: Option<i64>) -> Deletion {
        Deletion::Immediate
    }

    /// Whether the answer to a deletion that removes the object is the object, and not a `Status`.
    ///
    /// **Upstream**: `ReturnDeletedObject` of the kind's store.
    fn returns_deleted_object(&self) -> bool {
        false
    }

    /// Whether something besides `metadata.finalizers` keeps the object (a namespace's `spec.finalizers`).
    fn is_held(&self, _object: &Value) -> bool {
        false
    }

    /// Marks an object that is about to go and is kept for now (`status.phase: Terminating`).
    fn prepare_for_delete(&self, _object: &mut Value) {}

    /// Whether deletion without a propagation policy orphans dependents.
    fn default_propagation(&self) -> Propagation {
        Propagation::Background
    }

    /// How long an object lives after its last write; `None`: for ever.
    fn time_to_live(&self, _object: &Value) -> Option<Duration> {
        None
    }

    /// The objects of a kind that is never stored: what is so when somebody asks.
    fn computed(&self) -> Option<Vec<Value>> {
        None
    }

    /// The cluster-wide claims that this object holds. When one is taken, the store runs `prepare_for_create` (or
    /// `prepare_for_update`) again on the original object, up to 8 times in all, before it reports `taken`: a value that
    /// the hook chose at random will differ, one that the user chose will not.
    fn reservations(&self, _object: &Value) -> Vec<Reservation> {
        Vec::new()
    }
}
