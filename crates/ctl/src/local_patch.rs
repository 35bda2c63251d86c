//! Patches that are applied here and not by a server: `--local`, a client's dry run, `--overrides`.
//!
//! **Contract.** A strategic merge patch needs a built-in kind, by whose schema lists merge; others are told to do without.
//! **Upstream.** `kubectl/pkg/cmd/patch` (`getPatchedJSON`), `kubectl/pkg/cmd/util/override_options.go`.

use api::schema::Schema;
use serde_json::Value;

use crate::connection::{MERGE_PATCH, STRATEGIC_PATCH};
use crate::discovery::Resource;
use crate::report::{Error, message};

/// What a patch is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// A merge that knows lists.
    Strategic,
}

impl Kind {
    /// The kind that flags call so.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "merge" => Some(Self::Merge),
            "strategic" => Some(Self::Strategic),
            _ => None,
        }
    }

    /// Its content type.
    pub(crate) fn media(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => MERGE_PATCH,
            Self::Strategic => STRATEGIC_PATCH,
        }
    }
}

/// The object after the patch.
pub(crate) fn apply(kind: Kind, object: &Value, patch: &Value) -> Result<Value, Error> {
    let mut object = object.clone();
    match kind {
        Kind::Merge => json_patch::merge(&mut object, patch),
        Kind::Json => {
            let operations: Vec<json_patch::PatchOperation> = serde_json::from_value(patch.clone())
                .map_err(|error| message(format!("error decoding patch: {error}")))?;
            json_patch::patch(&mut object, &operations).map_err(|error| message(error.to_string()))?;
        }
        Kind::Strategic => {
            let of = Resource::of_object(&object);
            let Some(ty) = Schema::get().type_by_gvk(&of.group, &of.version, &of.kind) else {
                return Err(message(format!(
                    "strategic merge patch is not supported for {}, Kind={} locally, try --type merge",
                    of.group_slash_version(),
                    of.kind
                )));
            };
            api::strategic_merge::apply(patch, &mut object, ty)
                .map_err(|status| message(status.to_string()))?;
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_changes_objects_in_its_way() {
        let pod = |containers: Value| json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}});
        let before = pod(json!([{"name": "a", "image": "1"}, {"name": "b"}]));
        let patch = json!({"spec": {"containers": [{"name": "a", "image": "2"}]}});
        for (kind, patch, wanted) in [
            (Kind::Strategic, patch.clone(), pod(json!([{"name": "a", "image": "2"}, {"name": "b"}]))),
            (Kind::Merge, patch.clone(), pod(json!([{"name": "a", "image": "2"}]))),
            (
                Kind::Json,
                json!([{"op": "remove", "path": "/spec/containers/0"}]),
                pod(json!([{"name": "b"}])),
            ),
        ] {
            assert_eq!(apply(kind, &before, &patch).expect("it applies"), wanted);
        }
        let own = json!({"apiVersion": "example.com/v1", "kind": "Flunder"});
        let error = apply(Kind::Strategic, &own, &patch).expect_err("no schema").to_string();
        assert_eq!(
            error,
            "strategic merge patch is not supported for example.com/v1, Kind=Flunder locally, try --type merge"
        );
        let error = apply(Kind::Json, &own, &json!({})).expect_err("no list").to_string();
        assert!(error.starts_with("error decoding patch: "), "{error}");
    }
}
