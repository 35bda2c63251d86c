//! THE LIST: every built-in kind, one file each.
//!
//! Adding a kind is a file with its strategy and a row here; discovery, handlers, watch cache, tables, OpenAPI and
//! the shared suite of `registry::testing` follow from it.

use crate::registry::Strategy;
use std::sync::Arc;

/// The strategies of all built-in kinds.
pub fn all() -> Vec<Arc<dyn Strategy>> {
    vec![]
}
