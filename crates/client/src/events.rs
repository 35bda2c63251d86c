//! Events: what a component tells the users about an object.
//!
//! **Contract**: [`Recorder::event`] never waits and never fails; a task of its own sends. Equal events become one
//! with a count; many alike become one "combined from similar events"; an object that is talked about too much is
//! silenced. Lost events are dropped, never retried for ever.
//! **Not here**: the counting and silencing itself ([`correlator`], pure).
//! **Upstream**: `client-go/tools/record`.

mod correlator;

use component_base::{Context, logging};
use correlator::{Correlator, Verdict};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::api::{Api, Patch, PatchParams, PostParams};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Events that wait to be sent; more are dropped (upstream: `maxQueuedEvents`).
const QUEUED: usize = 1000;
/// How often an event is sent in vain (upstream: `maxTriesPerEvent`).
const TRIES: u32 = 12;
/// Between tries (upstream: `defaultSleepDuration`).
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// For information.
    Normal,
    /// Something may go wrong.
    Warning,
}

impl Type {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Records the events of one component; cloning shares its queue.
#[derive(Clone)]
pub struct Recorder {
    component: String,
    context: Context,
    // Boxed: what waits for its first event is small, with a thousand kubelets in a process.
    sender: mpsc::Sender<Box<Note>>,
}

/// What an event is made of when its turn comes; an event takes some five times as much, and tens of thousands may wait.
struct Note {
    about: ObjectReference,
    kind: Type,
    reason: String,
    message: String,
    at: Timestamp,
    /// Below a million.
    unique: u64,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({})", self.component)
    }
}

impl Recorder {
    /// A recorder for a component (`kubelet`), at a host if it has one; its task ends with the context.
    pub fn new(client: kube::Client, component: &str, host: Option<&str>, context: &Context) -> Self {
        Self::in_turn(client, component, host, context, None)
    }

    /// The same, one of many: no more events are sent at a time than there are `turns`, so that what they tell of is not
    /// held up by them. Upstream's recorders have a rate for the same purpose (`eventRecordQPS`).
    pub fn in_turn(
        client: kube::Client,
        component: &str,
        host: Option<&str>,
        context: &Context,
        turns: Option<Arc<Semaphore>>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUED);
        let source = EventSource { component: Some(component.to_owned()), host: host.map(str::to_owned) };
        let sending =
            Sending { client, context: context.clone(), correlator: Correlator::default(), source, turns };
        context.shutdown.spawn(sending.run(receiver));
        Self { component: component.to_owned(), context: context.clone(), sender }
    }

    /// Records that something happened to an object.
    pub fn event(&self, about: &ObjectReference, kind: Type, reason: &str, message: impl Into<String>) {
        let note = Note {
            about: about.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            at: self.context.clock.now(),
            unique: self.context.rng.below(1_000_000),
        };
        if self.sender.try_send(Box::new(note)).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting or the component is ending");
        }
    }

    /// Records something about an object whose kind is known.
    pub fn on<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event(&reference(object), kind, reason, message);
    }
}

impl Note {
    fn event(self, source: &EventSource) -> Event {
        let name = self.about.name.as_deref().unwrap_or_default();
        // Upstream's suffix is the time alone; components that share a coarse clock must not collide.
        let unique = self.at.as_nanosecond() + i128::from(self.unique);
        let namespace = self.about.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{unique:x}")),
                namespace: Some(namespace.unwrap_or("default").to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: self.about,
            reason: Some(self.reason),
            message: Some(self.message),
            first_timestamp: Some(seconds(self.at)),
            last_timestamp: Some(seconds(self.at)),
            count: Some(1),
            type_: Some(self.kind.as_str().to_owned()),
            reporting_component: Some(source.component.clone().unwrap_or_default()),
            reporting_instance: Some(source.host.clone().unwrap_or_default()),
            source: Some(source.clone()),
            ..Event::default()
        }
    }
}

/// What an event says about an object: enough to find it again.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// `metav1.Time` has seconds only.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The task that sends.
struct Sending {
    client: kube::Client,
    context: Context,
    correlator: Correlator,
    source: EventSource,
    /// None: its events are sent at once.
    turns: Option<Arc<Semaphore>>,
}

impl Sending {
    async fn run(mut self, mut notes: mpsc::Receiver<Box<Note>>) {
        while let Some(note) = notes.recv().await {
            let turns = self.turns.clone();
            let _turn = match &turns {
                // Nobody closes it.
                Some(turns) => turns.acquire().await.ok(),
                None => None,
            };
            match self.correlator.judge(note.event(&self.source), self.context.clock.now()) {
                Verdict::Silence => {}
                Verdict::Create(event) => Box::pin(self.send(event, None)).await,
                Verdict::Count { event, name } => Box::pin(self.send(event, Some(name))).await,
            }
        }
    }

    /// Sends one event, with upstream's retries; `known` names the event that it adds to.
    async fn send(&mut self, event: Event, mut known: Option<String>) {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let mut tries = 0;
        while tries < TRIES {
            let result = match &known {
                None => api.create(&PostParams::default(), &event).await,
                Some(name) => {
                    let change = serde_json::json!({
                        "count": event.count,
                        "message": event.message,
                        "lastTimestamp": event.last_timestamp,
                    });
                    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await
                }
            };
            match result {
                Ok(stored) => return self.correlator.stored(&stored),
                // It expired meanwhile: start over.
                Err(kube::Error::Api(status)) if status.code == 404 && known.is_some() => known = None,
                // The server has spoken: an event is not worth an argument.
                Err(error @ kube::Error::Api(_)) => {
                    tracing::debug!(error = %logging::Chain(&error), "server rejected event (will not retry!)");
                    return;
                }
                Err(error) => {
                    tries += 1;
                    tracing::debug!(error = %logging::Chain(&error), "unable to write event (may retry after sleeping)");
                    self.context.clock.sleep(RETRY_DELAY).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
