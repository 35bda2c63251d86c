//! Identity from a client certificate: the common name is the user, each organization a group; its hash tells which
//! certificate it was.
//!
//! **Contract**: whoever asks has verified the certificate's chain and dates (`serve`).
//! **Upstream**: `k8s.io/apiserver/pkg/authentication/request/x509` (`CommonNameUserConversion`).

use super::UserInfo;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The attribute of a subject with the user's identity. **Upstream**: `UIDOID`.
const UID: &str = "1.3.6.1.4.1.57683.2";
/// **Upstream**: `CredentialIDKey`.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

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
    let uid = subject.iter_attributes().find(|attribute| attribute.attr_type().to_id_string() == UID);
    let mut user = UserInfo::authenticated(name, groups);
    user.uid = uid.and_then(|uid| uid.as_str().ok()).unwrap_or_default().to_owned();
    let print: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={print}")]);
    Some(user)
}
