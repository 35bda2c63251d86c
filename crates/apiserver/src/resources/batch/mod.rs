//! `batch`: work that ends.
//!
//! **Not here**: what acts on it; these are stored and validated only.

pub(crate) mod cron_job;
pub(crate) mod job;
mod job_policy;
mod job_spec;

const GROUP: &str = "batch";
