//! What tests of every crate share: objects in a line, waiting for a condition, text without what changes, and bytes that
//! are almost right.
//!
//! **Not here**: suites of one trait (beside the trait, `storage::testing`, `runtime::testing`), whole clusters
//! (`tests`).
//! **Upstream**: `pkg/scheduler/testing/wrappers.go`, `test/utils`.

pub mod build;
pub mod filters;
pub mod mutation;
mod wait;

pub use wait::{eventually, eventually_some};
