//! Revisioned keys and bytes: what the API server keeps its state in.
//!
//! One trait, [`Storage`], with its promises written down beside it, and three backends that pass one suite
//! (`testing`): `memory` (the reference model), `embedded` (one crash-safe file), `etcd` (feature `etcd`).
//!
//! **Not here:** kinds, JSON, selectors, watch caches. This crate knows keys and bytes only, and imports nothing of
//! the workspace: the clock that expiry needs is handed in through [`OpenOptions`].
//!
//! **Upstream:** the model is etcd v3's: one global revision, transactions that compare, watches from a revision.

mod error;
mod event;
mod expiry;
mod feed;
mod key;
mod open;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;

pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod memory;

pub use embedded::Embedded;
pub use error::{Error, Result};
#[cfg(feature = "etcd")]
pub use etcd::Etcd;
pub use event::{Batch, Event, KeyValue};
pub use key::Key;
pub use memory::Memory;
pub use open::{Clock, EtcdConfig, EtcdTls, HistoryLimit, Location, OpenOptions, open};
pub use storage::{
    Committed, Condition, Expect, ListOptions, Lookup, Op, Page, Revision, Storage, Txn, WatchStream,
};
