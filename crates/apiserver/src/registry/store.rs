//! One kind's store: create, read, update, whatever the kind.
//!
//! **Contract**
//! - Writes are optimistic: a change is computed from the object in the watch cache and committed only if that is
//!   still the newest; else it is computed again, unless the caller named a resourceVersion.
//! - A write that changes nothing is not written. A write is in the cache before it is acknowledged.
//! - Claims ([`super::Reservation`]) are written and removed in the object's own transaction.
//!
//! **Not here**: deletion (`delete`), metadata rules (`metadata`, `prepare`), what differs between kinds (strategies).
//! **Upstream**: `k8s.io/apiserver/pkg/registry/generic/registry/store.go`.

use super::admit::{Admitting, Phase};
use super::companion::{Patience, accompany, is_companion};
use super::error::storage_status;
use super::object::encode;
use super::{Object, Strategy, Tracking, Version, WriteContext, managed_fields, metadata, prepare};
use crate::admission::{Chain, Companion, Lookup, Operation, Part, Sent, Shown};
use crate::auth::UserInfo;
use crate::watch_cache::{Cache, Caches, Selection, Snapshot, Subscription};
use api::field::{Error as FieldError, ErrorList, Path};
use api::kind::Resource;
use api::meta;
use api::status::Status;
use async_trait::async_trait;
use bytes::Bytes;
use component_base::Context;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::Key;

/// How long a creation waits for what it needs. **Upstream**: ten tries of 100 ms (`getServiceAccount`).
const NEEDED_TIMEOUT: Duration = Duration::from_secs(1);
/// Tries to generate a name that is free. **Upstream**: `maxNameGenerationCreateAttempts`.
const NAME_TRIES: usize = 8;
/// Tries to write past other writers, or past holders of a claim.
pub(super) const WRITE_TRIES: usize = 100;
/// Objects read at a time from the storage.
const LIST_BATCH: usize = 500;

/// Who writes, and how.
pub struct WriteOptions<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// The admission chain and what it may look at; `None` for the server's own writes.
    pub admission: Option<(&'a Chain, &'a dyn Lookup)>,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// Which of the chain's plugins are asked.
    pub part: Part,
    /// The options of the request, as others are told of them.
    pub sent: Sent<'a>,
    /// The subresource that is written through, or empty.
    pub subresource: &'a str,
    /// How clients of the subresource see the object, if otherwise than it is.
    pub shown: Option<&'a dyn Shown>,
    /// The version that the writer speaks, if it is not the one that is stored.
    pub version: Option<&'a Version>,
    /// Whose fields the write changes.
    pub tracking: Tracking<'a>,
    /// Texts for `Warning:` headers; strategies and plugins add theirs.
    pub warnings: Vec<String>,
}

impl<'a> WriteOptions<'a> {
    /// A write of this user that admission is not asked about.
    pub fn new(user: &'a UserInfo) -> Self {
        Self {
            user,
            admission: None,
            dry_run: false,
            part: Part::All,
            sent: Sent::Nothing,
            subresource: "",
            shown: None,
            version: None,
            tracking: Tracking::None,
            warnings: Vec::new(),
        }
    }
}

/// What an update touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateOptions {
    /// The object, but its status if the kind has a status subresource.
    #[default]
    Object,
    /// Its status (and harmless metadata).
    Status,
    /// All of it, as a subresource of its own sees fit (binding, finalize): the strategy is not asked.
    Raw,
    /// The same, and a change counts as one of what the object's author wishes (resize).
    Part,
}

/// A written object.
#[derive(Debug)]
pub struct Updated {
    /// The object as it is now.
    pub object: Arc<Object>,
    /// Whether it did not exist before.
    pub created: bool,
}

/// What an update makes of the object there is, in the stored version; `None`: there is none.
#[async_trait]
pub trait Change: Send {
    /// The new object; asked again when another writer was faster.
    async fn change(&mut self, old: Option<&Value>) -> Result<Value, Status>;
}

/// A change that waits for nothing.
struct Now<'a>(&'a mut (dyn FnMut(Option<&Value>) -> Result<Value, Status> + Send));

#[async_trait]
impl Change for Now<'_> {
    async fn change(&mut self, old: Option<&Value>) -> Result<Value, Status> {
        (self.0)(old)
    }
}

/// The store of one kind.
pub struct Store {
    pub(super) strategy: Arc<dyn Strategy>,
    pub(super) caches: Arc<Caches>,
    pub(super) context: Context,
    cache: Arc<Cache>,
    versions: Vec<Version>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("resource", &self.resource().qualified()).finish_non_exhaustive()
    }
}

impl Store {
    pub(super) fn new(
        strategy: Arc<dyn Strategy>,
        caches: Arc<Caches>,
        cache: Arc<Cache>,
        context: &Context,
    ) -> Self {
        let versions = Version::all(&strategy);
        Self { strategy, caches, cache, versions, context: context.clone() }
    }

    /// What differs between kinds.
    pub fn strategy(&self) -> &Arc<dyn Strategy> {
        &self.strategy
    }

    /// The versions in which objects are served, the stored one first.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The kind's facts.
    pub fn resource(&self) -> &Resource {
        self.strategy.resource()
    }

    /// The kind's part of the watch cache.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Where an object is stored.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        let prefix = self.cache().prefix();
        if self.resource().namespaced() {
            format!("{prefix}{namespace}/{name}")
        } else {
            format!("{prefix}{name}")
        }
    }

    /// The object as the cache has it.
    pub fn cached(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.compute();
        self.cache().get(&self.key(namespace, name))
    }

    /// Everything, as the cache has it.
    pub fn snapshot(&self) -> Snapshot {
        self.compute();
        self.cache().snapshot()
    }

    /// Waits until the cache shows every write that was acknowledged before this call.
    pub async fn catch_up(&self) -> Result<(), Status> {
        let revision = self
            .caches
            .storage()
            .current_revision()
            .await
            .map_err(|e| storage_status(self.resource(), &e))?;
        self.wait_for(revision).await
    }

    /// Waits until the cache is complete up to `revision`; 504 if that does not come to pass.
    pub async fn wait_for(&self, revision: u64) -> Result<(), Status> {
        self.caches
            .wait_for(revision)
            .await
            .map_err(|current| Status::too_large_resource_version(revision, current))
    }

    /// The newest revision that reads of the cache see.
    pub fn revision(&self) -> u64 {
        self.caches.revision()
    }

    /// Some objects under a prefix as they were at a revision, after a key; and how many follow.
    pub(crate) async fn list_at(
        &self,
        prefix: &str,
        revision: u64,
        after: Option<&str>,
    ) -> Result<(Vec<Arc<Object>>, usize), Status> {
        let options = storage::ListOptions {
            start_after: after.map(Key::from),
            limit: Some(LIST_BATCH),
            revision: Some(revision),
        };
        let page = self
            .caches
            .storage()
            .list(prefix, options)
            .await
            .map_err(|error| storage_status(self.resource(), &error))?;
        let objects = page
            .items
            .into_iter()
            .map(|item| self.decode(item.key, item.mod_revision, item.value))
            .collect::<Result<_, _>>()?;
        Ok((objects, page.remaining))
    }

    /// The newest object.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        self.catch_up().await?;
        self.cached(namespace, name).ok_or_else(|| Status::not_found(self.resource(), name))
    }

    /// Watches from the present state on.
    pub fn subscribe_now(&self, selection: &Selection) -> Subscription {
        self.caches.subscribe_now(&self.cache, selection)
    }

    /// Watches the changes after a revision.
    pub async fn subscribe_since(&self, selection: &Selection, since: u64) -> Result<Subscription, Status> {
        self.caches.subscribe_since(&self.cache, selection, since).await
    }

    /// Creates an object.
    pub async fn create(
        &self,
        options: &mut WriteOptions<'_>,
        namespace: &str,
        object: Value,
    ) -> Result<Arc<Object>, Status> {
        if !meta::resource_version(&object).is_empty() {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        self.await_needed(options, namespace, &object).await;
        let (mut generated_tries, mut claims_lost) = (0, BTreeMap::new());
        let patience = Patience::of(self);
        let warned = options.warnings.len();
        loop {
            options.warnings.truncate(warned);
            let mut candidate = object.clone();
            let (generated, companions) = self.prepare_create(options, namespace, &mut candidate).await?;
            let name = meta::name(&candidate).to_owned();
            let key = Key::from(self.key(namespace, &name));
            if options.dry_run {
                self.catch_up().await?;
                return match self.cache().get(&key) {
                    Some(existing) => Err(self.exists(&name, &existing.to_value())),
                    None => self.unstored(key, &candidate, None),
                };
            }
            let (txn, claims) = self.create_txn(&key, &candidate)?;
            match self.commit(accompany(txn, &companions)).await {
                Ok(revision) => return self.written(key, revision, &candidate),
                Err(storage::Error::Conflict { key: taken, current }) if taken == key => {
                    generated_tries += 1;
                    if generated && generated_tries < NAME_TRIES {
                        continue;
                    }
                    let existing = current.and_then(|kv| serde_json::from_slice(&kv.value).ok());
                    let mut status = self.exists(&name, &existing.unwrap_or_default());
                    if generated {
                        status.message +=
                            ", the server was not able to generate a unique name for the object";
                    }
                    return Err(status);
                }
                Err(storage::Error::Conflict { key: taken, .. }) if is_companion(&companions, &taken) => {
                    patience.again(self).await?;
                }
                Err(storage::Error::Conflict { key: taken, .. }) => {
                    self.claim_lost(&taken, &claims, &mut claims_lost, &name)?;
                }
                Err(error) => return Err(storage_status(self.resource(), &error)),
            }
        }
    }

    /// Waits a moment for what admission says that the object needs; whether it came is for admission to judge.
    async fn await_needed(&self, options: &WriteOptions<'_>, namespace: &str, object: &Value) {
        let Some((chain, lookup)) = options.admission else { return };
        let deadline = self.context.clock.instant() + NEEDED_TIMEOUT;
        loop {
            let seen = self.caches.revision();
            let Some(needed) = chain.awaits(lookup, self.resource(), namespace, object) else { return };
            if lookup.get(needed.group, needed.plural, &needed.namespace, &needed.name).is_some() {
                return;
            }
            // No more changes will come once the pump has ended.
            let Ok(Ok(())) = tokio::time::timeout_at(deadline, self.caches.wait_for(seen + 1)).await else {
                return;
            };
        }
    }

    /// Changes an object. `change` makes the new object of the old one (`None`: there is none, and the kind may be
    /// created by an update); it is called again when another writer was faster.
    pub async fn update(
        &self,
        options: &mut WriteOptions<'_>,
        namespace: &str,
        name: &str,
        what: UpdateOptions,
        change: &mut (dyn FnMut(Option<&Value>) -> Result<Value, Status> + Send),
    ) -> Result<Updated, Status> {
        self.update_by(options, namespace, name, what, &mut Now(change)).await
    }

    /// The same for a change that may have to wait.
    pub async fn update_by(
        &self,
        options: &mut WriteOptions<'_>,
        namespace: &str,
        name: &str,
        what: UpdateOptions,
        change: &mut dyn Change,
    ) -> Result<Updated, Status> {
        let key = Key::from(self.key(namespace, name));
        let mut claims_lost = BTreeMap::new();
        let warned = options.warnings.len();
        for _ in 0..WRITE_TRIES {
            options.warnings.truncate(warned);
            self.catch_up().await?;
            let Some(existing) = self.cache().get(&key) else {
                let may_create =
                    options.tracking == Tracking::Applied || self.strategy.allow_create_on_update();
                if what != UpdateOptions::Object || !may_create {
                    return Err(Status::not_found(self.resource(), name));
                }
                let object = change.change(None).await?;
                match self.create(options, namespace, object).await {
                    // Another writer was faster; its object is changed instead.
                    Err(status) if status.reason == "AlreadyExists" => continue,
                    object => return object.map(|object| Updated { object, created: true }),
                }
            };
            let stored = existing.to_value();
            let outdated = existing.is_outdated() || stored["apiVersion"] != self.resource().api_version();
            let mut old = self.versions[0].upgraded(stored).await?;
            let mut object = change.change(Some(&old)).await?;
            self.check_preconditions(&existing, &old, &object)?;
            metadata::of(&mut old).shift_remove("resourceVersion");
            let revision = existing.revision();
            let companions = self.prepare_update(options, what, &mut object, (&old, revision)).await?;
            // What is stored in an old form is written anew even if nothing changes: that is how stores are migrated.
            if object == old && !outdated {
                return Ok(Updated { object: existing, created: false });
            }
            let remove = self.is_finished(&object, &old);
            if options.dry_run {
                let object = self.unstored(key, &object, Some(existing.revision()))?;
                return Ok(Updated { object, created: false });
            }
            let (txn, claims) = self.update_txn(&key, existing.revision(), &object, &old, remove)?;
            match self.commit(accompany(txn, &companions)).await {
                Ok(revision) if remove => {
                    let object = self.decode(key, revision, encode(&*self.strategy, &object))?;
                    return Ok(Updated { object, created: false });
                }
                Ok(revision) => {
                    return Ok(Updated { object: self.written(key, revision, &object)?, created: false });
                }
                Err(storage::Error::Conflict { key: taken, .. })
                    if taken == key || is_companion(&companions, &taken) => {}
                Err(storage::Error::Conflict { key: taken, .. }) => {
                    self.claim_lost(&taken, &claims, &mut claims_lost, name)?;
                }
                Err(error) => return Err(storage_status(self.resource(), &error)),
            }
        }
        Err(Status::modified(self.resource(), name))
    }

    /// Whether an update lets an object go that only waited for its last finalizer.
    fn is_finished(&self, object: &Value, old: &Value) -> bool {
        meta::finalizers(object).next().is_none()
            && !self.strategy.is_held(object)
            && meta::deletion_timestamp(old).is_some()
            && old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
    }

    fn check_preconditions(&self, existing: &Object, old: &Value, new: &Value) -> Result<(), Status> {
        let name = existing.name();
        let (uid, old_uid) = (meta::uid(new), meta::uid(old));
        if !uid.is_empty() && uid != old_uid {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: \
                 Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}",
                metadata::upstream_key(self.resource(), old)
            );
            return Err(Status::conflict(self.resource(), name, &why));
        }
        match meta::resource_version(new) {
            "" if self.strategy.allow_unconditional_update() => Ok(()),
            "" => {
                let path = Path::new("metadata").child("resourceVersion");
                Err(self
                    .invalid(name, &vec![FieldError::invalid(&path, 0, "must be specified for an update")]))
            }
            version if version == meta::resource_version(old) => Ok(()),
            version if version.parse::<u64>().is_err() => {
                let path = Path::new("metadata").child("resourceVersion");
                let message = "resourceVersion must be a decimal number";
                Err(self.invalid(name, &vec![FieldError::invalid(&path, version, message)]))
            }
            _ => Err(Status::modified(self.resource(), name)),
        }
    }

    pub(super) async fn prepare_create(
        &self,
        options: &mut WriteOptions<'_>,
        namespace: &str,
        object: &mut Value,
    ) -> Result<(bool, Vec<Companion>), Status> {
        let now = self.context.clock.now();
        let strategy = &*self.strategy;
        let sent = managed_fields::take(object);
        prepare::create(strategy, object, namespace);
        prepare::default_in(strategy, options.version, object);
        self.track(options, &Value::Null, object, sent.as_ref()).await?;
        let write = Admitting { operation: Operation::Create, namespace, old: None, revision: 0 };
        self.admit(options, &write, Some(object), Phase::Mutate).await?;
        let generated = prepare::identify(strategy, object, namespace, &self.context.rng, now);
        prepare::default_in(strategy, options.version, object);
        let context = WriteContext { now, rng: &self.context.rng, user: options.user };
        options.warnings.extend(strategy.deprecations(object));
        strategy.prepare_for_create(&context, object);
        let mut errors = metadata::validate(strategy, object);
        if !options.version.is_some_and(Version::rules_alone) {
            errors.extend(strategy.validate(object));
        }
        errors.extend(options.version.map(|v| v.validate(object, None)).unwrap_or_default());
        if !errors.is_empty() {
            let name = match meta::name(object) {
                "" => meta::generate_name(object),
                name => name,
            };
            return Err(self.invalid(name, &errors));
        }
        options.warnings.extend(strategy.warnings(object, None));
        let companions = self.admit(options, &write, Some(object), Phase::Validate).await?;
        Ok((generated, companions))
    }

    async fn prepare_update(
        &self,
        options: &mut WriteOptions<'_>,
        what: UpdateOptions,
        object: &mut Value,
        (old, revision): (&Value, u64),
    ) -> Result<Vec<Companion>, Status> {
        let strategy = &*self.strategy;
        let (namespace, name) = (meta::namespace(old), meta::name(old));
        let context =
            WriteContext { now: self.context.clock.now(), rng: &self.context.rng, user: options.user };
        object["kind"] = (&*self.resource().kind).into();
        object["apiVersion"] = self.resource().api_version().into();
        let sent = managed_fields::take(object);
        prepare::update(strategy, object, old);
        match what {
            UpdateOptions::Status => prepare::status_update(object, old),
            UpdateOptions::Object if strategy.has_status() => prepare::keep_status(object, old),
            UpdateOptions::Object | UpdateOptions::Raw | UpdateOptions::Part => {}
        }
        prepare::default_in(strategy, options.version, object);
        self.track(options, old, object, sent.as_ref()).await?;
        let write = Admitting { operation: Operation::Update, namespace, old: Some(old), revision };
        self.admit(options, &write, Some(object), Phase::Mutate).await?;
        let mut errors = ErrorList::new();
        match what {
            UpdateOptions::Object => {
                prepare::default_in(strategy, options.version, object);
                strategy.prepare_for_update(&context, object, old);
                if strategy.has_generation() {
                    prepare::bump_generation(object, old);
                }
                errors.extend(metadata::validate_update(self.resource(), object, old));
                if !options.version.is_some_and(Version::rules_alone) {
                    errors.extend(strategy.validate_update(object, old));
                }
                errors.extend(options.version.map(|v| v.validate(object, Some(old))).unwrap_or_default());
            }
            UpdateOptions::Status => {
                strategy.prepare_for_status_update(&context, object, old);
                errors.extend(metadata::validate_update(self.resource(), object, old));
                errors.extend(strategy.validate_status_update(object, old));
            }
            UpdateOptions::Raw => errors.extend(metadata::validate_update(self.resource(), object, old)),
            UpdateOptions::Part => {
                prepare::bump_generation(object, old);
                errors.extend(metadata::validate_update(self.resource(), object, old));
            }
        }
        if !errors.is_empty() {
            return Err(self.invalid(name, &errors));
        }
        managed_fields::settle(object, old);
        if what == UpdateOptions::Object {
            options.warnings.extend(strategy.warnings(object, Some(old)));
        }
        self.admit(options, &write, Some(object), Phase::Validate).await
    }

    /// The object of a commit: shared with the cache if nobody changed it since.
    fn written(&self, key: Key, revision: u64, object: &Value) -> Result<Arc<Object>, Status> {
        match self.cache().get(&key) {
            Some(cached) if cached.revision() == revision => Ok(cached),
            _ => self.decode(key, revision, encode(&*self.strategy, object)),
        }
    }

    pub(super) fn decode(&self, key: Key, revision: u64, stored: Bytes) -> Result<Arc<Object>, Status> {
        self.cache()
            .object(key, revision, &stored)
            .map(Arc::new)
            .map_err(|_| Status::internal("the object cannot be encoded"))
    }

    pub(super) fn invalid(&self, name: &str, errors: &ErrorList) -> Status {
        let resource = self.resource();
        Status::invalid(&resource.group, &resource.kind, name, errors)
    }

    fn exists(&self, name: &str, existing: &Value) -> Status {
        let mut status = Status::already_exists(self.resource(), name);
        if meta::deletion_timestamp(existing).is_some() {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status
    }
}
