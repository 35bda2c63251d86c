//! Service account tokens: signed by this server, checked against the objects that they are bound to.
//!
//! **Contract**: a token is good while its signature, issuer, audience and dates are, *and* its service account (and
//! pod, node or secret, if bound to one) still exists with the same uid.
//! **Not here**: who may ask for a token (`subresources::token`); tokens that are kept in Secrets (`legacy_token`).
//! **Upstream**: `pkg/serviceaccount` (`claims.go`, `jwt.go`).

use super::objects::Objects;
use super::token_metrics::TokenMetrics;
use super::{UserInfo, legacy_token};
use crate::audit::annotate;
use component_base::Metrics;
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyOperations, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PREFIX: &str = "system:serviceaccount:";
const GROUP_ALL: &str = "system:serviceaccounts";
/// How long a token outlives the deletion of what it is bound to (upstream's leeway).
const DELETION_LEEWAY_SECONDS: i64 = 60;
/// Kinds of objects that a token can be bound to.
const BOUND: usize = 4;
/// Tokens that are remembered as checked.
const KNOWN_MOST: usize = 4096;

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
    /// The same, with names.
    #[error("{0}")]
    Refused(String),
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
    /// When whoever presents it is to be warned, in seconds since 1970: the token was asked for until then, and lives
    /// longer for the sake of clients that do not read it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// A token whose signature was checked before, and the revisions at which what it is bound to was looked at.
struct Known {
    claims: Claims,
    seen: Mutex<[Option<u64>; BOUND]>,
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
    known: Mutex<HashMap<[u8; 32], Arc<Known>>>,
    metrics: TokenMetrics,
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
            known: Mutex::default(),
            metrics: TokenMetrics::default(),
        })
    }

    /// The same, counting in these metrics.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        Self { metrics: TokenMetrics::register(metrics), ..self }
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

    /// Signs a token that is kept in a Secret (`kubernetes.io/service-account-token`).
    pub fn sign_legacy(
        &self,
        namespace: &str,
        account: &Reference,
        secret: &str,
    ) -> Result<String, TokenError> {
        let claims = legacy_token::Claims::new(namespace, account, secret);
        jsonwebtoken::encode(&self.header, &claims, &self.signing).map_err(TokenError::Sign)
    }

    /// Whether the token was signed by somebody who calls himself us; others' tokens are none of our business.
    pub fn is_ours(&self, token: &str) -> bool {
        issuer_of(token).is_some_and(|issuer| issuer == self.issuer || issuer == legacy_token::ISSUER)
    }

    /// The claims of a token that we have signed.
    fn known(&self, token: &str) -> Result<Arc<Known>, TokenError> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = lock(&self.known).get(&key) {
            return Ok(Arc::clone(known));
        }
        let data = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation);
        let known =
            Arc::new(Known { claims: data.map_err(TokenError::Signature)?.claims, seen: Mutex::default() });
        let mut all = lock(&self.known);
        if all.len() >= KNOWN_MOST {
            all.clear();
        }
        all.insert(key, Arc::clone(&known));
        Ok(known)
    }

    /// Whether it is one that is kept in a Secret (`legacy_token`).
    pub(super) fn is_legacy(&self, token: &str) -> bool {
        issuer_of(token).is_some_and(|issuer| issuer == legacy_token::ISSUER)
    }

    /// What a token of a Secret says, if we have signed it.
    pub(super) fn legacy_claims(&self, token: &str) -> Result<legacy_token::Claims, TokenError> {
        let data = jsonwebtoken::decode::<legacy_token::Claims>(token, &self.checking, &self.validation);
        Ok(data.map_err(TokenError::Signature)?.claims)
    }

    /// What is counted of tokens.
    pub(super) fn metrics(&self) -> &TokenMetrics {
        &self.metrics
    }

    /// Checks a token for one of these audiences; returns who it is and the audiences that fit.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
        objects: &dyn Objects,
    ) -> Result<(UserInfo, Vec<String>), TokenError> {
        let known = self.known(token)?;
        let claims = &known.claims;
        if claims.iss != self.issuer {
            return Err(TokenError::Rejected("wrong issuer"));
        }
        if claims.exp < now.as_second() {
            return Err(TokenError::Rejected("service account token has expired"));
        }
        if claims.nbf > now.as_second() + DELETION_LEEWAY_SECONDS {
            return Err(TokenError::Rejected("service account token is not valid yet"));
        }
        let fitting: Vec<String> = claims.aud.iter().filter(|a| audiences.contains(a)).cloned().collect();
        if fitting.is_empty() {
            return Err(TokenError::Rejected("token audiences is invalid for the target audiences"));
        }
        let private = &claims.kubernetes;
        if claims.sub != user_name(&private.namespace, &private.serviceaccount.name) {
            return Err(TokenError::Rejected("subject and private claims differ"));
        }
        known.check_bound(now, objects)?;
        if let Some(warn) = private.warnafter {
            let late = now.as_second() - warn;
            if late > 0 {
                let told = format!("subject: {}, seconds after warning threshold: {late}", claims.sub);
                annotate("authentication.k8s.io/stale-token", told);
                self.metrics.stale.inc();
            } else {
                self.metrics.valid.inc();
            }
        }
        Ok((user(claims), fitting))
    }
}

impl Known {
    /// Whether what the token is bound to still exists. An object that has not changed is not looked at again.
    fn check_bound(&self, now: Timestamp, objects: &dyn Objects) -> Result<(), TokenError> {
        let private = &self.claims.kubernetes;
        let namespace = private.namespace.as_str();
        let bound: [_; BOUND] = [
            (Some(&private.serviceaccount), "serviceaccounts", namespace),
            (private.secret.as_ref(), "secrets", namespace),
            (private.pod.as_ref(), "pods", namespace),
            // A pod's node is told for information; only a token that is bound to the node dies with it.
            (private.node.as_ref().filter(|_| private.pod.is_none()), "nodes", ""),
        ];
        for (i, (reference, plural, namespace)) in bound.into_iter().enumerate() {
            let Some(reference) = reference else { continue };
            let revision = objects.revision_of("", plural, namespace, &reference.name);
            if revision.is_some() && lock(&self.seen)[i] == revision {
                continue;
            }
            let object = objects.get("", plural, namespace, &reference.name);
            if !exists(reference, object.as_deref(), now) {
                return Err(TokenError::Rejected("what the token is bound to is gone"));
            }
            // One that is about to go counts for a while only.
            let stays = object.is_some_and(|object| object["metadata"]["deletionTimestamp"].is_null());
            lock(&self.seen)[i] = revision.filter(|_| stays);
        }
        Ok(())
    }
}

/// Who says to have signed a token.
fn issuer_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(token).ok().map(|claims| claims.iss)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
