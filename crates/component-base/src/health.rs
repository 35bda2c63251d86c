//! Health checks by name, as `/healthz`, `/livez` and `/readyz` report them.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/server/healthz`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks of one process or one cluster; cloning shares them.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<(String, Check)>>>);

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health")
    }
}

impl Health {
    /// Adds a check; it must answer at once, from what is known.
    pub fn register(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.push((name.to_owned(), Arc::new(check)));
    }

    /// Every check's name and result, in the order of registration.
    pub fn results(&self) -> Vec<(String, Result<(), String>)> {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        checks.into_iter().map(|(name, check)| (name, check())).collect()
    }
}
