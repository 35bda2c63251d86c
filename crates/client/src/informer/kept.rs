//! An object as informers keep it: its JSON, and decoded for as long as it is in use.
//!
//! Decoded, a pod takes some 12 KiB, most of it fields that it does not have; as JSON a fifth of that. Most objects are not
//! looked at for hours. **Contract**: what is read is what was sent, decoded anew or not; readers keep what they hold.

use super::sent::{self, Sent};
use super::{Original, Watched};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes of JSON of the objects that stay decoded while there is much to do: those that were used last, more than ten thousand
/// pods. Fewer than a controller goes through at a time, and it would decode all of them each time.
const WARM_BYTES: usize = 32 << 20;
/// How much of that is left when it was spent, so that room is not made for each object.
const ROOM_BYTES: usize = WARM_BYTES / 8 * 7;
/// The same when things have calmed down.
const COOL_BYTES: usize = 512 << 10;

/// The JSON of an object.
enum Json {
    /// Of its own.
    Own(Box<str>),
    /// Of something else that keeps it.
    Shared(Arc<dyn Original>),
}

/// An object of an informer.
pub(super) struct Kept<K> {
    json: Json,
    /// The length of its JSON.
    size: usize,
    decoded: Mutex<Option<Arc<K>>>,
}

impl<K: Watched> Kept<K> {
    fn new(object: K, size: usize, original: Option<Arc<dyn Original>>) -> Self {
        let json = original.map(Json::Shared).unwrap_or_else(|| {
            let json = serde_json::to_string(&object).expect("what was decoded from JSON has a JSON form");
            Json::Own(json.into())
        });
        Self { json, size, decoded: Mutex::new(Some(Arc::new(object))) }
    }

    /// The object, which stays decoded only if it is so already.
    pub(super) fn peek(&self) -> Arc<K> {
        let decoded = self.decoded().clone();
        decoded.unwrap_or_else(|| {
            let object = match &self.json {
                Json::Own(json) => sent::decode(json),
                Json::Shared(original) => {
                    let json = original.json();
                    Sent::of(std::str::from_utf8(&json).expect("it was sent as text"))
                        .and_then(|sent| sent.decode())
                }
            };
            Arc::new(object.expect("what was encoded can be decoded"))
        })
    }
}

impl<K> Kept<K> {
    fn decoded(&self) -> MutexGuard<'_, Option<Arc<K>>> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be told to be JSON only.
trait Cool: Send + Sync {
    fn cool(&self);
}

impl<K: Send + Sync> Cool for Kept<K> {
    fn cool(&self) {
        // What may be large is dropped when the lock is free again.
        let decoded = self.decoded().take();
        drop(decoded);
    }
}

/// The objects that stay decoded, the oldest first.
#[derive(Default)]
pub(super) struct Warm(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    objects: VecDeque<(Weak<dyn Cool>, usize)>,
    bytes: usize,
}

impl Queue {
    /// One more; which no longer stay decoded for that.
    fn push(&mut self, object: Weak<dyn Cool>, size: usize) -> Vec<Arc<dyn Cool>> {
        self.objects.push_back((object, size));
        self.bytes += size;
        if self.bytes <= WARM_BYTES {
            return Vec::new();
        }
        // Most have been superseded: a pod changes several times until it runs.
        self.objects.retain(|(object, size)| {
            let exists = object.strong_count() > 0;
            self.bytes -= if exists { 0 } else { *size };
            exists
        });
        self.shrink(ROOM_BYTES)
    }

    /// Takes out the oldest until no more than so much is left.
    fn shrink(&mut self, bytes: usize) -> Vec<Arc<dyn Cool>> {
        let mut out = Vec::new();
        while self.bytes > bytes
            && let Some((object, size)) = self.objects.pop_front()
        {
            self.bytes -= size;
            out.extend(object.upgrade());
        }
        out
    }
}

impl Warm {
    /// An object that was just sent with JSON of so many bytes, and what else keeps it.
    pub(super) fn keep<K: Watched>(
        &self,
        object: K,
        size: usize,
        original: Option<Arc<dyn Original>>,
    ) -> Arc<Kept<K>> {
        let kept = Arc::new(Kept::new(object, size, original));
        self.push(&kept);
        kept
    }

    /// The object, which stays decoded for a while.
    pub(super) fn get<K: Watched>(&self, kept: &Arc<Kept<K>>) -> Arc<K> {
        if let Some(decoded) = &*kept.decoded() {
            return decoded.clone();
        }
        let object = kept.peek();
        *kept.decoded() = Some(object.clone());
        self.push(kept);
        object
    }

    fn push<K: Watched>(&self, kept: &Arc<Kept<K>>) {
        let weak: Weak<dyn Cool> = Arc::downgrade(kept) as Weak<dyn Cool>;
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cooled = queue.push(weak, kept.size);
        drop(queue);
        cooled.iter().for_each(|object| object.cool());
    }

    /// Lets go of most of what is decoded.
    pub(super) fn cool(&self) {
        self.shrink(COOL_BYTES);
    }

    /// Lets go of what is more than so much.
    pub(super) fn shrink(&self, bytes: usize) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cooled = queue.shrink(bytes);
        queue.objects.shrink_to_fit();
        drop(queue);
        cooled.iter().for_each(|object| object.cool());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    fn map(size: usize) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"key": "x".repeat(size)}})).unwrap()
    }

    #[test]
    fn what_was_used_last_stays_decoded() {
        let warm = Warm::default();
        let first = warm.keep(map(10), 10, None);
        assert!(first.decoded().is_some());
        let second = warm.keep(map(COOL_BYTES), COOL_BYTES + 1, None);
        assert!(first.decoded().is_some() && second.decoded().is_some());
        warm.cool();
        assert!(first.decoded().is_none() && second.decoded().is_none(), "things have calmed down");
        warm.get(&first);
        let _third = warm.keep(map(WARM_BYTES), WARM_BYTES, None);
        assert!(first.decoded().is_none(), "the budget is spent");
        let second = warm.keep(map(10), 10, None);
        for _ in 0..20 {
            warm.keep(map(10), WARM_BYTES / 2, None);
        }
        assert!(second.decoded().is_some(), "what was superseded does not count");
        assert_eq!(*first.peek(), map(10));
        assert!(first.decoded().is_none(), "to peek is not to use");
        let object = warm.get(&first);
        assert_eq!(*object, map(10));
        assert!(Arc::ptr_eq(&object, &warm.get(&first)) && Arc::ptr_eq(&object, &first.peek()));
    }
}
