//! One shared watch a kind: what the API server has, in memory, and every change in order.
//!
//! **Contract**: a kind (and selection) is listed and watched once a process, from the first time that somebody asks
//! for it. A subscriber gets the present state first and then every change, in order and without gaps; a change is in
//! the store before it is announced. Broken watches resume from the last revision; `410 Expired` lists again and
//! announces the difference only. What is announced may be later than what happened: handlers are level-triggered.
//! Nothing polls.
//! **Not here**: the loop that talks to the server ([`reflector`]).
//! **Upstream**: `client-go/tools/cache` (shared informer, indexer).

mod any;
mod index;
mod interner;
mod kept;
mod reflector;
mod sent;
mod store;

use crate::{Key, Queue};
use component_base::Context;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use store::Shared;
use tokio::sync::mpsc;

pub use any::AnyObject;
pub use index::{Index, Keys};
pub use interner::{Interner, Origin, Original, Place};

/// What can be watched: a kind known at compile time, or its metadata alone (`PartialObjectMeta<Pod>`).
pub trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
}

/// One change, as a subscriber sees it.
#[derive(Clone, Debug)]
pub enum Delta<K> {
    /// New, or already there when the subscription began.
    Added(Arc<K>),
    /// Changed; both are the same object (same uid).
    Updated {
        /// As it was known.
        old: Arc<K>,
        /// As it is.
        new: Arc<K>,
    },
    /// Gone (or no longer selected), in its last known state.
    Deleted(Arc<K>),
    /// Everything that existed at the first list has been announced; sent once.
    Synced,
}

impl<K> Delta<K> {
    /// The object in its latest state; none for `Synced`.
    pub fn object(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(object) | Self::Updated { new: object, .. } | Self::Deleted(object) => Some(object),
            Self::Synced => None,
        }
    }
}

/// Which objects of a kind: all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// A label selector.
    pub labels: Option<String>,
    /// A field selector (`spec.nodeName=n1`).
    pub fields: Option<String>,
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Of this namespace only.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Whose labels match.
    #[must_use]
    pub fn labels(mut self, selector: &str) -> Self {
        self.labels = Some(selector.to_owned());
        self
    }

    /// Whose fields match.
    #[must_use]
    pub fn fields(mut self, selector: &str) -> Self {
        self.fields = Some(selector.to_owned());
        self
    }
}

type Running = HashMap<(TypeId, Selection), Box<dyn Any + Send>>;

/// The informers of a process (or of a cluster in it); cloning shares them.
#[derive(Clone)]
pub struct Informers {
    client: kube::Client,
    context: Context,
    running: Arc<Mutex<Running>>,
    interner: Interner,
}

impl Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Informers")
    }
}

impl Informers {
    /// Informers over this client, which end with this context.
    pub fn new(client: kube::Client, context: &Context) -> Self {
        Self { client, context: context.clone(), running: Arc::default(), interner: Interner::default() }
    }

    /// The same, with the objects that other informers of the process were sent too in memory only once.
    #[must_use]
    pub fn sharing(mut self, interner: &Interner) -> Self {
        self.interner = interner.clone();
        self
    }

    /// Others that end with this context, over the same client and with the same objects in common.
    #[must_use]
    pub fn within(&self, context: &Context) -> Self {
        Self::new(self.client.clone(), context).sharing(&self.interner)
    }

    /// The informer of all objects of a kind; its watch starts with the first call.
    pub fn of<K: Watched>(&self) -> Informer<K> {
        self.select(Selection::all())
    }

    /// The informer of a selection; equal selections share one watch.
    pub fn select<K: Watched>(&self, selection: Selection) -> Informer<K> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let informer = running.entry((TypeId::of::<K>(), selection.clone())).or_insert_with(|| {
            let shared = Arc::new(Shared::new(self.interner.clone()));
            let informer = Informer::<K> { shared: shared.clone() };
            let path = K::url_path(&(), selection.namespace.as_deref());
            let target = reflector::Target { path, metadata: K::metadata_api(), selection };
            let reflector = reflector::Reflector::new(self.client.clone(), &self.context, target, shared);
            self.context.shutdown.spawn(reflector.run());
            Box::new(informer)
        });
        informer.downcast_ref::<Informer<K>>().expect("an informer is kept under its own type").clone()
    }
}

/// A kind's objects as the API server last told them; cloning shares them.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Watched> Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Informer<{}>", K::kind(&()))
    }
}

impl<K: Watched> Informer<K> {
    /// One object; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared.get(namespace, name)
    }

    /// The object of a key.
    pub fn get_key(&self, key: &Key) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// Whether there is an object of this name; `namespace` is empty for cluster-scoped kinds.
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        self.shared.contains(namespace, name)
    }

    /// Every object, by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.list(None)
    }

    /// Every object of a namespace, by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        self.shared.list(Some(namespace))
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        self.shared.count()
    }

    /// A number that grows with each change, so that who has worked something out knows whether it still holds.
    pub fn changes(&self) -> u64 {
        self.shared.changes()
    }

    /// Whether the first list has been read.
    pub fn has_synced(&self) -> bool {
        self.shared.has_synced()
    }

    /// Waits until the store has everything up to this resourceVersion, which a write to an object of this kind
    /// returned: who decides on the store next does not decide on what was before.
    pub async fn caught_up(&self, resource_version: &str) {
        self.shared.caught_up(resource_version).await;
    }

    /// Waits until the first list has been read.
    pub async fn synced(&self) {
        self.shared.synced().await;
    }

    /// The present state and then every change.
    ///
    /// Changes are queued without a bound: a subscriber only turns them into keys or cache entries, never into work.
    pub fn subscribe(&self) -> Subscription<K> {
        Subscription(self.shared.subscribe())
    }

    /// Feeds a queue with the keys that a change asks for, until the context ends.
    ///
    /// `keys` sees the new and (for updates) then the old object, so that what left one owner reaches it.
    pub fn feed<Q, I>(&self, context: &Context, queue: &Queue<Q>, keys: impl Fn(&K) -> I + Send + 'static)
    where
        Q: Clone + Eq + std::hash::Hash + Send + 'static,
        I: IntoIterator<Item = Q> + Send,
        I::IntoIter: Send,
    {
        let (mut changes, queue) = (self.subscribe(), queue.clone());
        context.shutdown.spawn(async move {
            while let Some(delta) = changes.recv().await {
                if let Some(object) = delta.object() {
                    keys(object).into_iter().for_each(|key| queue.add(key));
                }
                if let Delta::Updated { old, .. } = &delta {
                    keys(old).into_iter().for_each(|key| queue.add(key));
                }
            }
        });
    }
}

/// The changes of one informer, for one subscriber.
#[derive(Debug)]
pub struct Subscription<K>(mpsc::UnboundedReceiver<Delta<K>>);

impl<K> Subscription<K> {
    /// The next change; none once the informers' context has ended.
    pub async fn recv(&mut self) -> Option<Delta<K>> {
        self.0.recv().await
    }

    /// The next change if there is one now.
    pub fn try_recv(&mut self) -> Option<Delta<K>> {
        self.0.try_recv().ok()
    }
}

#[cfg(test)]
mod tests;
