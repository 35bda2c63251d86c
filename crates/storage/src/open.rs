//! Opening a store: where it is, what it is handed, and how much it may keep.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{Embedded, Memory, Result, Storage};

/// The wall clock: milliseconds since 1970 UTC.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How much history `memory` and `embedded` keep, for watches that resume and for reads at old revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimit {
    /// The number of changes.
    pub events: usize,
    /// The bytes of their keys and values.
    pub bytes: usize,
}

impl Default for HistoryLimit {
    fn default() -> Self {
        Self { events: 10_000, bytes: 32 << 20 }
    }
}

/// What a store is handed.
#[derive(Clone)]
pub struct OpenOptions {
    /// Tells when keys expire (`embedded`, `memory`; etcd has its own).
    pub now: Clock,
    /// How much history to keep (`embedded`, `memory`).
    pub history: HistoryLimit,
    /// Bytes of the file kept in memory (`embedded`).
    pub cache_bytes: usize,
}

impl OpenOptions {
    /// The defaults, with this clock.
    pub fn new(now: Clock) -> Self {
        Self { now, history: HistoryLimit::default(), cache_bytes: 4 << 20 }
    }
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { now: _, history, cache_bytes } = self;
        f.debug_struct("OpenOptions")
            .field("history", history)
            .field("cache_bytes", cache_bytes)
            .finish_non_exhaustive()
    }
}

/// How to reach an etcd cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdConfig {
    /// Client URLs (`http://…` or `https://…`).
    pub endpoints: Vec<String>,
    /// Put before every key, so that several clusters can share one etcd. Empty is allowed.
    pub prefix: String,
    /// Certificates, for `https`.
    pub tls: Option<EtcdTls>,
    /// Name and password.
    pub user: Option<(String, String)>,
}

/// Certificates for etcd, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdTls {
    /// Who may sign the servers' certificates.
    pub ca: Vec<u8>,
    /// Our own certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the memory of this process.
    Memory,
    /// In one file, made if it does not exist (its folder must).
    Embedded(PathBuf),
    /// In an etcd cluster.
    Etcd(EtcdConfig),
}

impl Location {
    /// `memory`, `embedded`, `etcd`.
    pub fn backend(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Embedded(_) => "embedded",
            Self::Etcd(_) => "etcd",
        }
    }
}

/// Opens a store. Must be called in a tokio runtime, which carries the timer of expiry.
pub async fn open(location: Location, options: OpenOptions) -> Result<Arc<dyn Storage>> {
    let backend = location.backend();
    let storage: Arc<dyn Storage> = match location {
        Location::Memory => Arc::new(Memory::new(options)),
        Location::Embedded(path) => Arc::new(Embedded::open(&path, options).await?),
        #[cfg(feature = "etcd")]
        Location::Etcd(config) => Arc::new(crate::Etcd::open(config).await?),
        #[cfg(not(feature = "etcd"))]
        Location::Etcd(_) => return Err(crate::Error::Unsupported("etcd")),
    };
    tracing::info!(backend, "open");
    Ok(storage)
}
