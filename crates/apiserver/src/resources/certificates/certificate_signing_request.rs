//! CertificateSigningRequest: somebody asks for a certificate.
//!
//! **Contract**: who asks is what authentication says, whatever the object says; after that the wish is fixed.
//! **Upstream**: `pkg/registry/certificates/certificates`, `validateCertificateSigningRequest`.

use super::conditions;
use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{is_empty, items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
/// **Upstream**: ten minutes.
const MIN_SECONDS: i64 = 600;
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

/// What tables say of `spec.signerName`: the words of its first version.
const SIGNER_NAME: &str = "Requested signer for the request. It is a qualified name in the form: \
    `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, \
    it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving \
    certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \
    \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can \
    select on this field using `spec.signerName`.";
/// The strategy of CertificateSigningRequests.
pub(crate) struct CertificateSigningRequest(Resource);

impl CertificateSigningRequest {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("certificatesigningrequests", "certificatesigningrequest");
        let scope = Scope::Cluster;
        let resource =
            Resource::new(super::GROUP, "v1", "CertificateSigningRequest", plural, singular, scope);
        Self(resource.short(&["csr"]))
    }
}

fn check_request(errors: &mut ErrorList, path: &Path, request: &Value) {
    let encoded = request.as_str().unwrap_or("");
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    if !String::from_utf8_lossy(&decoded).contains(BEGIN) {
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(Error::invalid(path, request.clone(), detail));
    }
}

/// `domain/path`
fn check_signer(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(Error::invalid(path, name, detail));
        return;
    };
    for message in names::dns_subdomain(domain, false) {
        errors.push(Error::invalid(path, domain, &format!("validating domain label {domain:?}: {message}")));
    }
    if !domain.contains('.') {
        errors.push(Error::invalid(
            path,
            domain,
            "should be a domain with at least two segments separated by dots",
        ));
    }
    for message in names::dns_subdomain(rest, false) {
        errors.push(Error::invalid(path, rest, &format!("validating label {rest:?}: {message}")));
    }
    if name == LEGACY_SIGNER {
        errors.push(Error::invalid(path, name, "the legacy signerName is not allowed via this API version"));
    }
}

fn condition_cell(request: &Value) -> Cell {
    let has = |kind: &str| items(&request["status"], "conditions").iter().any(|c| c["type"] == kind);
    let mut text = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        text += ",Failed";
    }
    if !is_empty(&request["status"]["certificate"]) {
        text += ",Issued";
    }
    text.into()
}

impl Strategy for CertificateSigningRequest {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn prepare_for_create(&self, context: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        for field in ["username", "uid", "groups", "extra"] {
            edit::remove(spec, field);
        }
        let user = context.user;
        edit::set(spec, "username", user.name.as_str());
        if !user.uid.is_empty() {
            edit::set(spec, "uid", user.uid.as_str());
        }
        if !user.groups.is_empty() {
            edit::set(spec, "groups", json!(user.groups));
        }
        if !user.extra.is_empty() {
            edit::set(spec, "extra", json!(user.extra));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        check_request(&mut errors, &path.child("request"), &spec["request"]);
        let usages = items(spec, "usages");
        if usages.is_empty() {
            errors.push(Error::required(&path.child("usages"), ""));
        }
        for (i, usage) in usages.iter().enumerate() {
            let path = path.child("usages").index(i);
            if !usage.as_str().is_some_and(|u| USAGES.contains(&u)) {
                errors.push(Error::not_supported(&path, usage.clone(), &USAGES));
            }
            if usages[..i].contains(usage) {
                errors.push(Error::duplicate(&path, usage.clone()));
            }
        }
        check_signer(&mut errors, &path.child("signerName"), text(spec, "signerName"));
        if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|s| *s < MIN_SECONDS) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, detail));
        }
        errors
    }

    fn prepare_for_update(&self, _: &WriteContext<'_>, object: &mut Value, old: &Value) {
        edit::copy(object, "spec", old);
    }

    fn prepare_for_status_update(&self, context: &WriteContext<'_>, object: &mut Value, old: &Value) {
        let now = api::time::format(context.now);
        if let Some(list) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
            conditions::stamp(list, old, &now);
        }
        conditions::keep_decisions(object, old);
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = conditions::check(object, old);
        let (new, before) = (&object["status"]["certificate"], &old["status"]["certificate"]);
        if !is_empty(before) {
            check::immutable(&mut errors, &Path::new("status").child("certificate"), new, before);
        }
        errors
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        vec![text(&object["spec"], "signerName").to_owned()]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                cells::AGE,
                Column::new("SignerName", "string").text(SIGNER_NAME),
                Column::new("Requestor", "string").text("Base64-encoded PKCS#10 CSR data"),
                Column::new("RequestedDuration", "string").field("spec.expirationSeconds"),
                Column::new("Condition", "string")
                    .text("Conditions applied to the request, such as approval or denial."),
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        let duration = spec["expirationSeconds"].as_i64();
        vec![
            cells::name(object),
            cells::age(object, now),
            cells::text_or_none(&spec["signerName"]),
            text(spec, "username").into(),
            duration.map_or_else(|| cells::NONE.to_owned(), api::duration::human).into(),
            condition_cell(object),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_final_and_only_made_by_approval() {
        let approved = json!({"type": "Approved", "status": "True"});
        let denied = json!({"type": "Denied", "status": "True"});
        let with = |list: &[&Value]| json!({"status": {"conditions": list}});
        let texts = |new: &Value, old: &Value| -> Vec<String> {
            conditions::check(new, old).iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(&with(&[&approved]), &with(&[])), Vec::<String>::new());
        assert_eq!(
            texts(&with(&[&approved, &denied]), &with(&[&approved])),
            [
                "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"
            ]
        );
        assert_eq!(
            texts(&with(&[]), &with(&[&approved])),
            ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]
        );
        let mut sneaky = with(&[&denied]);
        conditions::keep_decisions(&mut sneaky, &with(&[&approved]));
        assert_eq!(sneaky, with(&[&approved]));
        assert_eq!(condition_cell(&with(&[&approved])), "Approved");
        assert_eq!(condition_cell(&json!({})), "Pending");
    }
}
