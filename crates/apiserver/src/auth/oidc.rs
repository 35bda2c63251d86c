//! Identity tokens of another issuer (OpenID Connect): signed by its keys, mapped to a user as configured.
//!
//! **Contract**: the issuer's keys are fetched when the first of its tokens comes, and again when one names a key that is
//! not known, but not more often than every so many seconds.
//! **Upstream**: `k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`.

use super::UserInfo;
use crate::cel::{self, Budget, Compiled, Context, STEPS_PER_EXPRESSION};
use crate::outbound::Outbound;
use bytes::Bytes;
use component_base::Clock;
use component_base::logging::Chain;
use jiff::Timestamp;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Upstream's client has the same.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two fetches of keys.
const FETCH_PAUSE: Duration = Duration::from_secs(10);

/// One issuer, as configured.
#[derive(Debug)]
pub(super) struct IssuerConfig {
    /// `iss` of its tokens, and where its keys are found.
    pub(super) url: String,
    /// Where its configuration is found, if not below `url`.
    pub(super) discovery_url: Option<String>,
    /// For whom tokens must be meant: one of these.
    pub(super) audiences: Vec<String>,
    /// Claims with the values that they must have.
    pub(super) required: Vec<(String, String)>,
    /// What must hold of `claims`.
    pub(super) claim_rules: Vec<Rule>,
    /// Where the name comes from.
    pub(super) username: Source,
    /// Where the groups come from, if from anywhere.
    pub(super) groups: Option<Source>,
    /// Where the uid comes from, if from anywhere.
    pub(super) uid: Option<Source>,
    /// Keys and values of what else is known.
    pub(super) extra: Vec<(String, Compiled)>,
    /// What must hold of `user`.
    pub(super) user_rules: Vec<Rule>,
    /// Signatures that are accepted.
    pub(super) algorithms: Vec<Algorithm>,
}

/// A claim and what is put before its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapping {
    pub(super) claim: String,
    pub(super) prefix: String,
}

/// Where a fact about a user comes from.
#[derive(Debug)]
pub(super) enum Source {
    Claim(Mapping),
    /// Of `claims`.
    Expression(Compiled),
}

/// An expression that must hold, and what is said if it does not.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) expression: Compiled,
    pub(super) message: String,
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
        let about = variable("claims", claims);
        check(&config.claim_rules, &about)
            .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
        let name = name(&config.username, claims, &about)?;
        let groups = match &config.groups {
            None => Vec::new(),
            Some(Source::Claim(groups)) => {
                let names = texts(&claims[groups.claim.as_str()]);
                names.into_iter().map(|name| format!("{}{name}", groups.prefix)).collect()
            }
            Some(Source::Expression(groups)) => list(groups, &about)
                .map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))?,
        };
        let uid = match &config.uid {
            None => String::new(),
            Some(Source::Claim(uid)) => {
                let value = claims[uid.claim.as_str()].as_str();
                value
                    .ok_or_else(|| format!("oidc: error getting uid: claim {:?} not present", uid.claim))?
                    .to_owned()
            }
            Some(Source::Expression(uid)) => one(uid, &about, "uid")?,
        };
        let mut extra = BTreeMap::new();
        for (key, value) in &config.extra {
            let values = list(value, &about);
            let values =
                values.map_err(|why| format!("oidc: error evaluating extra claim expression: {why}"))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        if !config.user_rules.is_empty() {
            let user = json!({ "username": name, "uid": uid, "groups": groups, "extra": extra });
            check(&config.user_rules, &variable("user", &user))
                .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
        }
        Ok(UserInfo { uid, extra, ..UserInfo::authenticated(name, groups) })
    }
}

fn name(source: &Source, claims: &Value, about: &Context<'_>) -> Result<String, String> {
    let mapping = match source {
        Source::Claim(mapping) => mapping,
        Source::Expression(expression) => {
            let name = one(expression, about, "username")?;
            let given = !name.is_empty();
            return given
                .then_some(name)
                .ok_or_else(|| "oidc: empty username via CEL expression is not allowed".to_owned());
        }
    };
    let claim = mapping.claim.as_str();
    let name = claims[claim].as_str();
    let name = name.ok_or_else(|| format!("oidc: parse username claims {claim:?}: claim not present"))?;
    if claim == "email" && claims["email_verified"].as_bool() == Some(false) {
        return Err("oidc: email not verified".to_owned());
    }
    if name.is_empty() {
        return Err("oidc: username is empty".to_owned());
    }
    Ok(format!("{}{name}", mapping.prefix))
}

/// A context with one variable.
fn variable(name: &str, value: &Value) -> Context<'static> {
    let mut context = cel::context();
    context.add_variable_from_value(name, cel::from_json(value));
    context
}

fn evaluate(expression: &Compiled, about: &Context<'_>) -> Result<cel::Value, String> {
    expression.evaluate(about, &Budget::new(STEPS_PER_EXPRESSION))
}

/// The text that an expression gives.
fn one(expression: &Compiled, about: &Context<'_>, what: &str) -> Result<String, String> {
    let text = match evaluate(expression, about) {
        Ok(cel::Value::String(text)) => Ok(text.to_string()),
        Ok(_) => Err(format!("{what} claim expression must return a string")),
        Err(why) => Err(why),
    };
    text.map_err(|why| format!("oidc: error evaluating {what} claim expression: {why}"))
}

/// The texts that an expression gives: one, several, or none for an empty one and for nothing.
fn list(expression: &Compiled, about: &Context<'_>) -> Result<Vec<String>, String> {
    match cel::to_json(&evaluate(expression, about)?) {
        Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::Array(several)) if !several.iter().all(Value::is_string) => {
            Err("expression must return a string or a list of strings".to_owned())
        }
        Some(value @ (Value::String(_) | Value::Array(_))) => Ok(texts(&value)),
        _ => Err("expression must return a string or a list of strings".to_owned()),
    }
}

fn check(rules: &[Rule], about: &Context<'_>) -> Result<(), String> {
    for rule in rules {
        match evaluate(&rule.expression, about)? {
            cel::Value::Bool(true) => {}
            cel::Value::Bool(false) => {
                let source = &rule.expression.source;
                return Err(format!("validation expression '{source}' failed: {}", rule.message));
            }
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
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
