//! Which events are new, which only count, which are alike, which are too many.
//!
//! **Contract**: pure but for its own memory, which is bounded; time is handed in.
//! **Upstream**: `client-go/tools/record/events_cache.go` and its defaults.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Entries in each of the memories (upstream: `maxLruCacheEntries`).
const REMEMBERED: usize = 4096;
/// Different messages of one reason before they are combined (`defaultAggregateMaxEvents`).
const ALIKE: usize = 10;
/// Seconds within which messages count as alike (`defaultAggregateIntervalInSeconds`).
const ALIKE_SECONDS: i64 = 600;
/// Events about one object that pass at once (`defaultSpamBurst`).
const BURST: f64 = 25.0;
/// Events about one object a second after that: one every five minutes (`defaultSpamQPS`).
const PER_SECOND: f64 = 1.0 / 300.0;

/// What is to be done with an event.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing: the object has been talked about too much.
    Silence,
    /// It is new.
    Create(Event),
    /// It was stored under this name: raise its count.
    Count {
        /// As it should look now.
        event: Event,
        /// The stored event.
        name: String,
    },
}

/// What stands for a text that is only compared: there is a correlator a node, and texts of thousands of events are long. Two of
/// the few thousand that are remembered are taken for each other once in 10^12 times; then an event counts as another.
type Digest = u64;

fn digest(of: impl Hash) -> Digest {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug, Default)]
pub(super) struct Correlator {
    buckets: HashMap<Digest, Bucket>,
    alike: HashMap<Digest, Alike>,
    known: HashMap<Digest, Known>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

#[derive(Debug)]
struct Alike {
    /// Different ones; at most [`ALIKE`].
    messages: Vec<Digest>,
    last: Timestamp,
}

#[derive(Debug)]
struct Known {
    name: String,
    count: i32,
    first: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
    last: Timestamp,
}

impl Correlator {
    /// Decides on one event.
    pub(super) fn judge(&mut self, mut event: Event, now: Timestamp) -> Verdict {
        self.combine(&mut event, now);
        let silent = self.is_spam(&event, now);
        bound(&mut self.known, |known| known.last);
        let known = self.known.get_mut(&identity(&event));
        if silent {
            // Upstream counts on, so that the next one that passes tells how many there were.
            if let Some(known) = known {
                known.count = known.count.saturating_add(1);
                known.last = now;
            }
            return Verdict::Silence;
        }
        let Some(known) = known else { return Verdict::Create(event) };
        known.count = known.count.saturating_add(1);
        known.last = now;
        event.count = Some(known.count);
        event.first_timestamp.clone_from(&known.first);
        Verdict::Count { event, name: known.name.clone() }
    }

    /// Remembers what the server stored.
    pub(super) fn stored(&mut self, event: &Event) {
        let last = event.last_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let known = Known {
            name: event.metadata.name.clone().unwrap_or_default(),
            count: event.count.unwrap_or(1),
            first: event.first_timestamp.clone(),
            last,
        };
        self.known.insert(identity(event), known);
    }

    /// Gives the tenth different message of one reason, and those after it, a common text.
    fn combine(&mut self, event: &mut Event, now: Timestamp) {
        bound(&mut self.alike, |alike| alike.last);
        let message = event.message.as_deref().unwrap_or_default();
        let alike = self
            .alike
            .entry(similarity(event))
            .or_insert_with(|| Alike { messages: Vec::with_capacity(1), last: now });
        if now.as_second() - alike.last.as_second() > ALIKE_SECONDS {
            alike.messages.clear();
        }
        alike.last = now;
        let digest = digest(message);
        // Which ones are remembered does not matter once there are so many.
        if alike.messages.len() < ALIKE && !alike.messages.contains(&digest) {
            alike.messages.push(digest);
        }
        if alike.messages.len() < ALIKE {
            return;
        }
        event.message = Some(format!("(combined from similar events): {message}"));
    }

    fn is_spam(&mut self, event: &Event, now: Timestamp) -> bool {
        bound(&mut self.buckets, |bucket| bucket.at);
        let bucket = self.buckets.entry(subject(event)).or_insert(Bucket { tokens: BURST, at: now });
        let elapsed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = elapsed.mul_add(PER_SECOND, bucket.tokens).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return true;
        }
        bucket.tokens -= 1.0;
        false
    }
}

/// Makes room by forgetting the older half.
fn bound<V>(memory: &mut HashMap<Digest, V>, age: impl Fn(&V) -> Timestamp) {
    if memory.len() < REMEMBERED {
        return;
    }
    let mut ages: Vec<_> = memory.values().map(&age).collect();
    ages.sort_unstable();
    let median = ages[ages.len() / 2];
    let mut excess = REMEMBERED / 2;
    memory.retain(|_, value| {
        let old = excess > 0 && age(value) <= median;
        excess -= usize::from(old);
        !old
    });
}

/// Source and object: whose bucket it is (`getSpamKey`).
fn subject(event: &Event) -> Digest {
    let (source, object) = (event.source.as_ref(), &event.involved_object);
    // What is absent and what is empty is the same: the server fills some in.
    let parts = [
        source.and_then(|source| source.component.as_deref()),
        source.and_then(|source| source.host.as_deref()),
        object.kind.as_deref(),
        object.namespace.as_deref(),
        object.name.as_deref(),
        object.uid.as_deref(),
        object.api_version.as_deref(),
    ]
    .map(Option::unwrap_or_default);
    digest(parts)
}

/// And type, reason and reporter: what is alike (`EventAggregatorByReasonFunc`).
fn similarity(event: &Event) -> Digest {
    let parts = [
        event.type_.as_deref(),
        event.reason.as_deref(),
        event.reporting_component.as_deref(),
        event.reporting_instance.as_deref(),
    ]
    .map(Option::unwrap_or_default);
    digest((subject(event), parts))
}

/// And field and message: what is the same event (`getEventKey`).
fn identity(event: &Event) -> Digest {
    let field = event.involved_object.field_path.as_deref().unwrap_or_default();
    // All combined events of one kind are one event, whose message changes.
    let message = event.message.as_deref().unwrap_or_default();
    let message =
        if message.starts_with("(combined from similar events): ") { "(combined)" } else { message };
    digest((similarity(event), field, message))
}
