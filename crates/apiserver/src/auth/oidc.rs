//! Identity tokens of another issuer (OpenID Connect): signed by its keys, mapped to a user as configured.
//!
//! **Contract**: the issuer's keys are fetched when the first of its tokens comes, and again when one names a key that is
//! not known, but not more often than every so many seconds.
//! **Upstream**: `k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`.

use super::UserInfo;
use crate::cel::{self, Budget, Compiled, Context, STEPS_PER_EXPRESSION};
use crate::outbound::Outbound;
use api::golang::mistyped;
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
/// How far our clock may be behind an issuer's.
const NOT_BEFORE_LEEWAY: f64 = 300.0;
/// Which token it is, among what else is known about its user. **Upstream**: `user.CredentialIDKey`.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
const ABSENT: &str = "claim not present";
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
        if claimed.is_ok_and(|claims| issuer_of(&claims) != self.config.url) {
            return Ok(None);
        }
        let Ok(header) = jsonwebtoken::decode_header(token) else { return Ok(None) };
        if !self.config.algorithms.contains(&header.alg) {
            return Err(format!("oidc: verify token: unexpected signature algorithm {:?}", header.alg));
        }
        let unready = |why| {
            tracing::warn!(issuer = self.config.url, "oidc authenticator: {why}");
            "oidc: authenticator not initialized".to_owned()
        };
        let mut keys = self.keys(None).await.map_err(unready)?;
        if header.kid.as_deref().is_some_and(|kid| keys.find(kid).is_none()) {
            keys = self.keys(Some(&keys)).await.map_err(|why| format!("oidc: verify token: {why}"))?;
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
        check_validity(claims, &config.audiences, now).map_err(|why| format!("oidc: verify token: {why}"))?;
        let about = variable("claims", claims);
        let name = name(&config.username, claims, &about)?;
        let groups = match &config.groups {
            None => Vec::new(),
            Some(Source::Claim(groups)) => {
                let names = claimed_groups(&claims[groups.claim.as_str()])
                    .map_err(|why| format!("oidc: parse groups claim {:?}: {why}", groups.claim))?;
                names.into_iter().map(|name| format!("{}{name}", groups.prefix)).collect()
            }
            Some(Source::Expression(groups)) => list(groups, &about)
                .map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))?,
        };
        let uid = match &config.uid {
            None => String::new(),
            Some(Source::Claim(uid)) => text_of(claims, &uid.claim)
                .map_err(|why| format!("oidc: parse uid claim {:?}: {why}", uid.claim))?,
            Some(Source::Expression(uid)) => one(uid, &about, "uid")?,
        };
        let mut extra = BTreeMap::new();
        if let Some(id) = claims["jti"].as_str().filter(|id| !id.is_empty()) {
            extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, value) in &config.extra {
            let values = list(value, &about).map_err(|why| {
                format!("oidc: error evaluating extra claim expression: {}: {why}", value.source)
            })?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        for (claim, value) in &config.required {
            match text_of(claims, claim) {
                Ok(found) if found == *value => {}
                Ok(found) => {
                    return Err(format!(
                        "oidc: required claim {claim} value does not match. Got = {found}, want = {value}"
                    ));
                }
                Err(why) if why == ABSENT => {
                    return Err(format!("oidc: required claim {claim} not present in ID token"));
                }
                Err(why) => return Err(format!("oidc: parse claim {claim}: {why}")),
            }
        }
        check(&config.claim_rules, &about)
            .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
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
    let name =
        text_of(claims, claim).map_err(|why| format!("oidc: parse username claims {claim:?}: {why}"))?;
    if claim == "email" {
        match &claims["email_verified"] {
            Value::Null | Value::Bool(true) => {}
            Value::Bool(false) => return Err("oidc: email not verified".to_owned()),
            other => {
                let why = mistyped(other, "bool");
                return Err(format!("oidc: parse 'email_verified' claim: {why}"));
            }
        }
    }
    if name.is_empty() {
        return Err("oidc: username is empty".to_owned());
    }
    Ok(format!("{}{name}", mapping.prefix))
}

/// Whether the token is for us, and for now.
fn check_validity(claims: &Value, audiences: &[String], now: Timestamp) -> Result<(), String> {
    let second = |claim: &str| claims[claim].as_f64();
    let time = |second: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "a time that is too far away is the last one")]
        let time = Timestamp::from_second(second as i64).unwrap_or(Timestamp::MAX);
        time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
    let now = now.as_second() as f64;
    let told = texts(&claims["aud"]);
    if !audiences.iter().any(|audience| told.contains(audience)) {
        let told = quoted(&told);
        return Err(match audiences {
            [one] => format!("oidc: expected audience {one:?} got {told}"),
            several => format!("oidc: expected audience in {} got {told}", quoted(several)),
        });
    }
    let end = second("exp").unwrap_or_default();
    if end <= now {
        return Err(format!("oidc: token is expired (Token Expiry: {})", time(end)));
    }
    match second("nbf") {
        Some(from) if from > now + NOT_BEFORE_LEEWAY => {
            let (now, from) = (time(now), time(from));
            Err(format!("oidc: current time {now} before the nbf (not before) time: {from}"))
        }
        _ => Ok(()),
    }
}

/// Texts as Go prints a list of them, quoted.
fn quoted(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "))
}

/// The text of a claim.
fn text_of(claims: &Value, claim: &str) -> Result<String, String> {
    match claims.get(claim) {
        None => Err(ABSENT.to_owned()),
        Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(mistyped(other, "string")),
    }
}

/// Groups are a list of texts, or a single one.
fn claimed_groups(claim: &Value) -> Result<Vec<String>, String> {
    match claim {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) if list.iter().all(Value::is_string) => Ok(texts(claim)),
        Value::String(_) => Ok(texts(claim)),
        other => Err(mistyped(other, "string")),
    }
}

/// Whose token the claims say that it is. Google's say it in two ways.
fn issuer_of(claims: &Value) -> &str {
    match claims["iss"].as_str().unwrap_or_default() {
        "accounts.google.com" => "https://accounts.google.com",
        issuer => issuer,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(username: &str) -> Issuer {
        let claim = |claim: &str| Source::Claim(Mapping { claim: claim.to_owned(), prefix: "p:".to_owned() });
        let config = IssuerConfig {
            url: "https://a".to_owned(),
            discovery_url: None,
            audiences: vec!["us".to_owned()],
            required: vec![("team".to_owned(), "a".to_owned())],
            claim_rules: Vec::new(),
            username: claim(username),
            groups: Some(claim("roles")),
            uid: Some(Source::Claim(Mapping { claim: "id".to_owned(), prefix: String::new() })),
            extra: Vec::new(),
            user_rules: Vec::new(),
            algorithms: Vec::new(),
        };
        let outbound = Outbound::new(&crate::outbound::TlsOptions { insecure: true, ..Default::default() });
        Issuer::new(config, outbound.unwrap(), Clock::simulated())
    }

    #[test]
    fn claims_become_a_user_or_upstreams_words_say_why_not() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let claims = json!({
            "aud": ["them", "us"], "exp": 1_000_001, "sub": "jane", "email": "j@x", "roles": "dev", "id": "7",
            "team": "a", "jti": "t1",
        });
        let user = issuer("sub").user(&claims, now).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("p:jane", "7"));
        assert_eq!(user.groups, ["p:dev", "system:authenticated"]);
        assert_eq!(user.extra[CREDENTIAL_ID], ["JTI=t1"]);
        assert_eq!(issuer("email").user(&claims, now).unwrap().name, "p:j@x");
        let number = "json: cannot unmarshal number into Go value of type string";
        for (username, claim, value, why) in [
            (
                "sub",
                "aud",
                json!("them"),
                "oidc: verify token: oidc: expected audience \"us\" got [\"them\"]",
            ),
            (
                "sub",
                "exp",
                json!(1_000_000),
                "oidc: verify token: oidc: token is expired (Token Expiry: 1970-01-12 13:46:40 +0000 UTC)",
            ),
            (
                "sub",
                "nbf",
                json!(1_000_301),
                "oidc: verify token: oidc: current time 1970-01-12 13:46:40 +0000 UTC before the nbf (not before) time: 1970-01-12 13:51:41 +0000 UTC",
            ),
            ("sub", "sub", json!(1), &format!("oidc: parse username claims \"sub\": {number}")),
            ("none", "x", json!(1), "oidc: parse username claims \"none\": claim not present"),
            ("email", "email_verified", json!(false), "oidc: email not verified"),
            (
                "email",
                "email_verified",
                json!("true"),
                "oidc: parse 'email_verified' claim: json: cannot unmarshal string into Go value of type bool",
            ),
            ("sub", "roles", json!(1), &format!("oidc: parse groups claim \"roles\": {number}")),
            (
                "sub",
                "roles",
                json!(["a", 1]),
                "oidc: parse groups claim \"roles\": json: cannot unmarshal array into Go value of type string",
            ),
            ("sub", "id", json!(1), &format!("oidc: parse uid claim \"id\": {number}")),
            ("sub", "team", json!("b"), "oidc: required claim team value does not match. Got = b, want = a"),
            ("sub", "team", json!(1), &format!("oidc: parse claim team: {number}")),
        ] {
            let mut claims = claims.clone();
            claims[claim] = value;
            assert_eq!(issuer(username).user(&claims, now).unwrap_err(), why, "{claim}");
        }
    }

    #[test]
    fn google_has_two_names() {
        for (iss, issuer) in
            [("accounts.google.com", "https://accounts.google.com"), ("https://a", "https://a"), ("", "")]
        {
            assert_eq!(issuer_of(&json!({ "iss": iss })), issuer);
        }
    }
}
