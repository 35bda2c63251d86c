//! Certificates by the name that a client asks for.
//!
//! **Contract**: exactly, else by the longest wildcard, else the default one.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not PEM, or nothing of the kind in it.
    #[error("the {0} cannot be read: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// The certificate has no content.
    #[error("there is no certificate")]
    Empty,
    /// The key is of no kind that is known, or of another certificate.
    #[error("the key cannot be used: {0}")]
    Key(rustls::Error),
}

/// A certificate with its key, from PEM.
pub(crate) fn certified(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, Error> {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| Error::Pem("certificate", error))?;
    if chain.is_empty() {
        return Err(Error::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| Error::Pem("key", error))?;
    let certified = CertifiedKey::new(chain, any_supported_type(&key).map_err(Error::Key)?);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(certified))
        }
        Err(error) => Err(Error::Key(error)),
    }
}

/// The certificates of now.
#[derive(Debug)]
pub(crate) struct Certificates {
    by_host: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl Certificates {
    pub(crate) fn new(default: Arc<CertifiedKey>) -> Self {
        Self { by_host: HashMap::new(), default }
    }

    /// For a host, perhaps with a wildcard, or for all others if it is empty; the first one stays.
    pub(crate) fn add(&mut self, host: &str, certificate: &Arc<CertifiedKey>) {
        if host.is_empty() {
            self.default = certificate.clone();
            return;
        }
        self.by_host.entry(host.to_ascii_lowercase()).or_insert_with(|| certificate.clone());
    }

    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let of = |name: &str| {
            let suffixes = name.match_indices('.').map(|(dot, _)| format!("*{}", &name[dot..]));
            self.by_host.get(name).or_else(|| suffixes.filter_map(|suffix| self.by_host.get(&suffix)).next())
        };
        name.and_then(of).unwrap_or(&self.default).clone()
    }
}

/// What handshakes ask.
#[derive(Debug)]
pub(crate) struct Resolver(pub(crate) arc_swap::ArcSwap<Certificates>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        Some(self.0.load().find(name.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(host: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn finds_the_certificate_of_a_name() {
        let of = |host: &str| {
            let (certificate, key) = made(host);
            certified(certificate.as_bytes(), key.as_bytes()).unwrap()
        };
        let (default, exact, wild) = (of("default"), of("a.example"), of("wild"));
        let mut all = Certificates::new(default.clone());
        all.add("A.example", &exact);
        all.add("*.example", &wild);
        all.add("*.example", &default);
        for (name, expected) in [
            (Some("a.example"), &exact),
            (Some("b.example"), &wild),
            (Some("x.b.example"), &wild),
            (Some("other"), &default),
            (None, &default),
        ] {
            assert!(Arc::ptr_eq(&all.find(name), expected), "{name:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_pair() {
        let ((one, key), (_, other)) = (made("a"), made("b"));
        let error = |certificate: &str, key: &str| {
            certified(certificate.as_bytes(), key.as_bytes()).unwrap_err().to_string()
        };
        assert!(error("", &key).contains("no certificate"));
        assert!(error(&one, "").contains("the key cannot be read"));
        assert!(error(&one, &other).contains("the key cannot be used"));
    }
}
