//! Credentials for registries, from the Secrets that a pod names.
//!
//! **Contract**: pure. The most specific entries come first; without any, the pull is anonymous.
//! **Upstream**: `pkg/credentialprovider` (`keyring.go`, `config.go`).

use crate::ledger::PullSecret;
use api::k8s_openapi::api::core::v1::Secret;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runtime::{AuthConfig, reference};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The registry of names without one, as clients write it into their files.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// A credential to try, and where it is from.
pub(crate) struct Credential {
    pub(crate) auth: AuthConfig,
    pub(crate) secret: PullSecret,
}

/// The credentials to try for an image, in order.
pub(crate) fn credentials(image: &str, secrets: &[Arc<Secret>]) -> Vec<Credential> {
    let all = secrets.iter().flat_map(|secret| {
        entries(secret).into_iter().map(move |(registry, entry)| (registry, entry, secret.clone()))
    });
    let found = select(image, all).into_iter();
    found.map(|(auth, secret)| Credential { secret: source(&secret, &auth), auth }).collect()
}

/// The credentials to try for an image, in order, from the content of a `config.json` of Docker's.
pub fn in_config(image: &str, config: &[u8]) -> Vec<AuthConfig> {
    let config: Value = serde_json::from_slice(config).unwrap_or_default();
    let all = of_map(&config["auths"]).into_iter().map(|(registry, entry)| (registry, entry, ()));
    select(image, all).into_iter().map(|(auth, ())| auth).collect()
}

/// Of registries, their credentials and where those are from: what is for an image.
fn select<T>(image: &str, entries: impl IntoIterator<Item = (String, Value, T)>) -> Vec<(AuthConfig, T)> {
    let Ok(image) = reference::parse(image) else { return Vec::new() };
    let mut found: Vec<(usize, (AuthConfig, T))> = Vec::new();
    for (key, entry, from) in entries {
        let key = normalized(&key);
        if matches(&key, &image.registry, &image.repository) {
            found.extend(credential(&key, &entry).map(|auth| (key.len(), (auth, from))));
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, found)| found).collect()
}

fn source(secret: &Secret, auth: &AuthConfig) -> PullSecret {
    let AuthConfig { username, password, identity_token, registry_token, server_address } = auth;
    let mut hash = Sha256::new();
    for part in [username, password, identity_token, registry_token, server_address] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let ObjectMeta { namespace, name, uid, .. } = secret.metadata.clone();
    PullSecret {
        namespace: namespace.unwrap_or_default(),
        name: name.unwrap_or_default(),
        uid: uid.unwrap_or_default(),
        hash: STANDARD.encode(hash.finalize()),
    }
}

/// Registry and credential of each entry of a Secret.
fn entries(secret: &Secret) -> Vec<(String, Value)> {
    let data =
        |key: &str| -> Option<Value> { serde_json::from_slice(&secret.data.as_ref()?.get(key)?.0).ok() };
    let new = data(".dockerconfigjson").map(|config| config["auths"].clone());
    of_map(&new.or_else(|| data(".dockercfg")).unwrap_or_default())
}

fn of_map(all: &Value) -> Vec<(String, Value)> {
    let entries = all.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// `host/path` of what may be written as a URL.
fn normalized(key: &str) -> String {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    let key = key.trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = if DOCKER_HUB.contains(&host) { DOCKER_HUB[0] } else { host };
    match path {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

/// Whether an entry is for this image. `*` stands for one part of a host's name.
fn matches(key: &str, registry: &str, repository: &str) -> bool {
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let (own, asked): (Vec<&str>, Vec<&str>) = (host.split('.').collect(), registry.split('.').collect());
    let same = |(own, asked): (&&str, &&str)| match own.split_once('*') {
        Some((begin, end)) => {
            asked.len() >= begin.len() + end.len() && asked.starts_with(begin) && asked.ends_with(end)
        }
        None => own == asked,
    };
    own.len() == asked.len() && own.iter().zip(&asked).all(same) && repository.starts_with(path)
}

fn credential(registry: &str, entry: &Value) -> Option<AuthConfig> {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let mut auth = AuthConfig {
        username: text("username"),
        password: text("password"),
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        server_address: registry.split('/').next().unwrap_or_default().to_owned(),
    };
    if let Ok(decoded) = STANDARD.decode(text("auth"))
        && let Ok(pair) = String::from_utf8(decoded)
        && let Some((user, password)) = pair.split_once(':')
    {
        (auth.username, auth.password) = (user.to_owned(), password.to_owned());
    }
    let says_something = [&auth.username, &auth.identity_token, &auth.registry_token];
    says_something.iter().any(|text| !text.is_empty()).then_some(auth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_most_specific_entry_comes_first() {
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:pw:with:colons")},
            "registry.example.com": {"username": "all", "password": "p"},
            "registry.example.com/team": {"username": "team", "password": "p"},
            "*.cloud.example": {"username": "glob", "password": "p"},
            "empty.example.com": {},
        }});
        let secret: Secret = serde_json::from_value(json!({
            "data": {".dockerconfigjson": STANDARD.encode(config.to_string())}
        }))
        .expect("a secret");
        let secrets = [Arc::new(secret)];
        for (image, users) in [
            ("nginx", vec!["hub"]),
            ("registry.example.com/team/app:1", vec!["team", "all"]),
            ("registry.example.com/other/app", vec!["all"]),
            ("eu.cloud.example/app", vec!["glob"]),
            ("a.eu.cloud.example/app", vec![]),
            ("empty.example.com/app", vec![]),
            ("elsewhere.example.com/app", vec![]),
        ] {
            let found: Vec<_> = credentials(image, &secrets).into_iter().map(|c| c.auth.username).collect();
            assert_eq!(found, users, "{image}");
        }
        assert_eq!(credentials("nginx", &secrets)[0].auth.password, "pw:with:colons");
    }
}
