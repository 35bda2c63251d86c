//! JSON patch (RFC 6902).
//!
//! **Upstream**: `evanphx/json-patch`, and the limit of `handlers/patch.go`.

use api::golang;
use api::status::{Details, Status};
use serde_json::Value;

/// Its media type.
pub const CONTENT_TYPE: &str = "application/json-patch+json";
/// Operations in one patch. **Upstream**: `maxJSONPatchOperations`.
const MAX_OPERATIONS: usize = 10_000;

/// The operations of a patch, in order.
pub type Operations = Vec<json_patch::PatchOperation>;

/// Parses a patch. An operation that is none is found when it would be applied, and then its patch is refused like one that
/// cannot be applied.
pub fn parse(body: &[u8]) -> Result<Operations, Status> {
    let refused = |why: &dyn std::fmt::Display| Status::bad_request(format!("error decoding patch: {why}"));
    let patch = serde_json::from_slice(body).map_err(|error| refused(&golang::unread(body, &error)))?;
    let Value::Array(operations) = patch else {
        return Err(refused(&golang::mistyped(&patch, "[]handlers.jsonPatchOp")));
    };
    for operation in &operations {
        let Value::Object(fields) = operation else {
            return Err(refused(&golang::mistyped(operation, "handlers.jsonPatchOp")));
        };
        for field in ["op", "path", "from"] {
            match fields.get(field) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(other) => {
                    return Err(refused(&golang::mistyped_field(other, "jsonPatchOp", field, "string")));
                }
            }
        }
    }
    if operations.len() > MAX_OPERATIONS {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        );
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    let operations =
        operations.into_iter().map(|operation| serde_json::from_value(operation).map_err(|_| rejected()));
    operations.collect()
}

/// Changes an object; nothing is changed if one operation fails.
pub fn apply(operations: &Operations, object: &mut Value) -> Result<(), Status> {
    let mut changed = object.clone();
    for operation in operations {
        // Upstream lets the removal of what is not there pass for nothing but an error, as the RFC wants it.
        json_patch::patch(&mut changed, std::slice::from_ref(operation)).map_err(|_| rejected())?;
    }
    *object = changed;
    Ok(())
}

/// The same for patches of whom the reason helps.
pub fn apply_telling(operations: &Operations, object: &mut Value) -> Result<(), String> {
    let mut changed = object.clone();
    json_patch::patch(&mut changed, operations).map_err(|error| error.to_string())?;
    *object = changed;
    Ok(())
}

/// Why a patch was not applied.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// A test of its own did not hold.
    Test,
    /// Something else, in words.
    Other(String),
}

/// The same for patches whose tests are questions.
pub fn apply_tested(operations: &Operations, object: &mut Value) -> Result<(), Failure> {
    let mut changed = object.clone();
    json_patch::patch(&mut changed, operations).map_err(|error| match error.kind {
        json_patch::PatchErrorKind::TestFailed => Failure::Test,
        _ => Failure::Other(error.to_string()),
    })?;
    *object = changed;
    Ok(())
}

/// What upstream says of a patch that cannot be applied; it keeps the reason to itself.
fn rejected() -> Status {
    let mut status =
        Status::new(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = Some(Box::<Details>::default());
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_all_or_nothing() {
        let before = json!({"a": {"b": [1, 2]}});
        let table = [
            (json!([{"op": "add", "path": "/a/b/-", "value": 3}]), Ok(json!({"a": {"b": [1, 2, 3]}}))),
            (json!([{"op": "replace", "path": "/a/b", "value": null}]), Ok(json!({"a": {"b": null}}))),
            (
                json!([{"op": "remove", "path": "/a/b/0"}, {"op": "test", "path": "/a/b/0", "value": 9}]),
                Err(422),
            ),
            (json!([{"op": "remove", "path": "/x"}]), Err(422)),
        ];
        for (patch, expected) in table {
            let operations = parse(patch.to_string().as_bytes()).unwrap();
            let mut object = before.clone();
            let result = apply(&operations, &mut object).map_err(|s| s.code);
            match expected {
                Ok(after) => assert_eq!((result, object), (Ok(()), after), "{patch}"),
                Err(code) => assert_eq!((result, &object), (Err(code), &before), "{patch}"),
            }
        }
    }

    #[test]
    fn refuses_what_is_no_patch_or_too_long() {
        for (body, code, message) in [
            ("xx", 400, "invalid character 'x' looking for beginning of value"),
            ("{}", 400, "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
            ("[1]", 400, "json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
            (
                r#"[{"op":1}]"#,
                400,
                "json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
            ),
            (r#"[{"op":"nonsense","path":"/a"}]"#, 422, ""),
            (r#"[{"op":"remove"}]"#, 422, ""),
        ] {
            let status = parse(body.as_bytes()).unwrap_err();
            assert_eq!(status.code, code, "{body}");
            match code {
                400 => assert_eq!(status.message, format!("error decoding patch: {message}")),
                _ => assert_eq!(status.message, rejected().message),
            }
        }
        let many = vec![json!({"op": "remove", "path": "/a"}); MAX_OPERATIONS + 1];
        let status = parse(Value::from(many).to_string().as_bytes()).unwrap_err();
        assert_eq!(status.code, 413);
        assert!(status.message.ends_with("is 10000, got 10001"), "{}", status.message);
    }
}
