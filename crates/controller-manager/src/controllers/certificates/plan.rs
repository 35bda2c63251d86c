//! Which requests are approved, signed, refused and deleted.
//!
//! **Upstream**: `approver/sarapprove.go`, `signer.go`, `cleaner/cleaner.go`, `pkg/apis/certificates/helpers.go`.

use super::request::Asked;
use crate::workload::seconds;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use rcgen::SanType;
use std::collections::BTreeSet;
use x509_parser::pem::parse_x509_pem;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// **Upstream**: `approvedExpiration`, `deniedExpiration`.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// **Upstream**: `pendingExpiration`.
const UNDECIDED: SignedDuration = SignedDuration::from_hours(24);

/// What somebody has said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pending,
    Approved,
    Denied,
    Failed,
}

pub(super) fn verdict(request: &CertificateSigningRequest) -> Verdict {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    let has = |kind: &str| conditions.into_iter().flatten().any(|condition| condition.type_ == kind);
    match (has("Denied"), has("Failed"), has("Approved")) {
        (true, _, _) => Verdict::Denied,
        (_, true, _) => Verdict::Failed,
        (_, _, true) => Verdict::Approved,
        _ => Verdict::Pending,
    }
}

fn certificate(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    (!certificate.0.is_empty()).then_some(&certificate.0)
}

/// Whether it is for us to sign, now.
pub(super) fn waits_for_a_certificate(request: &CertificateSigningRequest) -> bool {
    let ours = [CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY].contains(&request.spec.signer_name.as_str());
    ours && verdict(request) == Verdict::Approved && certificate(request).is_none()
}

/// Why a signer must not sign.
pub(super) fn check(spec: &CertificateSigningRequestSpec, asked: &Asked) -> Result<(), String> {
    let usages = usages(spec);
    match spec.signer_name.as_str() {
        CLIENT => check_client(&usages),
        KUBELET_CLIENT => check_kubelet_client(&usages, asked),
        KUBELET_SERVING => check_kubelet_serving(&usages, asked),
        _ => Ok(()),
    }
}

fn usages(spec: &CertificateSigningRequestSpec) -> BTreeSet<&str> {
    spec.usages.iter().flatten().map(String::as_str).collect()
}

fn check_client(usages: &BTreeSet<&str>) -> Result<(), String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(usage) = usages.iter().find(|usage| !allowed.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    match usages.contains("client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".to_owned()),
    }
}

fn check_kubelet_client(usages: &BTreeSet<&str>, asked: &Asked) -> Result<(), String> {
    check_organization(asked)?;
    for (is, what) in [
        ((|name| matches!(name, SanType::DnsName(_))) as fn(&SanType) -> bool, "DNS"),
        (|name| matches!(name, SanType::Rfc822Name(_)), "Email"),
        (|name| matches!(name, SanType::IpAddress(_)), "IP"),
        (|name| matches!(name, SanType::URI(_)), "URI"),
    ] {
        if asked.has(is) {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    check_common_name(asked)?;
    check_usages(usages, "client auth")
}

fn check_kubelet_serving(usages: &BTreeSet<&str>, asked: &Asked) -> Result<(), String> {
    check_organization(asked)?;
    if !asked.has(|name| matches!(name, SanType::DnsName(_) | SanType::IpAddress(_))) {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    if asked.has(|name| matches!(name, SanType::Rfc822Name(_))) {
        return Err("Email subjectAltNames are not allowed".to_owned());
    }
    if asked.has(|name| matches!(name, SanType::URI(_))) {
        return Err("URI subjectAltNames are not allowed".to_owned());
    }
    check_usages(usages, "server auth")?;
    check_common_name(asked)
}

fn check_organization(asked: &Asked) -> Result<(), String> {
    match asked.organizations.as_slice() {
        [only] if only == NODES => Ok(()),
        _ => Err("subject organization is not system:nodes".to_owned()),
    }
}

fn check_common_name(asked: &Asked) -> Result<(), String> {
    match asked.common_name.starts_with(NODE_PREFIX) {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".to_owned()),
    }
}

/// Exactly these; `key encipherment` may be left out, for keys that cannot.
fn check_usages(usages: &BTreeSet<&str>, purpose: &str) -> Result<(), String> {
    let needed = BTreeSet::from(["digital signature", purpose]);
    let mut with_encipherment = needed.clone();
    with_encipherment.insert("key encipherment");
    if *usages == needed || *usages == with_encipherment {
        return Ok(());
    }
    let names: Vec<&str> = with_encipherment.into_iter().collect();
    Err(format!("usages did not match [{}]", names.join(" ")))
}

/// A kind of request that is approved without anybody being asked, if its author may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recognized {
    /// What the author must be allowed to create.
    pub(super) subresource: &'static str,
    pub(super) message: &'static str,
}

pub(super) fn recognized(spec: &CertificateSigningRequestSpec, asked: &Asked) -> Vec<Recognized> {
    if spec.signer_name != KUBELET_CLIENT || check_kubelet_client(&usages(spec), asked).is_err() {
        return Vec::new();
    }
    let own = Recognized {
        subresource: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    };
    let any = Recognized {
        subresource: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    };
    match spec.username.as_deref() == Some(asked.common_name.as_str()) {
        true => vec![own, any],
        false => vec![any],
    }
}

/// The question whether the author may have it.
pub(super) fn review(spec: &CertificateSigningRequestSpec, subresource: &str) -> SubjectAccessReview {
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".to_owned()),
        resource: Some("certificatesigningrequests".to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: Some("create".to_owned()),
        version: Some("*".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        extra: spec.extra.clone(),
        groups: spec.groups.clone(),
        resource_attributes: Some(attributes),
        uid: spec.uid.clone(),
        user: spec.username.clone(),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

pub(super) fn condition(
    kind: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(seconds(now)),
        last_transition_time: Some(seconds(now)),
    }
}

/// When a request is to be deleted: an hour after it was decided and done with, a day after it came, or with the end of
/// its certificate.
pub(super) fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let issued = certificate(request);
    let decided = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let decided = decided.filter(|condition| match condition.type_.as_str() {
        "Denied" | "Failed" => true,
        "Approved" => issued.is_some(),
        _ => false,
    });
    let ends =
        decided.filter_map(|condition| condition.last_update_time.as_ref()?.0.checked_add(DECIDED).ok());
    let pending = (verdict(request) == Verdict::Pending)
        .then(|| request.metadata.creation_timestamp.as_ref()?.0.checked_add(UNDECIDED).ok())
        .flatten();
    ends.chain(pending).chain(issued.and_then(expiry)).min()
}

/// When a certificate (PEM) ends.
fn expiry(pem: &[u8]) -> Option<Timestamp> {
    let (_, pem) = parse_x509_pem(pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests;
