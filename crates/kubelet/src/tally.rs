//! How many pods a node has sent away, by what asked for it; for its metrics.
//!
//! **Not here**: who goes (`eviction`, `preemption`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers of pods by a signal; cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

impl Tally {
    pub(crate) fn count(&self, signal: &str, pods: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(signal.to_owned()).or_default() += pods as u64;
    }

    pub(crate) fn read(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
