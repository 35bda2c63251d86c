//! Identity from a client certificate: the common name is the user, each organization a group.
//!
//! **Contract**: the certificate's chain and dates were verified by the TLS handshake.
//! **Upstream**: `k8s.io/apiserver/pkg/authentication/request/x509` (`CommonNameUserConversion`).

use super::UserInfo;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The common name of a certificate (DER).
pub fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

/// The user of a verified certificate (DER); `None` if it names nobody.
pub fn identity(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok().filter(|name| !name.is_empty())?;
    let groups =
        subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect::<Vec<_>>();
    Some(UserInfo::authenticated(name, groups))
}
