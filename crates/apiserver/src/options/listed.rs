//! All flags with their values, as the server tells them on `/flagz`.
//!
//! **Contract**: pure; each name is one that can be set, each value as Go's flags print it.

use super::Options;
use api::duration::golang;
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

impl Options {
    /// By name.
    pub(crate) fn listed(&self) -> BTreeMap<&'static str, String> {
        let file = |file: &Option<PathBuf>| {
            file.as_ref().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let list = |list: &[String]| format!("[{}]", list.join(","));
        let time = |time: Duration| golang(SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX));
        let (audit, webhook) = (&self.audit, &self.audit.webhook);
        let (oidc, proxy) = (&self.oidc, &self.request_header);
        BTreeMap::from([
            ("admission-control-config-file", file(&self.admission_config)),
            ("anonymous-auth", self.anonymous_auth.unwrap_or(true).to_string()),
            ("audit-log-format", "json".to_owned()),
            ("audit-log-maxage", audit.max_age_days.to_string()),
            ("audit-log-maxbackup", audit.max_backups.to_string()),
            ("audit-log-maxsize", audit.max_megabytes.to_string()),
            ("audit-log-mode", audit.log_mode.name().to_owned()),
            ("audit-log-path", file(&audit.log_path)),
            ("audit-log-version", "audit.k8s.io/v1".to_owned()),
            ("audit-policy-file", file(&audit.policy_file)),
            ("audit-webhook-batch-buffer-size", webhook.buffer.to_string()),
            ("audit-webhook-batch-max-size", webhook.most.to_string()),
            ("audit-webhook-batch-max-wait", time(webhook.wait)),
            ("audit-webhook-batch-throttle-burst", webhook.throttle_burst.to_string()),
            ("audit-webhook-batch-throttle-enable", webhook.throttle.to_string()),
            ("audit-webhook-batch-throttle-qps", webhook.throttle_qps.to_string()),
            ("audit-webhook-config-file", file(&webhook.file)),
            ("audit-webhook-initial-backoff", time(webhook.initial_backoff)),
            ("audit-webhook-mode", webhook.mode.name().to_owned()),
            ("audit-webhook-version", "audit.k8s.io/v1".to_owned()),
            ("authentication-config", file(&self.authentication_config)),
            ("authentication-token-webhook-cache-ttl", time(self.token_webhook_cache)),
            ("authentication-token-webhook-config-file", file(&self.token_webhook)),
            ("authentication-token-webhook-version", "v1".to_owned()),
            ("authorization-config", file(&self.authorization_config)),
            ("authorization-mode", list(&self.authorization_modes)),
            ("authorization-webhook-cache-authorized-ttl", time(self.authorized_cache)),
            ("authorization-webhook-cache-unauthorized-ttl", time(self.unauthorized_cache)),
            ("authorization-webhook-config-file", file(&self.authorization_webhook)),
            ("authorization-webhook-version", "v1".to_owned()),
            ("disable-admission-plugins", list(&self.admission.disabled)),
            ("enable-admission-plugins", list(&self.admission.enabled)),
            ("enable-bootstrap-token-auth", true.to_string()),
            ("enable-priority-and-fairness", self.priority_and_fairness.to_string()),
            ("max-mutating-requests-inflight", self.max_mutating.to_string()),
            ("max-requests-inflight", self.max_reading.to_string()),
            ("oidc-ca-file", file(&oidc.ca_file)),
            ("oidc-client-id", oidc.client_id.clone()),
            ("oidc-groups-claim", oidc.groups_claim.clone()),
            ("oidc-groups-prefix", oidc.groups_prefix.clone()),
            ("oidc-issuer-url", oidc.issuer_url.clone()),
            ("oidc-required-claim", oidc.required_claims.join(",")),
            ("oidc-signing-algs", list(&oidc.signing_algorithms)),
            ("oidc-username-claim", oidc.username_claim.clone()),
            ("oidc-username-prefix", oidc.username_prefix.clone()),
            ("request-timeout", time(self.request_timeout)),
            ("requestheader-allowed-names", list(&proxy.allowed_names)),
            ("requestheader-client-ca-file", file(&proxy.ca_file)),
            ("requestheader-extra-headers-prefix", list(&proxy.extra_prefixes)),
            ("requestheader-group-headers", list(&proxy.group_headers)),
            ("requestheader-uid-headers", list(&proxy.uid_headers)),
            ("requestheader-username-headers", list(&proxy.username_headers)),
            ("service-account-extend-token-expiration", self.extend_tokens.to_string()),
            ("service-account-max-token-expiration", time(self.max_token_expiration)),
            ("token-auth-file", file(&self.token_file)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::FlagError;

    #[test]
    fn what_is_listed_can_be_set() {
        let listed = Options::default().listed();
        for (name, value) in [
            ("request-timeout", "1m0s"),
            ("authorization-mode", "[Node,RBAC]"),
            ("anonymous-auth", "true"),
            ("audit-webhook-batch-throttle-qps", "10"),
        ] {
            assert_eq!(listed[name], value);
        }
        for (name, value) in listed {
            let value = value.trim_matches(['[', ']']);
            let set = Options::default().set(name, value);
            assert!(!matches!(set, Err(FlagError::Unknown(_))), "{name}");
        }
    }
}
