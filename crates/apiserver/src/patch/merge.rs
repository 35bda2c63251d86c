//! JSON merge patch (RFC 7386): null removes, objects merge, everything else replaces.

use api::golang;
use api::status::Status;
use serde_json::Value;

/// Its media type.
pub const CONTENT_TYPE: &str = "application/merge-patch+json";

/// Parses a patch.
pub fn parse(body: &[u8]) -> Result<Value, Status> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|e| Status::bad_request(format!("error decoding patch: {}", golang::unread(body, &e))))?;
    if patch.is_object() {
        Ok(patch)
    } else {
        let why = golang::mistyped(&patch, "map[string]interface {}");
        Err(Status::bad_request(format!("error decoding patch: {why}")))
    }
}

/// Changes an object.
pub fn apply(patch: &Value, object: &mut Value) {
    json_patch::merge(object, patch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merges_objects_and_replaces_the_rest() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        apply(&json!({"a": {"b": null, "d": {"e": null, "f": 3}}, "l": [3]}), &mut object);
        assert_eq!(object, json!({"a": {"c": 2, "d": {"f": 3}}, "l": [3]}));
        assert_eq!(parse(b"[1]").unwrap_err().code, 400);
    }
}
