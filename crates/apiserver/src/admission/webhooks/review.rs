//! What is asked and what is answered: `AdmissionReview`.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/webhook/request`, `webhook/errors`.

use crate::admission::request::AdmissionRequest;
use api::status::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The question.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Question<'a> {
    kind: &'static str,
    api_version: String,
    request: Request<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(flatten)]
    request: &'a AdmissionRequest<'a>,
    object: Option<&'a Value>,
    old_object: Option<&'a Value>,
}

impl<'a> Question<'a> {
    pub(super) fn new(
        version: &str,
        request: &'a AdmissionRequest<'a>,
        object: Option<&'a Value>,
        old_object: Option<&'a Value>,
    ) -> Self {
        let request = Request { request, object, old_object };
        Self { kind: "AdmissionReview", api_version: format!("admission.k8s.io/{version}"), request }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Response>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    allowed: bool,
    #[serde(default)]
    status: Value,
    patch: Option<String>,
    patch_type: Option<String>,
    #[serde(default)]
    audit_annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// An answer that makes sense.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) status: Value,
    /// A JSON patch; empty: none.
    pub(super) patch: Vec<u8>,
    pub(super) patch_type: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) warnings: Vec<String>,
}

/// Reads the answer to the question with this identity.
pub(super) fn read(body: &[u8], version: &str, uid: &str, mutating: bool) -> Result<Answer, String> {
    let review: Review = serde_json::from_slice(body).map_err(|error| {
        format!("failed to call webhook: couldn't get version/kind; json parse error: {error}")
    })?;
    verified(review, version, uid, mutating)
        .map_err(|why| format!("received invalid webhook response: {why}"))
}

fn verified(review: Review, version: &str, uid: &str, mutating: bool) -> Result<Answer, String> {
    let response = review.response.ok_or("webhook response was absent")?;
    let patch = match response.patch.as_deref() {
        None | Some("") => Vec::new(),
        Some(patch) => STANDARD.decode(patch).map_err(|error| error.to_string())?,
    };
    let mut patch_type = response.patch_type.clone().unwrap_or_default();
    if version == "v1" {
        if response.uid != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
        }
        let wanted = "admission.k8s.io/v1, Kind=AdmissionReview";
        let (group, version) = api::kind::parse_api_version(&review.api_version);
        let got = format!("{group}/{version}, Kind={}", review.kind);
        if got != wanted {
            return Err(format!("expected webhook response of {wanted}, got {got}"));
        }
        match (mutating, patch.is_empty(), response.patch_type.as_deref()) {
            (true, false, None) => {
                return Err("webhook returned response.patch but not response.patchType".to_owned());
            }
            (true, true, Some(_)) => {
                return Err("webhook returned response.patchType but not response.patch".to_owned());
            }
            (true, false, Some("")) => {
                return Err("webhook returned invalid response.patchType of \"\"".to_owned());
            }
            (false, false, _) => return Err("validating webhook may not return response.patch".to_owned()),
            (false, _, Some(_)) => {
                return Err("validating webhook may not return response.patchType".to_owned());
            }
            _ => {}
        }
    } else if !patch.is_empty() {
        "JSONPatch".clone_into(&mut patch_type);
    }
    Ok(Answer {
        allowed: response.allowed,
        status: response.status,
        patch,
        patch_type,
        annotations: response.audit_annotations.unwrap_or_default(),
        warnings: response.warnings.unwrap_or_default(),
    })
}

/// A webhook's no as the client hears it.
pub(super) fn refusal(webhook: &str, said: &Value) -> Status {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let text = |field: &str| said[field].as_str().filter(|text| !text.is_empty());
    let message = match text("message").or_else(|| text("reason")) {
        Some(why) => format!("{denied}: {why}"),
        None => format!("{denied} without explanation"),
    };
    let code = match said["code"].as_u64().and_then(|code| u16::try_from(code).ok()) {
        Some(code @ 400..=599) => code,
        Some(600..) => 500,
        _ => 400,
    };
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code,
    });
    for field in ["metadata", "reason", "details"] {
        if !said[field].is_null() {
            status[field] = said[field].clone();
        }
    }
    Status::of_others(status)
}

/// A trial is not to have effects, and this webhook does not promise that.
pub(super) fn no_dry_run(webhook: &str) -> Status {
    Status::bad_request(format!("admission webhook {webhook:?} does not support dry run"))
}
