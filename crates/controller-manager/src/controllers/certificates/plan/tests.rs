//! Requests of nodes and people, and the certificates that come of them.

use super::super::sign::Signer;
use super::*;
use component_base::Rng;
use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::json;
use testkit::build::at;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A request's PEM.
fn pem(common_name: &str, organization: &str, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap().into_bytes()
}

fn spec(signer: &str, usages: &[&str]) -> CertificateSigningRequestSpec {
    CertificateSigningRequestSpec {
        signer_name: signer.to_owned(),
        usages: Some(usages.iter().map(|usage| (*usage).to_owned()).collect()),
        username: Some("system:node:a".to_owned()),
        ..CertificateSigningRequestSpec::default()
    }
}

const NODE_USAGES: [&str; 2] = ["digital signature", "client auth"];

#[test]
fn signers_refuse_in_upstreams_words() {
    let node = Asked::parse(&pem("system:node:a", "system:nodes", &[])).unwrap();
    let named = Asked::parse(&pem("system:node:a", "system:nodes", &["a.example", "10.0.0.1"])).unwrap();
    let person = Asked::parse(&pem("jane", "devs", &[])).unwrap();
    let serving = ["digital signature", "key encipherment", "server auth"];
    for (signer, usages, asked, wanted) in [
        (CLIENT, &["client auth"][..], &person, ""),
        (CLIENT, &["server auth"], &person, "invalid usage for client certificate: server auth"),
        (
            CLIENT,
            &["digital signature"],
            &person,
            "missing required usage for client certificate: client auth",
        ),
        (KUBELET_CLIENT, &NODE_USAGES, &node, ""),
        (KUBELET_CLIENT, &NODE_USAGES, &person, "subject organization is not system:nodes"),
        (KUBELET_CLIENT, &NODE_USAGES, &named, "DNS subjectAltNames are not allowed"),
        (
            KUBELET_CLIENT,
            &["client auth"],
            &node,
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (KUBELET_SERVING, &serving, &named, ""),
        (KUBELET_SERVING, &serving, &node, "DNS or IP subjectAltName is required"),
        (LEGACY, &[], &person, ""),
    ] {
        let found = check(&spec(signer, usages), asked).err().unwrap_or_default();
        assert_eq!(found, wanted, "{signer} {usages:?}");
    }
}

#[test]
fn a_nodes_own_certificate_is_recognized() {
    let own = Asked::parse(&pem("system:node:a", "system:nodes", &[])).unwrap();
    let other = Asked::parse(&pem("system:node:b", "system:nodes", &[])).unwrap();
    let of = |signer: &str, asked: &Asked| {
        recognized(&spec(signer, &NODE_USAGES), asked).iter().map(|kind| kind.subresource).collect::<Vec<_>>()
    };
    assert_eq!(of(KUBELET_CLIENT, &own), ["selfnodeclient", "nodeclient"]);
    assert_eq!(of(KUBELET_CLIENT, &other), ["nodeclient"]);
    assert!(of(CLIENT, &own).is_empty());
}

#[test]
fn what_is_signed_is_what_was_asked_for() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ca");
    let authority = params.self_signed(&key).unwrap();
    let signer = Signer::new(&authority.pem(), &key.serialize_pem()).unwrap();
    let asked = Asked::parse(&pem("jane", "devs", &["a.example"])).unwrap();
    let mut wish = spec(CLIENT, &["digital signature", "client auth"]);
    wish.expiration_seconds = Some(3600);
    let signed = signer.sign(&wish, &asked, at(0), &Rng::seeded(1)).unwrap();
    let (_, read) = parse_x509_pem(signed.as_bytes()).unwrap();
    let certificate = read.parse_x509().unwrap();
    assert_eq!(certificate.subject().as_raw(), asked.subject);
    assert_eq!(certificate.public_key().raw, asked.public_key);
    assert_eq!(certificate.validity().not_after.timestamp(), at(3600).as_second());
    assert_eq!(certificate.validity().not_before.timestamp(), at(-300).as_second());
    assert!(!certificate.is_ca());
    assert!(certificate.extended_key_usage().unwrap().unwrap().value.client_auth);
    assert!(certificate.subject_alternative_name().unwrap().is_some());
    let (_, authority) = X509Certificate::from_der(authority.der()).unwrap();
    certificate.verify_signature(Some(authority.public_key())).expect("signed by the CA");
}

#[test]
fn a_request_that_was_tampered_with_is_refused() {
    let good = pem("jane", "devs", &[]);
    let (_, read) = parse_x509_pem(&good).unwrap();
    let mut der = read.contents.clone();
    let at = der.windows(4).position(|window| window == b"jane").unwrap();
    der[at..at + 4].copy_from_slice(b"john");
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let bad = format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n");
    assert_eq!(Asked::parse(bad.as_bytes()).unwrap_err(), "unable to verify certificate request signature");
    assert!(Asked::parse(b"nonsense").is_err());
}

#[test]
fn requests_go_when_they_are_done_with() {
    let request = |conditions: &[(&str, i64)], certificate: Option<&str>| {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, when)| json!({"type": kind, "status": "True", "lastUpdateTime": api::time::format(at(*when))}))
            .collect();
        let mut request: CertificateSigningRequest = serde_json::from_value(json!({
            "metadata": {"name": "r", "creationTimestamp": api::time::format(at(0))},
            "spec": {"request": "", "signerName": CLIENT}, "status": {"conditions": conditions}}))
        .unwrap();
        request.status.as_mut().unwrap().certificate =
            certificate.map(|certificate| ByteString(certificate.as_bytes().to_vec()));
        request
    };
    for (conditions, certificate, wanted) in [
        (&[][..], None, Some(at(24 * 3600))),
        (&[("Approved", 10)], None, None),
        (&[("Approved", 10)], Some("x"), Some(at(3610))),
        (&[("Denied", 20)], None, Some(at(3620))),
        (&[("Approved", 10), ("Failed", 30)], None, Some(at(3630))),
    ] {
        assert_eq!(end(&request(conditions, certificate)), wanted, "{conditions:?}");
    }
}
