//! What a CertificateSigningRequest asks for, read from its PKCS#10 request.
//!
//! **Contract**: whoever signs the request holds its key: the signature has been checked.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::SanType;
use rcgen::string::Ia5String;
use std::net::IpAddr;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

/// The wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    /// The whole subject, DER.
    pub(super) subject: Vec<u8>,
    /// The key, DER (`SubjectPublicKeyInfo`).
    pub(super) public_key: Vec<u8>,
    pub(super) names: Vec<SanType>,
}

impl Asked {
    pub(super) fn of(request: &CertificateSigningRequest) -> Result<Self, String> {
        let name = request.metadata.name.as_deref().unwrap_or_default();
        Self::parse(&request.spec.request.0).map_err(|why| format!("unable to parse csr {name:?}: {why}"))
    }

    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let (_, pem) = parse_x509_pem(pem).map_err(|_| "it is not PEM".to_owned())?;
        if pem.label != "CERTIFICATE REQUEST" {
            return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
        }
        let (_, parsed) =
            X509CertificationRequest::from_der(&pem.contents).map_err(|error| error.to_string())?;
        parsed.verify_signature().map_err(|_| "unable to verify certificate request signature".to_owned())?;
        let info = &parsed.certification_request_info;
        let mut names = Vec::new();
        for extension in parsed.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(extension) = extension {
                for name in &extension.general_names {
                    names.push(alternative(name)?);
                }
            }
        }
        let texts = |name: &X509Name<'_>| -> Vec<String> {
            name.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect()
        };
        let common_name = info.subject.iter_common_name().last().and_then(|name| name.as_str().ok());
        Ok(Self {
            common_name: common_name.unwrap_or_default().to_owned(),
            organizations: texts(&info.subject),
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
            names,
        })
    }

    /// Whether a name of this kind is asked for.
    pub(super) fn has(&self, is: impl Fn(&SanType) -> bool) -> bool {
        self.names.iter().any(is)
    }
}

fn alternative(name: &GeneralName<'_>) -> Result<SanType, String> {
    let text = |text: &str| Ia5String::try_from(text).map_err(|error| error.to_string());
    match name {
        GeneralName::DNSName(name) => text(name).map(SanType::DnsName),
        GeneralName::RFC822Name(name) => text(name).map(SanType::Rfc822Name),
        GeneralName::URI(name) => text(name).map(SanType::URI),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.map(SanType::IpAddress).map_err(|_| "an address has neither 4 nor 16 bytes".to_owned())
        }
        other => Err(format!("a subject alternative name of this kind cannot be signed: {other}")),
    }
}
