//! Who may approve and sign certificates for a signer, or vouch for it, and what must not be asked of one.
//!
//! **Upstream**: `plugin/pkg/admission/certificates/{approval,signing,ctbattest,subjectrestriction}`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Operation, Plugin};
use crate::auth::{Action, Authorizer, GROUP_MASTERS};
use api::status::Status;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::sync::Arc;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer as _;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const BUNDLES: &str = "clustertrustbundles";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// `approve` on the signer is needed to change an approval.
pub(super) struct CertificateApproval(pub(super) Arc<dyn Authorizer>);

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, request: Option<&Value>) -> Result<(), Status> {
        if !is_update_of(attributes, "approval") || may(&*self.0, attributes, signer(attributes), "approve") {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {:?}", signer(attributes));
        Err(forbidden(attributes, request, &why))
    }
}

/// `sign` on the signer is needed to set a certificate, or to say that it failed.
pub(super) struct CertificateSigning(pub(super) Arc<dyn Authorizer>);

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, request: Option<&Value>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (request, attributes.old) else { return Ok(()) };
        if !is_update_of(attributes, "status") {
            return Ok(());
        }
        let unchanged = old["status"]["certificate"] == new["status"]["certificate"]
            && old["status"]["conditions"] == new["status"]["conditions"];
        if unchanged || may(&*self.0, attributes, signer(attributes), "sign") {
            return Ok(());
        }
        let why = format!("user not permitted to sign requests with signerName {:?}", signer(attributes));
        Err(forbidden(attributes, request, &why))
    }
}

/// `attest` on the signer is needed to say which authorities are its own. (The kind is a beta API: where it is served.)
pub(super) struct ClusterTrustBundleAttest(pub(super) Arc<dyn Authorizer>);

impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, bundle: Option<&Value>) -> Result<(), Status> {
        let Some(new) = bundle.filter(|_| is_about(attributes, GROUP, BUNDLES)) else { return Ok(()) };
        let signer = new["spec"]["signerName"].as_str().unwrap_or_default();
        let same = attributes.old.is_some_and(|old| old["spec"] == new["spec"]);
        if signer.is_empty() || same || may(&*self.0, attributes, signer, "attest") {
            return Ok(());
        }
        let why = format!("user not permitted to attest for signerName {signer:?}");
        Err(forbidden(attributes, bundle, &why))
    }
}

/// Nobody gets a client certificate of `system:masters` by asking.
pub(super) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, request: Option<&Value>) -> Result<(), Status> {
        let Some(request) = request else { return Ok(()) };
        if attributes.operation != Operation::Create
            || !is_about(attributes, GROUP, REQUESTS)
            || request["spec"]["signerName"] != CLIENT_SIGNER
            || !organizations(request).iter().any(|organization| organization == GROUP_MASTERS)
        {
            return Ok(());
        }
        let why = format!("use of {CLIENT_SIGNER} signer with {GROUP_MASTERS} group is not allowed");
        Err(forbidden(attributes, Some(request), &why))
    }
}

fn is_update_of(attributes: &Attributes<'_>, subresource: &str) -> bool {
    attributes.operation == Operation::Update
        && attributes.subresource == subresource
        && attributes.resource.group == GROUP
        && attributes.resource.plural == REQUESTS
}

fn signer<'a>(attributes: &Attributes<'a>) -> &'a str {
    attributes.old.and_then(|old| old["spec"]["signerName"].as_str()).unwrap_or_default()
}

/// Whether the user holds a verb on the signer, or on all signers of its domain.
fn may(authorizer: &dyn Authorizer, attributes: &Attributes<'_>, signer: &str, verb: &str) -> bool {
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    [signer, &domain].into_iter().any(|name| {
        let action = Action { name, ..Action::on(attributes.user, verb, GROUP, "signers") };
        authorizer.authorize(&action).allowed
    })
}

/// The organizations of the subject that a request asks for; none if it cannot be read (validation refuses it).
fn organizations(request: &Value) -> Vec<String> {
    let encoded = request["spec"]["request"].as_str().unwrap_or_default();
    let Ok(pem) = BASE64_STANDARD.decode(encoded) else { return Vec::new() };
    let Ok((_, pem)) = parse_x509_pem(&pem) else { return Vec::new() };
    let Ok((_, parsed)) = X509CertificationRequest::from_der(&pem.contents) else { return Vec::new() };
    let subject = &parsed.certification_request_info.subject;
    subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect()
}
