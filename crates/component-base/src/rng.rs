//! Randomness, as a value that is handed on.
//!
//! **Contract**: a seeded generator gives the same sequence in every run. Keys and tokens are not made here but by
//! the TLS library; this is for names, identities and jitter.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The letters of generated names: no vowels, no look-alikes. **Upstream**: `apimachinery/pkg/util/rand`.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A shared random generator; cloning shares its state.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<StdRng>>);

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

impl Rng {
    /// Seeded by the operating system.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for global randomness")]
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_rng(&mut rand::rng()))))
    }

    /// The same sequence for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    fn with<T>(&self, f: impl FnOnce(&mut StdRng) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A random (version 4) UUID in its usual lower-case form.
    pub fn uuid(&self) -> String {
        let bytes: [u8; 16] = self.with(|rng| rng.random());
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .hyphenated()
            .encode_lower(&mut Uuid::encode_buffer())
            .to_owned()
    }

    /// A name's random suffix of this many characters.
    pub fn suffix(&self, length: usize) -> String {
        self.with(|rng| (0..length).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char).collect())
    }

    /// A span between `base` and `base * (1 + factor)`.
    pub fn jitter(&self, base: Duration, factor: f64) -> Duration {
        base.mul_f64(1.0 + self.with(|rng| rng.random::<f64>()) * factor)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.with(|rng| rng.random_range(0..bound)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence() {
        let draw = |seed| {
            let rng = Rng::seeded(seed);
            (rng.uuid(), rng.suffix(5))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn jitter_stays_within_its_factor() {
        let rng = Rng::seeded(1);
        for _ in 0..100 {
            let span = rng.jitter(Duration::from_secs(10), 0.5);
            assert!((10.0..=15.0).contains(&span.as_secs_f64()));
        }
    }
}
