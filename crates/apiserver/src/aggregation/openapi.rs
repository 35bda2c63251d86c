//! The OpenAPI documents of other servers: listed in our index, and fetched from them.
//!
//! **Upstream**: `kube-aggregator/pkg/controllers/openapiv3`.

use super::Aggregator;
use serde_json::{Value, json};

/// Adds the documents of other servers to the index of `/openapi/v3`.
pub(crate) fn add_paths(aggregator: &Aggregator, index: &mut Value) {
    for (name, remote) in aggregator.all() {
        let Some(remote) = (*remote).as_ref() else { continue };
        let Some(url) = aggregator.learnt(&name).and_then(|learnt| learnt.openapi) else { continue };
        index["paths"][remote.path().trim_start_matches('/')] = json!({"serverRelativeURL": url});
    }
}

/// Group and version of a document below `/openapi/v3`.
pub(crate) fn document_group_version(path: &str) -> Option<(&str, &str)> {
    let name = path.strip_prefix("/openapi/v3/")?;
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["apis", group, version] => Some((group, version)),
        ["api", version] => Some(("", version)),
        _ => None,
    }
}
