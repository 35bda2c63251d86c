//! Acts on definitions: gives them their names, serves their kinds, and empties what is to go.
//!
//! **Contract**: driven by changes of definitions. A kind is served before its definition says so (`Established`), so who
//! waits for that finds it. A definition that is deleted stays until its objects are gone.
//! **Not here**: which names a definition gets (`naming`), how objects are served (`kind`).
//! **Upstream**: `apiextensions-apiserver/pkg/controller/{status,establish,finalizer}`.

use super::conversion::Outward;
use super::definition::{CLEANUP, Definition, Names};
use super::kind::CustomKind;
use super::naming::{self, Used};
use crate::outbound::Dial;
use crate::registry::metadata;
use crate::registry::{DeleteOptions, Object, Registry, Store, UpdateOptions, WriteOptions, loopback_user};
use crate::upkeep::{At, RETRY_PAUSE, amend};
use crate::watch_cache::{ChangeType, Selection, Subscription};
use api::status::Status;
use component_base::Context;
use component_base::logging::Chain;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";

/// Follows the definitions of one server.
pub(crate) struct Controller {
    registry: Arc<Registry>,
    definitions: Arc<Store>,
    context: Context,
    outward: Outward,
    /// What is served, by the definition's name.
    served: BTreeMap<String, Arc<Definition>>,
    /// The names that were given, by the definition's.
    given: BTreeMap<String, Names>,
    /// Definitions that did not get all names they ask for.
    refused: BTreeSet<String>,
    /// The identities of the definitions whose objects are being deleted.
    cleaning: BTreeSet<String>,
}

/// Serves the kinds of the definitions that there are, then follows them.
pub(crate) async fn start(registry: &Arc<Registry>, context: &Context, services: &Arc<dyn Dial>) {
    let Some(definitions) = registry.store(GROUP, PLURAL) else { return };
    let mut controller = Controller {
        registry: Arc::clone(registry),
        definitions,
        context: context.clone(),
        outward: Outward { services: Arc::clone(services), rng: context.rng.clone() },
        served: BTreeMap::new(),
        given: BTreeMap::new(),
        refused: BTreeSet::new(),
        cleaning: BTreeSet::new(),
    };
    let mut subscription = controller.definitions.subscribe_now(&Selection::namespace(""));
    // Who asks for an object of such a kind right after the start is not told that there is no such kind.
    for definition in std::mem::take(&mut subscription.initial).iter().filter_map(Definition::of) {
        controller.given.insert(definition.name.clone(), definition.accepted.clone());
        if definition.established {
            controller.serve(definition).await;
        }
    }
    context.shutdown.spawn(async move { controller.follow(subscription).await });
}

impl Controller {
    async fn follow(mut self, mut subscription: Subscription) {
        let mut due = self.everything();
        loop {
            while let Some(name) = due.pop_first() {
                match self.reconcile(&name, &mut due).await {
                    Ok(()) => {}
                    Err(status) => {
                        tracing::warn!(name, message = status.message, "cannot act on a definition");
                        self.context.clock.sleep(RETRY_PAUSE).await;
                        due.insert(name);
                    }
                }
            }
            match subscription.next().await {
                Some(change) => drop(due.insert(change.object.name().to_owned())),
                None => {
                    self.context.clock.sleep(RETRY_PAUSE).await;
                    subscription = self.definitions.subscribe_now(&Selection::namespace(""));
                    due = self.everything();
                }
            }
            while let Some(change) = subscription.try_next() {
                due.insert(change.object.name().to_owned());
            }
        }
    }

    /// The names of all definitions, and of those that are served still.
    fn everything(&self) -> BTreeSet<String> {
        let present = self.definitions.snapshot();
        present.iter().map(|object| object.name().to_owned()).chain(self.given.keys().cloned()).collect()
    }

    /// Brings about what one definition says.
    async fn reconcile(&mut self, name: &str, due: &mut BTreeSet<String>) -> Result<(), Status> {
        let Some(object) = self.definitions.cached("", name) else {
            if let Some(gone) = self.served.remove(name) {
                self.registry.uninstall(&gone.group, &gone.plural);
                tracing::debug!(name, "a kind is served no more");
            }
            self.given.remove(name);
            self.refused.remove(name);
            // What it was called others may be called now.
            due.extend(self.refused_in_group(name));
            return Ok(());
        };
        let Some(mut definition) = Definition::of(&object) else {
            tracing::error!(name, "a stored definition cannot be understood");
            return Ok(());
        };
        self.given.insert(name.to_owned(), definition.accepted.clone());
        if definition.is_settled() {
            self.serve(definition).await;
            self.clean(&object);
            return Ok(());
        }
        let used = Used::by(
            self.given.iter().filter(|(other, _)| group(other) == group(name)).map(|(_, names)| names),
        );
        let now = self.context.clock.now();
        let settle = |definition: &Value| naming::settle(definition, &used, now);
        let value = object.to_value();
        let settled = settle(&value);
        definition.accepted = naming::names(&settled["status"]["acceptedNames"]);
        definition.established = naming::is(&settled, "Established");
        self.given.insert(name.to_owned(), definition.accepted.clone());
        if naming::is(&settled, "NamesAccepted") {
            self.refused.remove(name);
        } else {
            self.refused.insert(name.to_owned());
        }
        if definition.established {
            self.serve(definition).await;
        }
        if settled != value {
            let change = |existing: &Value| {
                let settled = settle(existing);
                (settled != *existing).then_some(settled)
            };
            amend(&self.registry, at(name), UpdateOptions::Status, &change).await?;
            // It may have given a name back.
            due.extend(self.refused_in_group(name));
        }
        self.clean(&object);
        Ok(())
    }

    fn refused_in_group(&self, name: &str) -> Vec<String> {
        let others = self.refused.iter().filter(|other| *other != name && group(other) == group(name));
        others.cloned().collect()
    }

    /// Serves the kind as this definition wants it.
    async fn serve(&mut self, definition: Definition) {
        if self.served.get(&definition.name).is_some_and(|known| known.serves_as(&definition)) {
            return;
        }
        let (name, group) = (definition.name.clone(), definition.group.clone());
        if !self.served.contains_key(&name) && self.registry.store(&group, &definition.plural).is_some() {
            tracing::warn!(name, "a definition of a built-in kind is not served");
            return;
        }
        let definition = Arc::new(definition);
        let Some(kind) = CustomKind::new(Arc::clone(&definition), &self.outward) else { return };
        match self.registry.install(kind).await {
            Ok(()) => {
                tracing::debug!(name, generation = definition.generation, "a kind is served");
                self.served.insert(name, definition);
            }
            Err(error) => tracing::error!(name, error = %Chain(&error), "cannot serve a kind"),
        }
    }

    /// Begins to delete the objects of a definition that waits for it.
    fn clean(&mut self, object: &Arc<Object>) {
        let Some(definition) = Definition::of(object).filter(|definition| definition.cleaning) else {
            return;
        };
        if !self.cleaning.insert(definition.uid.clone()) {
            return;
        }
        let (registry, context) = (Arc::clone(&self.registry), self.context.clone());
        self.context.shutdown.spawn(async move {
            while let Err(status) = empty(&registry, &context, &definition).await {
                tracing::warn!(
                    name = definition.name,
                    message = status.message,
                    "cannot delete the objects of a kind"
                );
                context.clock.sleep(RETRY_PAUSE).await;
            }
        });
    }
}

/// The group in a definition's name.
fn group(name: &str) -> &str {
    name.split_once('.').map_or("", |(_, group)| group)
}

fn at(name: &str) -> At<'_> {
    At { group: GROUP, plural: PLURAL, namespace: "", name }
}

/// Deletes the objects of a kind, waits until the last is gone, and lets the definition go.
async fn empty(registry: &Arc<Registry>, context: &Context, definition: &Definition) -> Result<(), Status> {
    let tell = async |status: &str, reason: &str, message: &str, done: bool| {
        let change = |existing: &Value| {
            let mut told = existing.clone();
            naming::set(&mut told, "Terminating", status, reason, message, context.clock.now());
            if done {
                let rest =
                    metadata::finalizers(existing).into_iter().filter(|name| name != CLEANUP).collect();
                metadata::set_finalizers(&mut told, rest);
            }
            (told != *existing).then_some(told)
        };
        amend(registry, at(&definition.name), UpdateOptions::Status, &change).await
    };
    let store = registry.store(&definition.group, &definition.plural);
    let Some(store) = store.filter(|_| definition.established) else {
        return tell("False", "NeverEstablished", "resource was never established", true).await;
    };
    tell("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress", false).await?;
    if let Err(status) = delete_all(&store).await {
        let message = format!("could not issue all deletes: {}", status.message);
        tell("True", "InstanceDeletionFailed", &message, false).await?;
        return Err(status);
    }
    let store = gone(registry, definition).await;
    // Nobody creates any more, but a creation may have been under way.
    if let Some(store) = store {
        delete_all(&store).await?;
    }
    tell("False", "InstanceDeletionCompleted", "removed all instances", true).await
}

async fn delete_all(store: &Store) -> Result<(), Status> {
    store.catch_up().await?;
    let user = loopback_user();
    for object in store.snapshot().iter() {
        let mut options = WriteOptions::new(&user);
        let deleted =
            store.delete(&mut options, object.namespace(), object.name(), &DeleteOptions::default()).await;
        match deleted {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

/// Waits until a kind has no objects; its store, if it is served still.
async fn gone(registry: &Registry, definition: &Definition) -> Option<Arc<Store>> {
    loop {
        // Another store may have taken the place of the one before: then that one's watchers are told by their end.
        let store = registry.store(&definition.group, &definition.plural)?;
        let mut changes = store.subscribe_now(&Selection::namespace(""));
        let mut left = changes.initial.len();
        loop {
            if left == 0 {
                return Some(store);
            }
            match changes.next().await {
                Some(change) if change.change == ChangeType::Deleted => left -= 1,
                Some(change) if change.change == ChangeType::Added => left += 1,
                Some(_) => {}
                None => break,
            }
        }
    }
}
