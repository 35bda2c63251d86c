//! JSON patches (RFC 6902), with the errors of the library that kustomize uses.
//!
//! **Upstream.** `evanphx/json-patch` (its words).

use ::json_patch::{PatchErrorKind, PatchOperation};
use serde_json::Value;

use crate::Error;

/// Reads a patch.
pub(crate) fn read(document: Value) -> Result<Vec<PatchOperation>, String> {
    serde_json::from_value(document).map_err(|error| error.to_string())
}

/// Changes an object.
pub(crate) fn apply(operations: &[PatchOperation], object: &mut Value) -> Result<(), Error> {
    for operation in operations {
        ::json_patch::patch(object, std::slice::from_ref(operation))
            .map_err(|error| Error::Invalid(refusal(operation, &error.kind)))?;
    }
    Ok(())
}

fn refusal(operation: &PatchOperation, kind: &PatchErrorKind) -> String {
    let path = operation.path().to_string();
    let last = path.rsplit('/').next().unwrap_or("").replace("~1", "/").replace("~0", "~");
    match (operation, kind) {
        (PatchOperation::Test(_), _) => format!("testing value {path} failed: test failed"),
        (PatchOperation::Remove(_), _) => {
            format!(
                "error in remove for path: '{path}': unable to remove nonexistent key: {last}: missing value"
            )
        }
        (PatchOperation::Replace(_), _) => {
            format!("replace operation does not apply: doc is missing path: {path}: missing value")
        }
        (PatchOperation::Add(_), _) => {
            format!("add operation does not apply: doc is missing path: {path:?}: missing value")
        }
        (PatchOperation::Move(_), _) => format!("error in move for path: '{path}': missing value"),
        (PatchOperation::Copy(_), _) => format!("error in copy for path: '{path}': missing value"),
    }
}
