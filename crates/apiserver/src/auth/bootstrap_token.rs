//! Bootstrap tokens: `abcdef.0123456789abcdef`, kept as Secrets, for machines that join.
//!
//! **Contract**: compared in constant time; an expired token, or one without the usage, is nobody's.
//! **Upstream**: `plugin/pkg/auth/authenticator/token/bootstrap`.

use super::UserInfo;
use crate::admission::Lookup;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use subtle::ConstantTimeEq;

const GROUP: &str = "system:bootstrappers";

/// Splits `id.secret` if the token has that form.
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// Who presents this token, if it is a good bootstrap token.
pub(super) fn identity(token: &str, now: Timestamp, lookup: &dyn Lookup) -> Option<UserInfo> {
    let (id, secret) = split(token)?;
    let object = lookup.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    let data = |key: &str| decode(&object["data"][key]);
    if object["type"] != "bootstrap.kubernetes.io/token" || !object["metadata"]["deletionTimestamp"].is_null()
    {
        return None;
    }
    let secret_fits: bool = data("token-secret").as_bytes().ct_eq(secret.as_bytes()).into();
    if !secret_fits || data("token-id") != id || data("usage-bootstrap-authentication") != "true" {
        return None;
    }
    let expiration = data("expiration");
    if !expiration.is_empty() && expiration.parse::<Timestamp>().ok().is_none_or(|end| end <= now) {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for extra in data("auth-extra-groups").split(',').filter(|group| !group.is_empty()) {
        if !is_bootstrap_group(extra) {
            return None;
        }
        groups.push(extra.to_owned());
    }
    Some(UserInfo::authenticated(format!("system:bootstrap:{id}"), groups))
}

fn is_bootstrap_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let last = rest.bytes().last().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    last && rest.len() <= 256
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b':' | b'-'))
}

fn decode(value: &Value) -> String {
    let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}
