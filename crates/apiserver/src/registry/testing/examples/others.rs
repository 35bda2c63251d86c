//! Examples of the smaller groups.

use super::{Example, example};
use serde_json::json;

pub(super) fn all() -> Vec<Example> {
    certificates()
}

fn certificates() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let request = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
    vec![
        example(
            "CertificateSigningRequest",
            json!({"metadata": meta, "spec": {"request": request, "usages": ["client auth"],
                "signerName": "kubernetes.io/kube-apiserver-client"}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"request": "eA==", "signerName": "x", "expirationSeconds": 5}}),
            &[
                "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
                "spec.usages: Required value",
                "spec.signerName: Invalid value: \"x\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
                "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        ),
    ]
}
