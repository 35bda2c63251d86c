//! The flags of kube-apiserver that this server knows, by upstream's names.
//!
//! **Contract**: a flag that is not known, or a value that does not fit, is an error that names it. Files are named
//! here and read when the server starts.
//! **Upstream**: `k8s.io/apiserver/pkg/server/options`, `pkg/kubeapiserver/options`; defaults are upstream's.

mod listed;

use crate::admission::plugins::Choice;
use std::path::PathBuf;
use std::time::Duration;

/// Why a flag cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// There is no such flag.
    #[error("unknown flag: --{0}")]
    Unknown(String),
    /// Its value is none.
    #[error("invalid argument {value:?} for \"--{flag}\" flag: {why}")]
    Invalid {
        /// The flag.
        flag: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What the flags say.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--enable-admission-plugins`, `--disable-admission-plugins`
    pub admission: Choice,
    /// `--admission-control-config-file`
    pub admission_config: Option<PathBuf>,
    /// `--anonymous-auth`; without it, as the file of `--authentication-config` says, or yes.
    pub anonymous_auth: Option<bool>,
    /// `--audit-policy-file`, `--audit-log-*`, `--audit-webhook-*`
    pub audit: AuditOptions,
    /// `--authentication-config`
    pub authentication_config: Option<PathBuf>,
    /// `--authentication-token-webhook-config-file`
    pub token_webhook: Option<PathBuf>,
    /// `--authentication-token-webhook-cache-ttl`
    pub token_webhook_cache: Duration,
    /// `--token-auth-file`
    pub token_file: Option<PathBuf>,
    /// `--oidc-*`
    pub oidc: OidcOptions,
    /// `--requestheader-*`
    pub request_header: RequestHeaderOptions,
    /// `--service-account-extend-token-expiration`
    pub extend_tokens: bool,
    /// `--service-account-max-token-expiration`; zero: none.
    pub max_token_expiration: Duration,
    /// `--authorization-config`
    pub authorization_config: Option<PathBuf>,
    /// `--authorization-mode`
    pub authorization_modes: Vec<String>,
    /// `--authorization-webhook-config-file`
    pub authorization_webhook: Option<PathBuf>,
    /// `--authorization-webhook-cache-authorized-ttl`
    pub authorized_cache: Duration,
    /// `--authorization-webhook-cache-unauthorized-ttl`
    pub unauthorized_cache: Duration,
    /// `--enable-priority-and-fairness`
    pub priority_and_fairness: bool,
    /// `--max-requests-inflight`
    pub max_reading: u32,
    /// `--max-mutating-requests-inflight`
    pub max_mutating: u32,
    /// `--request-timeout`
    pub request_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            admission: Choice::default(),
            admission_config: None,
            anonymous_auth: None,
            audit: AuditOptions::default(),
            authentication_config: None,
            token_webhook: None,
            token_webhook_cache: Duration::from_secs(120),
            token_file: None,
            oidc: OidcOptions::default(),
            request_header: RequestHeaderOptions::default(),
            extend_tokens: true,
            max_token_expiration: Duration::ZERO,
            authorization_config: None,
            authorization_modes: vec!["Node".to_owned(), "RBAC".to_owned()],
            authorization_webhook: None,
            authorized_cache: Duration::from_secs(300),
            unauthorized_cache: Duration::from_secs(30),
            priority_and_fairness: true,
            max_reading: 400,
            max_mutating: 200,
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// Whether requests wait for their records. **Upstream**: `AllowedModes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMode {
    /// They do not: records are sent some at a time.
    Batch,
    /// They wait, and go on whether the record was kept or not.
    Blocking,
    /// A request whose first record is not kept fails.
    BlockingStrict,
}

impl AuditMode {
    const ALL: [Self; 3] = [Self::Batch, Self::Blocking, Self::BlockingStrict];

    fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Blocking => "blocking",
            Self::BlockingStrict => "blocking-strict",
        }
    }
}

/// What is written down about requests, and where.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// `--audit-policy-file`
    pub policy_file: Option<PathBuf>,
    /// `--audit-log-path`; `-` is standard output.
    pub log_path: Option<PathBuf>,
    /// `--audit-log-mode`; never in batches.
    pub log_mode: AuditMode,
    /// `--audit-log-maxage`: days that rotated files are kept; 0: for ever.
    pub max_age_days: u32,
    /// `--audit-log-maxbackup`: rotated files that are kept; 0: all.
    pub max_backups: u32,
    /// `--audit-log-maxsize`: megabytes of a file before it is rotated; 0: it never is.
    pub max_megabytes: u32,
    /// `--audit-webhook-*`
    pub webhook: AuditWebhookOptions,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            policy_file: None,
            log_path: None,
            log_mode: AuditMode::Blocking,
            max_age_days: 366,
            max_backups: 100,
            max_megabytes: 100,
            webhook: AuditWebhookOptions::default(),
        }
    }
}

impl AuditOptions {
    /// Whether records go anywhere.
    pub fn has_backend(&self) -> bool {
        self.log_path.is_some() || self.webhook.file.is_some()
    }
}

/// A service that is sent audit records.
#[derive(Clone, Debug)]
pub struct AuditWebhookOptions {
    /// `--audit-webhook-config-file`
    pub file: Option<PathBuf>,
    /// `--audit-webhook-mode`
    pub mode: AuditMode,
    /// `--audit-webhook-batch-buffer-size`: records that may wait.
    pub buffer: usize,
    /// `--audit-webhook-batch-max-size`: records in one request.
    pub most: usize,
    /// `--audit-webhook-batch-max-wait`
    pub wait: Duration,
    /// `--audit-webhook-batch-throttle-enable`
    pub throttle: bool,
    /// `--audit-webhook-batch-throttle-qps`
    pub throttle_qps: f64,
    /// `--audit-webhook-batch-throttle-burst`
    pub throttle_burst: u32,
    /// `--audit-webhook-initial-backoff`
    pub initial_backoff: Duration,
}

impl Default for AuditWebhookOptions {
    fn default() -> Self {
        Self {
            file: None,
            mode: AuditMode::Batch,
            buffer: 10_000,
            most: 400,
            wait: Duration::from_secs(30),
            throttle: true,
            throttle_qps: 10.0,
            throttle_burst: 15,
            initial_backoff: Duration::from_secs(10),
        }
    }
}

/// One issuer of identity tokens, by flags.
#[derive(Clone, Debug)]
pub struct OidcOptions {
    /// `--oidc-issuer-url`
    pub issuer_url: String,
    /// `--oidc-client-id`
    pub client_id: String,
    /// `--oidc-username-claim`
    pub username_claim: String,
    /// `--oidc-username-prefix`
    pub username_prefix: String,
    /// `--oidc-groups-claim`
    pub groups_claim: String,
    /// `--oidc-groups-prefix`
    pub groups_prefix: String,
    /// `--oidc-ca-file`
    pub ca_file: Option<PathBuf>,
    /// `--oidc-required-claim`, `key=value` each
    pub required_claims: Vec<String>,
    /// `--oidc-signing-algs`
    pub signing_algorithms: Vec<String>,
}

impl Default for OidcOptions {
    fn default() -> Self {
        Self {
            issuer_url: String::new(),
            client_id: String::new(),
            username_claim: "sub".to_owned(),
            username_prefix: String::new(),
            groups_claim: String::new(),
            groups_prefix: String::new(),
            ca_file: None,
            required_claims: Vec::new(),
            signing_algorithms: vec!["RS256".to_owned()],
        }
    }
}

/// Whom an authenticating proxy speaks for.
#[derive(Clone, Debug)]
pub struct RequestHeaderOptions {
    /// `--requestheader-client-ca-file`; without it, the authority that the launcher made.
    pub ca_file: Option<PathBuf>,
    /// `--requestheader-allowed-names`: common names of proxies; empty: any.
    pub allowed_names: Vec<String>,
    /// `--requestheader-username-headers`
    pub username_headers: Vec<String>,
    /// `--requestheader-uid-headers`
    pub uid_headers: Vec<String>,
    /// `--requestheader-group-headers`
    pub group_headers: Vec<String>,
    /// `--requestheader-extra-headers-prefix`
    pub extra_prefixes: Vec<String>,
}

impl Default for RequestHeaderOptions {
    /// kubeadm's.
    fn default() -> Self {
        let one = |text: &str| vec![text.to_owned()];
        Self {
            ca_file: None,
            allowed_names: one("front-proxy-client"),
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }
}

impl Options {
    /// Sets one flag; lists may be given in parts.
    ///
    /// # Errors
    /// If the flag is unknown, or its value does not fit.
    pub fn set(&mut self, flag: &str, value: &str) -> Result<(), FlagError> {
        let invalid = |why: &str| FlagError::Invalid {
            flag: flag.to_owned(),
            value: value.to_owned(),
            why: why.to_owned(),
        };
        let boolean = || value.parse::<bool>().map_err(|_| invalid("must be true or false"));
        let number = || value.parse::<u32>().map_err(|_| invalid("must be a non-negative integer"));
        let duration = || parse_duration(value).ok_or_else(|| invalid("must be a duration such as 2m0s"));
        let file = || (!value.is_empty()).then(|| PathBuf::from(value));
        let text = || value.to_owned();
        let mode = || {
            let known = AuditMode::ALL.into_iter().find(|mode| mode.name() == value);
            known.ok_or_else(|| invalid("allowed modes are batch,blocking,blocking-strict"))
        };
        let list = || value.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        match flag {
            "admission-control-config-file" => self.admission_config = file(),
            "anonymous-auth" => self.anonymous_auth = Some(boolean()?),
            "audit-log-maxage" => self.audit.max_age_days = number()?,
            "audit-log-maxbackup" => self.audit.max_backups = number()?,
            "audit-log-maxsize" => self.audit.max_megabytes = number()?,
            "audit-log-path" => self.audit.log_path = file(),
            "audit-log-mode" => {
                let mode = mode()?;
                if mode == AuditMode::Batch {
                    return Err(invalid("only blocking and blocking-strict are supported"));
                }
                self.audit.log_mode = mode;
            }
            "audit-policy-file" => self.audit.policy_file = file(),
            "audit-log-format" if value == "json" => {}
            "audit-log-format" => return Err(invalid("only json is supported")),
            "audit-webhook-batch-buffer-size" => self.audit.webhook.buffer = number()? as usize,
            "audit-webhook-batch-max-size" => self.audit.webhook.most = number()? as usize,
            "audit-webhook-batch-max-wait" => self.audit.webhook.wait = duration()?,
            "audit-webhook-batch-throttle-burst" => self.audit.webhook.throttle_burst = number()?,
            "audit-webhook-batch-throttle-enable" => self.audit.webhook.throttle = boolean()?,
            "audit-webhook-batch-throttle-qps" => {
                let qps = value.parse::<f64>().ok().filter(|qps| qps.is_finite() && *qps > 0.0);
                self.audit.webhook.throttle_qps = qps.ok_or_else(|| invalid("must be a positive number"))?;
            }
            "audit-webhook-config-file" => self.audit.webhook.file = file(),
            "audit-webhook-initial-backoff" => self.audit.webhook.initial_backoff = duration()?,
            "audit-webhook-mode" => self.audit.webhook.mode = mode()?,
            "audit-webhook-version" | "audit-log-version" if value == "audit.k8s.io/v1" => {}
            "audit-webhook-version" | "audit-log-version" => {
                return Err(invalid("only audit.k8s.io/v1 is supported"));
            }
            "authentication-config" => self.authentication_config = file(),
            "authentication-token-webhook-cache-ttl" => self.token_webhook_cache = duration()?,
            "authentication-token-webhook-config-file" => self.token_webhook = file(),
            "authentication-token-webhook-version" | "authorization-webhook-version" if value == "v1" => {}
            "authentication-token-webhook-version" | "authorization-webhook-version" => {
                return Err(invalid("only v1 is supported"));
            }
            "authorization-config" => self.authorization_config = file(),
            "authorization-mode" => self.authorization_modes = list(),
            "authorization-webhook-cache-authorized-ttl" => self.authorized_cache = duration()?,
            "authorization-webhook-cache-unauthorized-ttl" => self.unauthorized_cache = duration()?,
            "authorization-webhook-config-file" => self.authorization_webhook = file(),
            "disable-admission-plugins" => self.admission.disabled.extend(list()),
            "enable-admission-plugins" => self.admission.enabled.extend(list()),
            "enable-bootstrap-token-auth" if boolean()? => {}
            "enable-bootstrap-token-auth" => return Err(invalid("bootstrap tokens are always on")),
            "enable-priority-and-fairness" => self.priority_and_fairness = boolean()?,
            "max-mutating-requests-inflight" => self.max_mutating = number()?,
            "max-requests-inflight" => self.max_reading = number()?,
            "oidc-ca-file" => self.oidc.ca_file = file(),
            "oidc-client-id" => self.oidc.client_id = text(),
            "oidc-groups-claim" => self.oidc.groups_claim = text(),
            "oidc-groups-prefix" => self.oidc.groups_prefix = text(),
            "oidc-issuer-url" => self.oidc.issuer_url = text(),
            "oidc-required-claim" => {
                if value.split_once('=').is_none_or(|(key, _)| key.is_empty()) {
                    return Err(invalid("must be of the form key=value"));
                }
                self.oidc.required_claims.extend(list());
            }
            "oidc-signing-algs" => self.oidc.signing_algorithms = list(),
            "oidc-username-claim" => self.oidc.username_claim = text(),
            "oidc-username-prefix" => self.oidc.username_prefix = text(),
            "request-timeout" => self.request_timeout = duration()?,
            "requestheader-allowed-names" => self.request_header.allowed_names = list(),
            "requestheader-client-ca-file" => self.request_header.ca_file = file(),
            "requestheader-extra-headers-prefix" => self.request_header.extra_prefixes = list(),
            "requestheader-group-headers" => self.request_header.group_headers = list(),
            "requestheader-uid-headers" => self.request_header.uid_headers = list(),
            "requestheader-username-headers" => self.request_header.username_headers = list(),
            "service-account-extend-token-expiration" => self.extend_tokens = boolean()?,
            "service-account-max-token-expiration" => self.max_token_expiration = duration()?,
            "token-auth-file" => self.token_file = file(),
            _ => return Err(FlagError::Unknown(flag.to_owned())),
        }
        Ok(())
    }
}

/// `2m0s`, `300ms`, `1h30m` or `0`, as Go writes durations.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_flags_by_name_and_names_what_it_does_not_know() {
        let mut options = Options::default();
        options.set("audit-policy-file", "/etc/policy.yaml").unwrap();
        options.set("authorization-mode", "Node,RBAC,Webhook").unwrap();
        options.set("oidc-required-claim", "a=b").unwrap();
        options.set("oidc-required-claim", "c=d").unwrap();
        assert_eq!(options.audit.policy_file, Some("/etc/policy.yaml".into()));
        assert_eq!(options.authorization_modes.len(), 3);
        assert_eq!(options.oidc.required_claims, ["a=b", "c=d"]);
        assert_eq!(options.set("nonsense", "x").unwrap_err().to_string(), "unknown flag: --nonsense");
        assert_eq!(
            options.set("anonymous-auth", "x").unwrap_err().to_string(),
            "invalid argument \"x\" for \"--anonymous-auth\" flag: must be true or false"
        );
    }

    #[test]
    fn reads_durations_as_go_writes_them() {
        for (text, expected) in [
            ("2m0s", Some(120_000)),
            ("1h30m", Some(5_400_000)),
            ("300ms", Some(300)),
            ("1.5s", Some(1500)),
            ("0", Some(0)),
            ("", None),
            ("5", None),
            ("x", None),
            ("-5s", None),
        ] {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }
}
