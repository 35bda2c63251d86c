//! Who is whom: tokens that are signed, tampered with, expired, bound; and who may act as somebody else.

use super::token::{Claims, Private, Reference, Tokens, user_name};
use super::*;
use crate::admission::Lookup;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use component_base::Clock;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const ISSUER: &str = "https://issuer";

/// Objects by plural and name.
struct Fake(Vec<(&'static str, Value)>);

impl Lookup for Fake {
    fn get(&self, _: &str, plural: &str, _: &str, name: &str) -> Option<Arc<Value>> {
        let found = self.0.iter().find(|(p, o)| *p == plural && o["metadata"]["name"] == name);
        found.map(|(_, object)| Arc::new(object.clone()))
    }
    fn list(&self, _: &str, _: &str, _: &str) -> Vec<Arc<Value>> {
        Vec::new()
    }
}

fn named(name: &str, uid: &str) -> Value {
    json!({ "metadata": { "name": name, "uid": uid } })
}

fn tokens() -> Tokens {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    Tokens::new(ISSUER, &key.serialize_pem()).unwrap()
}

fn claims() -> Claims {
    Claims {
        aud: vec![ISSUER.to_owned()],
        exp: 1000,
        sub: user_name("n", "s"),
        jti: "j".to_owned(),
        kubernetes: Private {
            namespace: "n".to_owned(),
            serviceaccount: Reference { name: "s".to_owned(), uid: "u1".to_owned() },
            pod: Some(Reference { name: "p".to_owned(), uid: "u2".to_owned() }),
            node: Some(Reference { name: "w".to_owned(), uid: "u3".to_owned() }),
            ..Private::default()
        },
        ..Claims::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_token_tells_whose_it_is() {
    let tokens = tokens();
    let cluster = Fake(vec![("serviceaccounts", named("s", "u1")), ("pods", named("p", "u2"))]);
    let token = tokens.sign(claims()).unwrap();
    assert!(tokens.is_ours(&token));
    let (user, audiences) = tokens.verify(&token, &[ISSUER.to_owned()], at(10), &cluster).unwrap();
    assert_eq!(user.name, "system:serviceaccount:n:s");
    assert_eq!(user.uid, "u1");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:n", GROUP_AUTHENTICATED]);
    for (key, value) in [
        ("pod-name", "p"),
        ("pod-uid", "u2"),
        ("node-name", "w"),
        ("node-uid", "u3"),
        ("credential-id", "JTI=j"),
    ] {
        assert_eq!(user.extra[&format!("authentication.kubernetes.io/{key}")], [value]);
    }
    assert_eq!(audiences, [ISSUER]);
}

#[test]
fn a_token_dies_with_time_audience_and_what_it_is_bound_to() {
    let tokens = tokens();
    let token = tokens.sign(claims()).unwrap();
    let good = || vec![("serviceaccounts", named("s", "u1")), ("pods", named("p", "u2"))];
    let going =
        json!({ "metadata": { "name": "p", "uid": "u2", "deletionTimestamp": "1970-01-01T00:00:01Z" } });
    let issuer = [ISSUER.to_owned()];
    let other = ["https://other".to_owned()];
    for (objects, audiences, now, accepted) in [
        (good(), &issuer, 1000, true),
        (good(), &issuer, 1001, false),
        (good(), &other, 10, false),
        (vec![("pods", named("p", "u2"))], &issuer, 10, false),
        (vec![("serviceaccounts", named("s", "again")), ("pods", named("p", "u2"))], &issuer, 10, false),
        (vec![("serviceaccounts", named("s", "u1"))], &issuer, 10, false),
        (vec![("serviceaccounts", named("s", "u1")), ("pods", going.clone())], &issuer, 30, true),
        (vec![("serviceaccounts", named("s", "u1")), ("pods", going)], &issuer, 90, false),
    ] {
        let result = tokens.verify(&token, audiences, at(now), &Fake(objects.clone()));
        assert_eq!(result.is_ok(), accepted, "{objects:?} at {now}");
    }
}

#[test]
fn a_changed_token_is_refused() {
    let tokens = tokens();
    let cluster = Fake(vec![("serviceaccounts", named("s", "u1")), ("pods", named("p", "u2"))]);
    let token = tokens.sign(claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut body: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        change(&mut body);
        format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(body.to_string()), parts[2])
    };
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let stranger = self::tokens().sign(claims()).unwrap();
    for token in [
        forged(&|body| body["exp"] = json!(9_999_999)),
        forged(&|body| body["sub"] = json!("system:serviceaccount:kube-system:admin")),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        stranger,
    ] {
        assert!(tokens.verify(&token, &[ISSUER.to_owned()], at(10), &cluster).is_err());
    }
}

fn bootstrap_secret(expiration: &str) -> Value {
    let encode = |text: &str| STANDARD.encode(text);
    json!({
        "metadata": { "name": "bootstrap-token-abcdef" },
        "type": "bootstrap.kubernetes.io/token",
        "data": {
            "token-id": encode("abcdef"),
            "token-secret": encode("0123456789abcdef"),
            "expiration": encode(expiration),
            "usage-bootstrap-authentication": encode("true"),
            "auth-extra-groups": encode("system:bootstrappers:worker"),
        },
    })
}

fn with_bearer(authenticator: &Authenticator, token: &str) -> Result<UserInfo, u16> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    authenticator.authenticate(None, &headers).map_err(|status| status.code)
}

#[test]
fn a_bootstrap_token_is_good_until_it_expires() {
    let authenticator = |expiration: &str| {
        let cluster = Fake(vec![("secrets", bootstrap_secret(expiration))]);
        Authenticator::new(Arc::new(tokens()), Arc::new(cluster), Clock::simulated())
    };
    let good = authenticator("2100-01-01T00:00:00Z");
    let user = with_bearer(&good, "abcdef.0123456789abcdef").unwrap();
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:worker", GROUP_AUTHENTICATED]);
    assert_eq!(with_bearer(&good, "abcdef.0123456789abcdee"), Err(401));
    assert_eq!(with_bearer(&good, "nonsense"), Err(401));
    let expired = authenticator("2000-01-01T00:00:00Z");
    assert_eq!(with_bearer(&expired, "abcdef.0123456789abcdef"), Err(401));
}

#[test]
fn a_connections_identity_comes_first_and_no_credential_is_nobody() {
    let authenticator = Authenticator::new(Arc::new(tokens()), Arc::new(Fake(vec![])), Clock::simulated());
    let jane = UserInfo::authenticated("jane", []);
    assert_eq!(authenticator.authenticate(Some(&jane), &HeaderMap::new()).unwrap(), jane);
    assert_eq!(authenticator.authenticate(None, &HeaderMap::new()).unwrap(), UserInfo::anonymous());
}

/// Lets one user act as one other.
struct MayImpersonate;

impl Authorizer for MayImpersonate {
    fn authorize(&self, action: &Action<'_>) -> Decision {
        let allowed = action.user.name == "root"
            && action.verb == "impersonate"
            && matches!(
                (action.resource, action.name),
                ("users", "jane") | ("serviceaccounts", "s") | ("groups", "dev")
            );
        Decision { allowed, ..Decision::default() }
    }
    fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<rbac::PolicyRule> {
        Vec::new()
    }
}

#[test]
fn acting_as_somebody_needs_the_right_to() {
    let act = |user: &str, pairs: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        impersonation::apply(UserInfo::authenticated(user, []), &mut headers, &MayImpersonate)
    };
    assert_eq!(act("root", &[]).unwrap().name, "root");
    let jane = act("root", &[("impersonate-user", "jane"), ("impersonate-group", "dev")]).unwrap();
    assert_eq!(
        (jane.name.as_str(), jane.groups),
        ("jane", vec!["dev".to_owned(), GROUP_AUTHENTICATED.to_owned()])
    );
    let account = act("root", &[("impersonate-user", "system:serviceaccount:n:s")]).unwrap();
    assert_eq!(account.groups, ["system:serviceaccounts", "system:serviceaccounts:n", GROUP_AUTHENTICATED]);
    assert_eq!(
        act("mallory", &[("impersonate-user", "jane")]).unwrap_err().message,
        r#"users "jane" is forbidden: User "mallory" cannot impersonate resource "users" in API group "" at the cluster scope"#
    );
    assert_eq!(
        act("root", &[("impersonate-user", "jane"), ("impersonate-group", "ops")]).unwrap_err().code,
        403
    );
    assert_eq!(act("root", &[("impersonate-group", "dev")]).unwrap_err().code, 500);
}
