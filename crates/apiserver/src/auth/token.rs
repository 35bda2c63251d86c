//! Service account tokens: signed by this server, checked against the objects that they are bound to.
//!
//! **Contract**: a token is good while its signature, issuer, audience and dates are, *and* its service account (and
//! pod, node or secret, if bound to one) still exists with the same uid.
//! **Not here**: who may ask for a token (`subresources::token`).
//! **Upstream**: `pkg/serviceaccount` (`claims.go`, `jwt.go`).

use super::UserInfo;
use crate::admission::Lookup;
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyOperations, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

const PREFIX: &str = "system:serviceaccount:";
const GROUP_ALL: &str = "system:serviceaccounts";
/// How long a token outlives the deletion of what it is bound to (upstream's leeway).
const DELETION_LEEWAY_SECONDS: i64 = 60;

/// Why a token cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The signing key is not a P-256 key in PKCS#8.
    #[error("cannot use the key for service account tokens")]
    Key(#[source] jsonwebtoken::errors::Error),
    /// Signing failed.
    #[error("cannot sign a token")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// The signature, or the form, is wrong.
    #[error("token is not signed by this server")]
    Signature(#[source] jsonwebtoken::errors::Error),
    /// Issuer, audience, dates or what it is bound to do not fit.
    #[error("{0}")]
    Rejected(&'static str),
}

/// An object that a token names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
}

/// The private claims, under `kubernetes.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    /// Namespace of the service account.
    pub namespace: String,
    /// The service account.
    pub serviceaccount: Reference,
    /// The pod that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The node that it is bound to, or that its pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
}

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is meant.
    pub aud: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Its own identity.
    #[serde(default)]
    pub jti: String,
    /// From when on it is good.
    pub nbf: i64,
    /// `system:serviceaccount:ns:name`
    pub sub: String,
    /// What is Kubernetes' own.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Private,
}

/// Makes and checks the tokens of one cluster.
pub struct Tokens {
    issuer: String,
    header: Header,
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
    keys: JwkSet,
}

impl Tokens {
    /// With the cluster's signing key (PEM, PKCS#8, P-256).
    pub fn new(issuer: &str, key_pem: &str) -> Result<Self, TokenError> {
        let signing = EncodingKey::from_ec_pem(key_pem.as_bytes()).map_err(TokenError::Key)?;
        let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::ES256).map_err(TokenError::Key)?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(TokenError::Key)?;
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_operations = None::<Vec<KeyOperations>>;
        jwk.common.key_id = Some(id.clone());
        let checking = DecodingKey::from_jwk(&jwk).map_err(TokenError::Key)?;
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(id);
        let mut validation = Validation::new(Algorithm::ES256);
        // Dates and audiences are checked below, against the cluster's own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Ok(Self {
            issuer: issuer.to_owned(),
            header,
            signing,
            checking,
            validation,
            keys: JwkSet { keys: vec![jwk] },
        })
    }

    /// The issuer, which is also the audience of tokens for this server.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public keys, as `/openid/v1/jwks` serves them.
    pub fn keys(&self) -> &JwkSet {
        &self.keys
    }

    /// Signs claims, with our issuer.
    pub fn sign(&self, claims: Claims) -> Result<String, TokenError> {
        let claims = Claims { iss: self.issuer.clone(), ..claims };
        jsonwebtoken::encode(&self.header, &claims, &self.signing).map_err(TokenError::Sign)
    }

    /// Whether the token was signed by somebody who calls himself us; others' tokens are none of our business.
    pub fn is_ours(&self, token: &str) -> bool {
        jsonwebtoken::dangerous::insecure_decode_claims::<Value>(token)
            .is_ok_and(|c| c["iss"] == self.issuer.as_str())
    }

    /// Checks a token for one of these audiences; returns who it is and the audiences that fit.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
        lookup: &dyn Lookup,
    ) -> Result<(UserInfo, Vec<String>), TokenError> {
        let data = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation);
        let claims = data.map_err(TokenError::Signature)?.claims;
        if claims.iss != self.issuer {
            return Err(TokenError::Rejected("wrong issuer"));
        }
        if claims.exp < now.as_second() {
            return Err(TokenError::Rejected("token has expired"));
        }
        if claims.nbf > now.as_second() + DELETION_LEEWAY_SECONDS {
            return Err(TokenError::Rejected("token is not valid yet"));
        }
        let fitting: Vec<String> = claims.aud.iter().filter(|a| audiences.contains(a)).cloned().collect();
        if fitting.is_empty() {
            return Err(TokenError::Rejected("token is for another audience"));
        }
        let private = &claims.kubernetes;
        if claims.sub != user_name(&private.namespace, &private.serviceaccount.name) {
            return Err(TokenError::Rejected("subject and private claims differ"));
        }
        let bound = [
            (Some(&private.serviceaccount), "serviceaccounts", private.namespace.as_str()),
            (private.secret.as_ref(), "secrets", private.namespace.as_str()),
            (private.pod.as_ref(), "pods", private.namespace.as_str()),
            // A pod's node is told for information; only a token that is bound to the node dies with it.
            (private.node.as_ref().filter(|_| private.pod.is_none()), "nodes", ""),
        ];
        for (reference, plural, namespace) in bound {
            if let Some(reference) = reference
                && !exists(reference, lookup.get("", plural, namespace, &reference.name).as_deref(), now)
            {
                return Err(TokenError::Rejected("what the token is bound to is gone"));
            }
        }
        Ok((user(&claims), fitting))
    }
}

fn exists(reference: &Reference, object: Option<&Value>, now: Timestamp) -> bool {
    let Some(metadata) = object.map(|o| &o["metadata"]) else { return false };
    let deleted = metadata["deletionTimestamp"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    metadata["uid"] == reference.uid.as_str()
        && deleted.is_none_or(|t| t.as_second() >= now.as_second() - DELETION_LEEWAY_SECONDS)
}

/// `system:serviceaccount:ns:name`
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{PREFIX}{namespace}:{name}")
}

/// Namespace and name of a service account, if the user name is one's.
pub fn split_user_name(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix(PREFIX)?.split_once(':').filter(|(ns, name)| !ns.is_empty() && !name.is_empty())
}

/// The groups of a service account.
pub fn groups(namespace: &str) -> [String; 2] {
    [GROUP_ALL.to_owned(), format!("{GROUP_ALL}:{namespace}")]
}

fn user(claims: &Claims) -> UserInfo {
    let private = &claims.kubernetes;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    if !claims.jti.is_empty() {
        add("credential-id", &format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &private.pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = &private.node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    UserInfo {
        uid: private.serviceaccount.uid.clone(),
        extra,
        ..UserInfo::authenticated(claims.sub.clone(), groups(&private.namespace))
    }
}
