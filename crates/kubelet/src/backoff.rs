//! Exponential back-off by key, as containers and image pulls are held back.
//!
//! **Contract**: pure; the caller brings the time. The first failure costs nothing, the second waits the initial
//! delay, each further one twice the last, up to the maximum; a key that was quiet for twice the maximum starts anew.
//! **Upstream**: `k8s.io/client-go/util/flowcontrol.Backoff`.

pub(crate) use api::duration::golang as go_duration;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// Delays that grow per key.
#[derive(Debug)]
pub(crate) struct Backoff {
    initial: SignedDuration,
    max: SignedDuration,
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

impl Backoff {
    /// `MaxContainerBackOff` and the image back-off: 10 s doubling to 300 s.
    pub(crate) fn kubelet() -> Self {
        Self {
            initial: SignedDuration::from_secs(10),
            max: SignedDuration::from_secs(300),
            entries: HashMap::new(),
        }
    }

    /// The delay in force for a key whose last failure was at `failed`, and when it ends; `None` if it may go on.
    pub(crate) fn waiting(
        &self,
        key: &str,
        failed: Timestamp,
        now: Timestamp,
    ) -> Option<(SignedDuration, Timestamp)> {
        let entry = self.entries.get(key)?;
        if self.expired(entry, failed) {
            return None;
        }
        let until = failed + entry.delay;
        (now < until).then_some((entry.delay, until))
    }

    /// When the delay of a key ends, counted from its last attempt; `None` if it may go on.
    pub(crate) fn held_until(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        let until = entry.updated + entry.delay;
        (now < until).then_some(until)
    }

    /// Counts an attempt made now, after a failure at `failed`.
    pub(crate) fn next(&mut self, key: &str, failed: Timestamp, now: Timestamp) {
        let delay = match self.entries.get(key) {
            Some(entry) if !self.expired(entry, failed) => (entry.delay * 2).min(self.max),
            _ => self.initial,
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Forgets a key.
    pub(crate) fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// Forgets all keys that start so.
    pub(crate) fn forget(&mut self, prefix: &str) {
        self.entries.retain(|key, _| !key.starts_with(prefix));
    }

    fn expired(&self, entry: &Entry, at: Timestamp) -> bool {
        at.duration_since(entry.updated) > self.max * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn first_retry_is_free_then_the_delay_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::kubelet();
        let mut now = 0;
        assert_eq!(backoff.waiting("c", at(now), at(now)), None);
        let mut delays = Vec::new();
        for _ in 0..7 {
            backoff.next("c", at(now), at(now));
            let (delay, until) = backoff.waiting("c", at(now), at(now)).expect("is held back");
            delays.push(delay.as_secs());
            now = until.as_second();
            assert_eq!(backoff.waiting("c", at(now - delay.as_secs()), at(now)), None);
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_start_anew() {
        let mut backoff = Backoff::kubelet();
        backoff.next("c", at(0), at(0));
        backoff.next("c", at(20), at(20));
        assert_eq!(backoff.waiting("c", at(621), at(621)), None);
        backoff.next("c", at(621), at(621));
        assert_eq!(backoff.waiting("c", at(621), at(621)).map(|(d, _)| d.as_secs()), Some(10));
    }
}
