//! Identity tokens of another issuer (OpenID Connect): signed by its keys, mapped to a user as configured.
//!
//! **Contract**: the issuer's keys are fetched when the first of its tokens comes, and again when one names a key that is
//! not known, but not more often than every so many seconds. Expressions (CEL) are refused when the configuration is read.
//! **Upstream**: `k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`.

use super::UserInfo;
use crate::outbound::Outbound;
use bytes::Bytes;
use component_base::Clock;
use component_base::logging::Chain;
use jiff::Timestamp;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Upstream's client has the same.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two fetches of keys.
const FETCH_PAUSE: Duration = Duration::from_secs(10);

/// One issuer, as configured.
#[derive(Clone, Debug)]
pub(super) struct IssuerConfig {
    /// `iss` of its tokens, and where its keys are found.
    pub(super) url: String,
    /// Where its configuration is found, if not below `url`.
    pub(super) discovery_url: Option<String>,
    /// For whom tokens must be meant: one of these.
    pub(super) audiences: Vec<String>,
    /// Claims with the values that they must have.
    pub(super) required: Vec<(String, String)>,
    /// The claim with the name.
    pub(super) username: Mapping,
    /// The claim with the groups, if any.
    pub(super) groups: Option<Mapping>,
    /// The claim with the uid, if any.
    pub(super) uid: Option<String>,
    /// Signatures that are accepted.
    pub(super) algorithms: Vec<Algorithm>,
}

/// A claim and what is put before its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapping {
    pub(super) claim: String,
    pub(super) prefix: String,
}

/// One issuer.
pub(crate) struct Issuer {
    config: IssuerConfig,
    outbound: Outbound,
    clock: Clock,
    keys: Mutex<Option<(Instant, Arc<JwkSet>)>>,
}

impl Issuer {
    pub(super) fn new(config: IssuerConfig, outbound: Outbound, clock: Clock) -> Self {
        Self { config, outbound, clock, keys: Mutex::default() }
    }

    /// Who presents the token; `None` if it is not this issuer's.
    pub(super) async fn identity(&self, token: &str, now: Timestamp) -> Result<Option<UserInfo>, String> {
        let claimed = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(token);
        if claimed.is_ok_and(|claims| claims["iss"] != self.config.url.as_str()) {
            return Ok(None);
        }
        let Ok(header) = jsonwebtoken::decode_header(token) else { return Ok(None) };
        if !self.config.algorithms.contains(&header.alg) {
            return Err(format!("oidc: verify token: unexpected signature algorithm {:?}", header.alg));
        }
        let mut keys = self.keys(None).await?;
        if header.kid.as_deref().is_some_and(|kid| keys.find(kid).is_none()) {
            keys = self.keys(Some(&keys)).await?;
        }
        let claims = verified(token, &header, &keys)
            .ok_or("oidc: verify token: failed to verify signature: failed to verify id token signature")?;
        self.user(&claims, now).map(Some)
    }

    /// The issuer's keys; newer ones than `old`, if it was allowed to ask.
    async fn keys(&self, old: Option<&Arc<JwkSet>>) -> Result<Arc<JwkSet>, String> {
        let mut keys = self.keys.lock().await;
        let now = self.clock.instant();
        if let Some((since, known)) = &*keys
            && (old.is_none_or(|old| !Arc::ptr_eq(old, known)) || now < *since + FETCH_PAUSE)
        {
            return Ok(Arc::clone(known));
        }
        let fetched = Arc::new(self.fetch().await.map_err(|why| format!("oidc: fetching keys: {why}"))?);
        *keys = Some((now, Arc::clone(&fetched)));
        Ok(fetched)
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let config = &self.config;
        let below = || format!("{}/.well-known/openid-configuration", config.url.trim_end_matches('/'));
        let discovery = self.read(&config.discovery_url.clone().unwrap_or_else(below)).await?;
        let discovery: Value = serde_json::from_slice(&discovery).map_err(|error| error.to_string())?;
        if discovery["issuer"] != config.url.as_str() {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {}",
                config.url, discovery["issuer"]
            ));
        }
        let at = discovery["jwks_uri"].as_str().ok_or("there is no jwks_uri")?;
        let keys = self.read(at).await?;
        serde_json::from_slice(&keys).map_err(|error| error.to_string())
    }

    async fn read(&self, address: &str) -> Result<Bytes, String> {
        let request = http::Request::get(address);
        let answer = self.outbound.send(request, Bytes::new(), TIMEOUT).await;
        let answer = answer.map_err(|error| Chain(&error).to_string())?;
        if answer.code == 200 { Ok(answer.body) } else { Err(format!("{address} answers {}", answer.code)) }
    }

    /// The user of claims whose signature is good.
    fn user(&self, claims: &Value, now: Timestamp) -> Result<UserInfo, String> {
        let config = &self.config;
        let second = |claim: &str| claims[claim].as_f64();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
        let now = now.as_second() as f64;
        match second("exp") {
            Some(end) if end > now => {}
            _ => return Err("oidc: verify token: oidc: token is expired".to_owned()),
        }
        if second("nbf").is_some_and(|from| from > now + 300.0) {
            return Err("oidc: verify token: oidc: current time before the nbf (not before) time".to_owned());
        }
        let audiences = texts(&claims["aud"]);
        if !config.audiences.iter().any(|audience| audiences.contains(audience)) {
            return Err(format!(
                "oidc: verify token: oidc: expected audience {:?} got {audiences:?}",
                config.audiences
            ));
        }
        for (claim, value) in &config.required {
            match claims[claim.as_str()].as_str() {
                None => return Err(format!("oidc: required claim {claim} not present in ID token")),
                Some(found) if found == value => {}
                Some(found) => {
                    return Err(format!(
                        "oidc: required claim {claim} value does not match. Got = {found}, want = {value}"
                    ));
                }
            }
        }
        let claim = &config.username.claim;
        let name = claims[claim.as_str()].as_str();
        let name = name.ok_or_else(|| format!("oidc: parse username claims {claim:?}: claim not present"))?;
        if claim == "email" && claims["email_verified"].as_bool() == Some(false) {
            return Err("oidc: email not verified".to_owned());
        }
        if name.is_empty() {
            return Err("oidc: username is empty".to_owned());
        }
        let groups = config.groups.iter().flat_map(|groups| {
            let names = texts(&claims[groups.claim.as_str()]);
            names.into_iter().map(|name| format!("{}{name}", groups.prefix)).collect::<Vec<_>>()
        });
        let mut user = UserInfo::authenticated(format!("{}{name}", config.username.prefix), groups);
        if let Some(uid) = &config.uid {
            let value = claims[uid.as_str()].as_str();
            user.uid = value
                .ok_or_else(|| format!("oidc: error getting uid: claim {uid:?} not present"))?
                .to_owned();
        }
        Ok(user)
    }
}

/// The claims, if one of the keys has signed them.
fn verified(token: &str, header: &jsonwebtoken::Header, keys: &JwkSet) -> Option<Value> {
    let mut validation = Validation::new(header.alg);
    // Dates and audiences are checked against the cluster's own clock and configuration.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let fits = |id: Option<&String>| header.kid.is_none() || id == header.kid.as_ref();
    let candidates = keys.keys.iter().filter(|key| fits(key.common.key_id.as_ref()));
    candidates
        .filter_map(|key| DecodingKey::from_jwk(key).ok())
        .find_map(|key| jsonwebtoken::decode::<Value>(token, &key, &validation).ok().map(|data| data.claims))
}

/// A text, or several.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
