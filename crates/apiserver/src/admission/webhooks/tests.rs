//! What is made of answers. Whole calls are tested end to end, against real servers.

use super::review::{read, refusal};
use serde_json::{Value, json};

#[test]
fn an_answer_must_fit_its_question() {
    let response = |fields: Value| {
        let mut response = json!({"uid": "u", "allowed": true});
        for (name, value) in fields.as_object().unwrap() {
            response[name] = value.clone();
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    };
    let mut old = response(json!({}));
    old["apiVersion"] = "admission.k8s.io/v1beta1".into();
    let patch = json!({"patch": "W10=", "patchType": "JSONPatch"});
    let table = [
        (response(json!({})), true, Ok(true)),
        (response(json!({"allowed": false})), false, Ok(false)),
        (response(patch.clone()), true, Ok(true)),
        (response(patch), false, Err("validating webhook may not return response.patch")),
        (
            response(json!({"patchType": "JSONPatch"})),
            false,
            Err("validating webhook may not return response.patchType"),
        ),
        (
            response(json!({"patchType": "JSONPatch"})),
            true,
            Err("webhook returned response.patchType but not response.patch"),
        ),
        (
            response(json!({"patch": "W10="})),
            true,
            Err("webhook returned response.patch but not response.patchType"),
        ),
        (response(json!({"uid": "v"})), true, Err(r#"expected response.uid="u", got "v""#)),
        (
            old,
            true,
            Err(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview",
            ),
        ),
        (
            json!({"response": {"uid": "u"}}),
            true,
            Err("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="),
        ),
        (json!({"kind": "AdmissionReview"}), true, Err("webhook response was absent")),
    ];
    for (review, mutating, expected) in table {
        let answer = read(review.to_string().as_bytes(), "v1", "u", mutating).map(|answer| answer.allowed);
        let expected = expected.map_err(|why| format!("received invalid webhook response: {why}"));
        assert_eq!(answer, expected, "{review}");
    }
    // The older version knows neither identity nor the type of a patch.
    let older = json!({"response": {"allowed": true, "patch": "W10="}}).to_string();
    assert_eq!(read(older.as_bytes(), "v1beta1", "u", true).unwrap().patch_type, "JSONPatch");
    assert!(
        read(b"<html>", "v1", "u", true).unwrap_err().starts_with("failed to call webhook: couldn't get")
    );
}

#[test]
fn a_no_is_told_in_the_webhooks_words() {
    let denied = "admission webhook \"w\" denied the request";
    let table = [
        (json!(null), 400, format!("{denied} without explanation"), ""),
        (json!({"message": "why", "code": 200}), 400, format!("{denied}: why"), ""),
        (json!({"reason": "Because", "code": 403}), 403, format!("{denied}: Because"), "Because"),
        (
            json!({"message": "why", "reason": "NotFound", "code": 9999}),
            500,
            format!("{denied}: why"),
            "NotFound",
        ),
    ];
    for (said, code, message, reason) in table {
        let status = refusal("w", &said);
        assert_eq!((status.code, status.message.as_str(), status.reason()), (code, &*message, reason));
        let sent = status.to_json();
        assert_eq!((&sent["code"], &sent["status"]), (&json!(code), &json!("Failure")));
    }
    let details = json!({"details": {"causes": [{"message": "m"}]}, "message": "x"});
    assert_eq!(refusal("w", &details).to_json()["details"]["causes"][0]["message"], "m");
}
