//! Signing: a certificate with the subject, key and names of the request, and the usages that were approved.
//!
//! **Contract**: never a CA. A year at most, less if the request says so, and never longer than the CA lives.
//! **Upstream**: `PermissiveSigningPolicy`; durations are its.

use super::request::Asked;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use component_base::Rng;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, SigningKey, SubjectPublicKeyInfo, date_time_ymd,
};
use std::time::Duration;
use x509_parser::pem::parse_x509_pem;

/// `--cluster-signing-duration`
const LONGEST: i64 = 365 * 24 * 3600;
/// The shortest that anybody gets.
const SHORTEST: i64 = 600;
/// Clocks disagree.
const BACKDATE: i64 = 300;
/// What is shorter is not shortened by the backdating.
const SHORT: i64 = 8 * 3600;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// Which field of a `TBSCertificate` the subject is, after version, serial number, algorithm, issuer and validity.
const SUBJECT: usize = 5;

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    #[error("unable to sign: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("unable to read the CA's certificate")]
    Authority,
    #[error("unable to read what was signed")]
    Signed,
}

/// The CA.
pub(super) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    not_after: i64,
}

impl Signer {
    pub(super) fn new(certificate: &str, key: &str) -> Result<Self, SignError> {
        let (_, pem) = parse_x509_pem(certificate.as_bytes()).map_err(|_| SignError::Authority)?;
        let not_after = pem.parse_x509().map_err(|_| SignError::Authority)?.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, not_after })
    }

    /// The certificate, PEM.
    pub(super) fn sign(
        &self,
        spec: &CertificateSigningRequestSpec,
        asked: &Asked,
        now: Timestamp,
        rng: &Rng,
    ) -> Result<String, SignError> {
        let (start, end) = validity(spec.expiration_seconds, now, self.not_after);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = asked.names.clone();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from(rng.below(u64::MAX)));
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(u64::try_from(start).unwrap_or(0));
        params.not_after = epoch + Duration::from_secs(u64::try_from(end).unwrap_or(0));
        for usage in spec.usages.iter().flatten() {
            if let Some(usage) = key_usage(usage) {
                params.key_usages.push(usage);
            } else if let Some(usage) = extended_key_usage(usage) {
                params.insert_extended_key_usage(usage);
            }
        }
        let key = SubjectPublicKeyInfo::from_der(&asked.public_key)?;
        let signed = params.signed_by(&key, &self.issuer)?;
        let der = self.with_subject(signed.der(), &asked.subject)?;
        Ok(pem("CERTIFICATE", &der))
    }

    /// The same certificate for this subject: the library knows one value an attribute, and groups are several.
    fn with_subject(&self, signed: &[u8], subject: &[u8]) -> Result<Vec<u8>, SignError> {
        let [body, algorithm, _signature] = elements(signed)?[..] else { return Err(SignError::Signed) };
        let mut fields = elements(body)?;
        *fields.get_mut(SUBJECT).ok_or(SignError::Signed)? = subject;
        let body = element(SEQUENCE, &fields);
        let signature = self.issuer.key().sign(&body)?;
        Ok(element(SEQUENCE, &[&body, algorithm, &element(BIT_STRING, &[&[0], &signature])]))
    }
}

/// From when to when, in seconds.
fn validity(wanted: Option<i32>, now: Timestamp, authority_ends: i64) -> (i64, i64) {
    let span = wanted.map_or(LONGEST, |wanted| i64::from(wanted).clamp(SHORTEST, LONGEST));
    let (now, start) = (now.as_second(), now.as_second() - BACKDATE);
    let end = if span < SHORT { now + span } else { start + span };
    (start, end.min(authority_ends))
}

/// The elements that a DER element holds.
fn elements(der: &[u8]) -> Result<Vec<&[u8]>, SignError> {
    let (mut rest, mut found) = (header(der).and_then(|(start, end)| der.get(start..end)), Vec::new());
    while let Some(inner) = rest.filter(|inner| !inner.is_empty()) {
        let (_, end) = header(inner).ok_or(SignError::Signed)?;
        let (first, after) = inner.split_at_checked(end).ok_or(SignError::Signed)?;
        found.push(first);
        rest = Some(after);
    }
    Ok(found)
}

/// Where the content of an element begins and ends.
fn header(der: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*der.get(1)?);
    if first < 0x80 {
        return Some((2, 2 + first));
    }
    let start = 2 + (first & 0x7f);
    let length = der
        .get(2..start)?
        .iter()
        .try_fold(0usize, |length, byte| length.checked_mul(256)?.checked_add(usize::from(*byte)))?;
    Some((start, start.checked_add(length)?))
}

/// A DER element of these parts.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => element.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            element.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
            element.extend(bytes);
        }
    }
    parts.iter().for_each(|part| element.extend(*part));
    element
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn key_usage(name: &str) -> Option<KeyUsagePurpose> {
    Some(match name {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "cert sign" => KeyUsagePurpose::KeyCertSign,
        "crl sign" => KeyUsagePurpose::CrlSign,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_key_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    let other = |oid: &[u64]| ExtendedKeyUsagePurpose::Other(oid.to_vec());
    Some(match name {
        "any" => ExtendedKeyUsagePurpose::Any,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" | "s/mime" => ExtendedKeyUsagePurpose::EmailProtection,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        "ipsec end system" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 5]),
        "ipsec tunnel" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 6]),
        "ipsec user" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 7]),
        "microsoft sgc" => other(&[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
        "netscape sgc" => other(&[2, 16, 840, 1, 113_730, 4, 1]),
        _ => return None,
    })
}
