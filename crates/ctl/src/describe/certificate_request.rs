//! The description of a certificate signing request: who asks for which certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::net::IpAddr;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{self, Oid};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use super::workloads::{created, recorded};
use super::{Describe, items, text};
use crate::duration;
use crate::output::table::format_labels;
use crate::report::{Error, message};

/// What of a subject is shown, in this order.
fn attributes() -> [(&'static str, Oid<'static>); 7] {
    [
        ("Organization", oid_registry::OID_X509_ORGANIZATION_NAME),
        ("Organizational Unit", oid_registry::OID_X509_ORGANIZATIONAL_UNIT),
        ("Country", oid_registry::OID_X509_COUNTRY_NAME),
        ("Locality", oid_registry::OID_X509_LOCALITY_NAME),
        ("Province", oid_registry::OID_X509_STATE_OR_PROVINCE_NAME),
        ("StreetAddress", oid_registry::OID_X509_STREET_ADDRESS),
        ("PostalCode", oid_registry::OID_X509_POSTAL_CODE),
    ]
}

/// The request's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let request = STANDARD.decode(text(spec, "request")).unwrap_or_default();
    let wanted = wanted(&request).map_err(|error| message(format!("Error parsing CSR: {error}")))?;
    let mut out = format!("Name:\t{}\n", text(metadata, "name"));
    out += &format!("Labels:\t{}\n", format_labels(&metadata["labels"]));
    out += &format!("Annotations:\t{}\n", format_labels(&metadata["annotations"]));
    out += &created(describe, object);
    out += &format!("Requesting User:\t{}\n", text(spec, "username"));
    if !text(spec, "signerName").is_empty() {
        out += &format!("Signer:\t{}\n", text(spec, "signerName"));
    }
    if let Some(seconds) = spec["expirationSeconds"].as_i64() {
        out += &format!("Requested Duration:\t{}\n", duration::human(seconds));
    }
    out += &format!("Status:\t{}\n", status(&object["status"]));
    Ok(out + &wanted + &recorded(describe, object).await)
}

fn status(status: &Value) -> String {
    let has = |kind: &str| items(status, "conditions").iter().any(|one| one["type"] == kind);
    let mut out = if has("Denied") {
        "Denied".to_owned()
    } else if has("Approved") {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if has("Failed") {
        out += ",Failed";
    }
    if !text(status, "certificate").is_empty() {
        out += ",Issued";
    }
    out
}

/// The certificate that a request is for.
fn wanted(pem: &[u8]) -> Result<String, String> {
    const LABEL: &str = "CERTIFICATE REQUEST";
    let (_, block) =
        x509_parser::pem::parse_x509_pem(pem).map_err(|_| format!("PEM block type must be {LABEL}"))?;
    if block.label != LABEL {
        return Err(format!("PEM block type must be {LABEL}"));
    }
    let (_, request) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    let last = |oid: &Oid<'_>| values(subject, oid).pop().unwrap_or_default();
    let mut out = "Subject:\n".to_owned();
    out += &format!("\tCommon Name:\t{}\n", last(&oid_registry::OID_X509_COMMON_NAME));
    out += &format!("\tSerial Number:\t{}\n", last(&oid_registry::OID_X509_SERIALNUMBER));
    for (title, oid) in attributes() {
        out += &list(title, &values(subject, &oid));
    }
    let names: Vec<GeneralName<'_>> = request
        .requested_extensions()
        .into_iter()
        .flatten()
        .filter_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    let all =
        |pick: fn(&GeneralName<'_>) -> Option<String>| names.iter().filter_map(pick).collect::<Vec<_>>();
    let names = list(
        "DNS Names",
        &all(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        }),
    ) + &list(
        "Email Addresses",
        &all(|name| match name {
            GeneralName::RFC822Name(name) => Some((*name).to_owned()),
            _ => None,
        }),
    ) + &list(
        "URIs",
        &all(|name| match name {
            GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        }),
    ) + &list(
        "IP Addresses",
        &all(|name| match name {
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        }),
    );
    if !names.is_empty() {
        out += &format!("Subject Alternative Names:\n{names}");
    }
    Ok(out)
}

fn values(name: &X509Name<'_>, oid: &Oid<'_>) -> Vec<String> {
    let all = name.iter_by_oid(oid).filter_map(|one| one.as_str().ok());
    all.map(str::to_owned).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    four.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok()).map(|address| address.to_string())
}

/// A title and values, a line each; nothing where there are none.
fn list(title: &str, values: &[String]) -> String {
    if values.is_empty() {
        return String::new();
    }
    format!("\t{title}:\t{}\n", values.join("\n\t\t"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_became_of_it_is_told_in_words() {
        let of = |kinds: &[&str], certificate: &str| {
            let conditions: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
            status(&json!({"conditions": conditions, "certificate": certificate}))
        };
        for (kinds, certificate, shown) in [
            (&[][..], "", "Pending"),
            (&["Approved"], "", "Approved"),
            (&["Approved"], "LS0t", "Approved,Issued"),
            (&["Approved", "Failed"], "", "Approved,Failed"),
            (&["Approved", "Denied"], "", "Denied"),
        ] {
            assert_eq!(of(kinds, certificate), shown);
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for pem in [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(wanted(pem), Err("PEM block type must be CERTIFICATE REQUEST".to_owned()));
        }
    }
}
