//! Tokens of a pod's service account: requested, kept, and requested anew before they end.
//!
//! **Contract**: a token is bound to its pod and refreshed at 80 % of its life, or after 24 hours; one that cannot be
//! refreshed is used until it ends.
//! **Upstream**: `pkg/kubelet/token`.

use super::Error;
use crate::pod_worker::Node;
use api::k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use api::k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use component_base::logging::chain;
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::PostParams;
use std::collections::HashMap;
use std::time::Duration;

/// `maxTTL`: no token is used for longer.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Requests of many pods are spread over this time.
const JITTER: Duration = Duration::from_secs(10);
/// After a refresh that failed.
const RETRY: SignedDuration = SignedDuration::from_secs(10);

/// A token, and when it is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) refresh_at: Timestamp,
    expires: Timestamp,
}

/// The tokens of one pod, by audience and lifetime.
#[derive(Default)]
pub(super) struct Tokens(HashMap<(Option<String>, Option<i64>), Token>);

impl Tokens {
    /// The token that the projection asks for, requested if need be.
    pub(super) async fn get(
        &mut self,
        node: &Node,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
    ) -> Result<Token, Error> {
        let key = (source.audience.clone().filter(|a| !a.is_empty()), source.expiration_seconds);
        let now = node.context.clock.now();
        let kept = self.0.get(&key).cloned();
        if let Some(token) = kept.as_ref().filter(|token| now < token.refresh_at) {
            return Ok(token.clone());
        }
        let token = match request(node, pod, &key).await {
            Ok(token) => token,
            Err(error) => match kept {
                Some(token) if now < token.expires => Token { refresh_at: now + RETRY, ..token },
                _ => return Err(error),
            },
        };
        self.0.insert(key, token.clone());
        Ok(token)
    }
}

async fn request(node: &Node, pod: &Pod, key: &(Option<String>, Option<i64>)) -> Result<Token, Error> {
    let failed = |message: String| Error::Api { operation: "failed to fetch token", message };
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref());
    let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let accounts: Api<ServiceAccount> = Api::namespaced(node.client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: key.0.clone().map(|audience| vec![audience]),
            expiration_seconds: key.1,
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let asked = node.context.clock.now();
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
    let status = answer.map_err(|error| failed(chain(&error)))?.status;
    let status = status.and_then(|s| Some((s.token?, s.expiration_timestamp?.0)));
    let (text, expires) = status.ok_or_else(|| failed("the answer has no token".to_owned()))?;
    let jitter = node.context.rng.jitter(JITTER, 1.0).saturating_sub(JITTER);
    let refresh_at = refresh_at(asked, expires, SignedDuration::try_from(jitter).unwrap_or_default());
    Ok(Token { text, refresh_at, expires })
}

/// At 80 % of its life, or after a day, and a little earlier.
fn refresh_at(asked: Timestamp, expires: Timestamp, jitter: SignedDuration) -> Timestamp {
    let life = expires.duration_since(asked);
    (asked + life * 4 / 5).min(asked + MAX_AGE) - jitter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_refreshed_at_80_percent_or_after_a_day() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let zero = SignedDuration::ZERO;
        assert_eq!(refresh_at(at(0), at(3600), zero), at(2880));
        assert_eq!(refresh_at(at(0), at(3600), SignedDuration::from_secs(5)), at(2875));
        assert_eq!(refresh_at(at(0), at(365 * 86400), zero), at(86400));
    }
}
