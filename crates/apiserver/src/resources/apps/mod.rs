//! `apps`: workloads that are meant to last.
//!
//! **Not here**: what acts on them; these are stored and validated only.

pub(crate) mod controller_revision;
pub(crate) mod daemon_set;
pub(crate) mod deployment;
pub(crate) mod replica_set;
pub(crate) mod stateful_set;

const GROUP: &str = "apps";
