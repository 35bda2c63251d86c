//! What a Secret that is to hold a service account's token lacks.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde::Serialize;
use std::collections::BTreeMap;

/// The type of such Secrets.
pub(in crate::controllers) const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// Who says to have signed tokens of this kind.
const ISSUER: &str = "kubernetes/serviceaccount";

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Leave,
    /// Nobody can use it any more.
    Delete,
    /// It is as it should be but for the token, if that is `None`.
    Fill {
        secret: Box<Secret>,
        token: Option<Claims>,
    },
}

/// What a token says. It does not end by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Claims {
    iss: &'static str,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    sub: String,
}

/// The account that a Secret names.
pub(in crate::controllers) fn account_of(secret: &Secret) -> Option<&str> {
    let annotations = secret.metadata.annotations.as_ref()?;
    annotations.get(ACCOUNT_NAME).map(String::as_str).filter(|name| !name.is_empty())
}

pub(super) fn step(secret: &Secret, account: Option<&ServiceAccount>, root_ca: &str) -> Step {
    let Some(name) = account_of(secret).filter(|_| secret.type_.as_deref() == Some(TYPE)) else {
        return Step::Leave;
    };
    if secret.metadata.deletion_timestamp.is_some() {
        return Step::Leave;
    }
    let uid = account.and_then(|account| account.metadata.uid.as_deref());
    let meant = secret.metadata.annotations.iter().flatten().find(|(key, _)| *key == ACCOUNT_UID);
    let Some(uid) = uid.filter(|uid| meant.is_none_or(|(_, meant)| meant == uid)) else {
        return Step::Delete;
    };
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();

    let mut filled = secret.clone();
    filled.metadata.annotations.get_or_insert_default().insert(ACCOUNT_UID.to_owned(), uid.to_owned());
    let data = filled.data.get_or_insert_default();
    set(data, "ca.crt", root_ca.as_bytes());
    set(data, "namespace", namespace.as_bytes());
    let has_token = data.get("token").is_some_and(|token| !token.0.is_empty());
    if has_token && filled == *secret {
        return Step::Leave;
    }
    let token = (!has_token).then(|| Claims {
        iss: ISSUER,
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        secret: secret.metadata.name.clone().unwrap_or_default(),
        account: name.to_owned(),
        uid: uid.to_owned(),
        namespace,
    });
    Step::Fill { secret: Box::new(filled), token }
}

/// The Secret with its token.
pub(super) fn with_token(mut secret: Secret, token: &str) -> Secret {
    set(secret.data.get_or_insert_default(), "token", token.as_bytes());
    secret
}

fn set(data: &mut BTreeMap<String, ByteString>, key: &str, value: &[u8]) {
    data.insert(key.to_owned(), ByteString(value.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::ObjectMeta;

    fn secret(uid: Option<&str>) -> Secret {
        let mut annotations = BTreeMap::from([(ACCOUNT_NAME.to_owned(), "s".to_owned())]);
        annotations.extend(uid.map(|uid| (ACCOUNT_UID.to_owned(), uid.to_owned())));
        Secret {
            metadata: ObjectMeta {
                name: Some("kept".to_owned()),
                namespace: Some("n".to_owned()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            ..Secret::default()
        }
    }

    fn account(uid: &str) -> ServiceAccount {
        let metadata = ObjectMeta { uid: Some(uid.to_owned()), ..ObjectMeta::default() };
        ServiceAccount { metadata, ..ServiceAccount::default() }
    }

    #[test]
    fn a_secret_is_filled_once_and_goes_with_its_account() {
        let Step::Fill { secret: filled, token: Some(claims) } =
            step(&secret(None), Some(&account("u")), "CA")
        else {
            panic!("expected a token")
        };
        assert_eq!((&*claims.sub, &*claims.secret, &*claims.uid), ("system:serviceaccount:n:s", "kept", "u"));
        let done = with_token(*filled, "t");
        assert_eq!(done.data.as_ref().map(BTreeMap::len), Some(3));
        assert_eq!(step(&done, Some(&account("u")), "CA"), Step::Leave);
        // Another authority: the same token.
        assert!(matches!(step(&done, Some(&account("u")), "CB"), Step::Fill { token: None, .. }));
        // Another account of the same name, and none.
        assert_eq!(step(&done, Some(&account("v")), "CA"), Step::Delete);
        assert_eq!(step(&done, None, "CA"), Step::Delete);
        let other = Secret { type_: Some("Opaque".to_owned()), ..secret(None) };
        assert_eq!(step(&other, None, "CA"), Step::Leave);
    }
}
