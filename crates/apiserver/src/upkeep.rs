//! What the server keeps in order by itself: following objects of its own, and putting right what they lack.
//!
//! **Not here**: which objects (`bootstrap`, `flowcontrol`).

use crate::admission::Lookup;
use crate::registry::{Registry, UpdateOptions, WriteOptions, loopback_user};
use crate::watch_cache::{Selection, Subscription};
use api::status::Status;
use component_base::Clock;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The pause after a watch that was too slow, or a write that failed.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Where an object is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    pub(crate) group: &'a str,
    pub(crate) plural: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> At<'a> {
    /// Where an object of this resource is.
    pub(crate) fn of(group: &'a str, plural: &'a str, object: &'a Value) -> Self {
        Self { group, plural, namespace: api::meta::namespace(object), name: api::meta::name(object) }
    }
}

/// Tells when any of some objects has changed.
pub(crate) struct Followed {
    registry: Arc<Registry>,
    what: Vec<(String, String, Selection)>,
    changes: Vec<Subscription>,
}

impl Followed {
    /// Follows what is selected of these resources (group and plural), from now on.
    pub(crate) fn new(registry: &Arc<Registry>, what: Vec<(String, String, Selection)>) -> Self {
        let mut followed = Self { registry: Arc::clone(registry), what, changes: Vec::new() };
        followed.subscribe();
        followed
    }

    fn subscribe(&mut self) {
        let stores = self.what.iter().filter_map(|(group, plural, selection)| {
            Some(self.registry.store(group, plural)?.subscribe_now(selection))
        });
        self.changes = stores.collect();
    }

    /// Waits for the next change; several at once count as one.
    pub(crate) async fn changed(&mut self, clock: &Clock) {
        let next = self.changes.iter_mut().map(|subscription| Box::pin(subscription.next()));
        let (change, _, _) = futures::future::select_all(next).await;
        if change.is_none() {
            clock.sleep(RETRY_PAUSE).await;
            self.subscribe();
        }
        while self.changes.iter_mut().any(|subscription| subscription.try_next().is_some()) {}
    }
}

/// Writes the object that `change` makes of the existing one, if there is one and it makes one.
pub(crate) async fn amend(
    registry: &Registry,
    at: At<'_>,
    how: UpdateOptions,
    change: &(dyn Fn(&Value) -> Option<Value> + Send + Sync),
) -> Result<(), Status> {
    let existing = registry.get(at.group, at.plural, at.namespace, at.name);
    if existing.and_then(|existing| change(&existing)).is_none() {
        return Ok(());
    }
    let Some(store) = registry.store(at.group, at.plural) else { return Ok(()) };
    let user = loopback_user();
    let mut options = WriteOptions::new(&user);
    let mut update = |old: Option<&Value>| {
        let old = old.ok_or_else(|| Status::not_found(store.resource(), at.name))?;
        Ok(change(old).unwrap_or_else(|| old.clone()))
    };
    match store.update(&mut options, at.namespace, at.name, how, &mut update).await {
        // A status tells what is, and says so itself.
        Ok(_) if how == UpdateOptions::Status => {}
        Ok(_) => {
            tracing::info!(plural = at.plural, name = at.name, "put right an object of the server's own")
        }
        // Gone at this moment: the next turn makes it again.
        Err(status) if status.code == 404 => {}
        Err(status) => return Err(status),
    }
    Ok(())
}
