//! Who is whom: tokens that are signed, tampered with, expired, bound; and who may act as somebody else.

use super::configuration::Authentication;
use super::token::{Claims, Private, Reference, Tokens, user_name};
use super::*;
use crate::admission::Lookup;
use crate::serve::Peer;
use api::status::Status;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use component_base::Clock;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const ISSUER: &str = "https://issuer";

/// Objects by plural and name.
#[derive(Clone)]
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

#[async_trait]
impl Objects for Fake {
    fn revision_of(&self, _: &str, _: &str, _: &str, _: &str) -> Option<u64> {
        None
    }
    fn pods_on(&self, _: &str, _: &str) -> Vec<Arc<Value>> {
        Vec::new()
    }
    async fn label(&self, _: &str, _: &str, _: &Reference, _: (&str, &str)) -> Result<(), Status> {
        Ok(())
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

async fn with_bearer(authenticator: &Authenticator, token: &str) -> Result<Arc<UserInfo>, u16> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    let who = authenticator.authenticate(&Peer::default(), &mut headers, "/api", &mut Vec::new()).await;
    who.map_err(|status| status.code)
}

#[tokio::test]
async fn a_bootstrap_token_is_good_until_it_expires() {
    let authenticator = |expiration: &str| {
        let cluster = Fake(vec![("secrets", bootstrap_secret(expiration))]);
        Authenticator::new(
            Arc::new(tokens()),
            Arc::new(cluster),
            Clock::simulated(),
            Authentication::default(),
        )
    };
    let good = authenticator("2100-01-01T00:00:00Z");
    let user = with_bearer(&good, "abcdef.0123456789abcdef").await.unwrap();
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:worker", GROUP_AUTHENTICATED]);
    assert_eq!(with_bearer(&good, "abcdef.0123456789abcdee").await, Err(401));
    assert_eq!(with_bearer(&good, "nonsense").await, Err(401));
    let expired = authenticator("2000-01-01T00:00:00Z");
    assert_eq!(with_bearer(&expired, "abcdef.0123456789abcdef").await, Err(401));
}

#[tokio::test]
async fn a_connections_identity_comes_first_and_no_credential_is_nobody() {
    let authenticator = Authenticator::new(
        Arc::new(tokens()),
        Arc::new(Fake(vec![])),
        Clock::simulated(),
        Authentication::default(),
    );
    let jane = UserInfo::authenticated("jane", []);
    let who = async |peer: &Peer| {
        authenticator.authenticate(peer, &mut HeaderMap::new(), "/api", &mut Vec::new()).await.unwrap()
    };
    assert_eq!(who(&Peer { identity: Some(jane.clone().into()), ..Peer::default() }).await, jane.into());
    assert_eq!(who(&Peer::default()).await, UserInfo::anonymous().into());
}

#[tokio::test]
async fn a_token_kept_in_a_secret_ends_with_the_secret() {
    let tokens = Arc::new(tokens());
    let account = Reference { name: "s".to_owned(), uid: "u1".to_owned() };
    let token = tokens.sign_legacy("n", &account, "kept").unwrap();
    let secret = |token: &str, labels: Value| json!({ "metadata": { "name": "kept", "labels": labels }, "data": { "token": STANDARD.encode(token) } });
    let check = async |objects: Vec<(&'static str, Value)>, audience: &str| {
        let (tokens, objects) = (Arc::clone(&tokens), Arc::new(Fake(objects)));
        let authenticator =
            Authenticator::new(tokens, objects, Clock::simulated(), Authentication::default());
        let mut warnings = Vec::new();
        let found = authenticator.identify(&token, &[audience.to_owned()], &mut warnings).await;
        found.map(|found| (found.unwrap().0.name, warnings))
    };
    let accounts = || ("serviceaccounts", named("s", "u1"));
    let good = ("secrets", secret(&token, json!({})));
    assert!(tokens.is_ours(&token));
    let (name, warnings) = check(vec![accounts(), good.clone()], ISSUER).await.unwrap();
    assert_eq!((name.as_str(), warnings), ("system:serviceaccount:n:s", vec![]));
    let mut owner = named("s", "u1");
    owner["secrets"] = json!([{ "name": "another" }, { "name": "kept" }]);
    let (_, warnings) = check(vec![("serviceaccounts", owner), good.clone()], ISSUER).await.unwrap();
    assert_eq!(
        warnings,
        [
            "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated \
          secret-based tokens."
        ]
    );
    assert!(check(vec![accounts(), good.clone()], "another").await.is_err());
    let invalid = json!({ "kubernetes.io/legacy-token-invalid-since": "2026-01-01" });
    let mut going = named("s", "u1");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for (bad, why) in [
        (vec![accounts()], "Token has been invalidated"),
        (vec![accounts(), ("secrets", secret("other", json!({})))], "Token does not match server's copy"),
        (
            vec![accounts(), ("secrets", secret(&token, invalid))],
            "the token in secret n/kept for service account n/s has been marked invalid. Use tokens from the \
             TokenRequest API or manually created secret-based tokens, or remove the \
             'kubernetes.io/legacy-token-invalid-since' label from the secret to temporarily allow use of this token",
        ),
        (vec![good.clone()], "serviceaccounts \"s\" not found"),
        (vec![("serviceaccounts", going), good.clone()], "ServiceAccount n/s has been deleted"),
        (
            vec![("serviceaccounts", named("s", "u9")), good.clone()],
            "ServiceAccount UID (u9) does not match claim (u1)",
        ),
    ] {
        assert_eq!(check(bad, ISSUER).await.unwrap_err(), why);
    }
}

#[test]
fn a_token_that_was_good_ends_with_what_it_is_bound_to() {
    /// Objects whose revisions are known.
    struct Changing(Fake, u64);
    impl Lookup for Changing {
        fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
            self.0.get(group, plural, namespace, name)
        }
        fn list(&self, _: &str, _: &str, _: &str) -> Vec<Arc<Value>> {
            Vec::new()
        }
    }
    #[async_trait]
    impl Objects for Changing {
        fn revision_of(&self, _: &str, plural: &str, _: &str, name: &str) -> Option<u64> {
            self.0.get("", plural, "", name).map(|_| self.1)
        }
        fn pods_on(&self, _: &str, _: &str) -> Vec<Arc<Value>> {
            Vec::new()
        }
        async fn label(&self, _: &str, _: &str, _: &Reference, _: (&str, &str)) -> Result<(), Status> {
            Ok(())
        }
    }
    let tokens = tokens();
    let token = tokens.sign(claims()).unwrap();
    let check = |pod: Option<Value>, revision| {
        let mut objects = vec![("serviceaccounts", named("s", "u1"))];
        objects.extend(pod.map(|pod| ("pods", pod)));
        tokens.verify(&token, &[ISSUER.to_owned()], at(100), &Changing(Fake(objects), revision)).is_ok()
    };
    assert!(check(Some(named("p", "u2")), 1));
    assert!(check(Some(named("p", "u2")), 1));
    // Another pod of the same name, one that is gone, and one that went too long ago.
    assert!(!check(Some(named("p", "u9")), 2));
    assert!(!check(None, 3));
    let mut going = named("p", "u2");
    going["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:01:00Z");
    assert!(check(Some(going.clone()), 4));
    going["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:10Z");
    assert!(!check(Some(going), 4));
}
