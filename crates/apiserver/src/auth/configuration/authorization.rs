//! Who is asked about rights, in which order.

use super::{parse, read};
use crate::auth::access_webhook::{AccessWebhook, Manner};
use crate::auth::authorizers::{Always, Authorizers, Privileged};
use crate::auth::node::NodeAuthorizer;
use crate::auth::rbac::Rbac;
use crate::auth::webhook::Webhook;
use crate::auth::{Authorizer, Decision, policy};
use crate::cel::{Conditions, Environment};
use crate::options::{Options, parse_duration};
use crate::registry::Registry;
use component_base::Clock;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// **Upstream**: `DefaultRequestTimeout` of webhooks that flags configure.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    authorizers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    webhook: Option<WebhookFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookFile {
    #[serde(default)]
    timeout: String,
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: Option<String>,
    cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<String>,
    cache_unauthorized_requests: Option<bool>,
    #[serde(default)]
    subject_access_review_version: String,
    #[serde(default, rename = "matchConditionSubjectAccessReviewVersion")]
    conditions_version: String,
    #[serde(default)]
    failure_policy: String,
    connection_info: Connection,
    #[serde(default)]
    match_conditions: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Connection {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<PathBuf>,
}

/// The authorizers as the flags say, and the files that they name.
pub(crate) fn authorizer(
    options: &Options,
    registry: &Arc<Registry>,
    clock: &Clock,
) -> Result<Arc<dyn Authorizer>, String> {
    let mut list: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Privileged)];
    match &options.authorization_config {
        None => {
            let manner = Manner {
                authorized: options.authorized_cache,
                unauthorized: options.unauthorized_cache,
                denies_on_failure: false,
            };
            check_modes(options)?;
            for mode in &options.authorization_modes {
                list.push(match (mode.as_str(), &options.authorization_webhook) {
                    ("Webhook", Some(file)) => {
                        let webhook = Webhook::open(file, WEBHOOK_TIMEOUT, clock.clone())?;
                        Arc::new(AccessWebhook::new(webhook, manner, Conditions::default(), clock.clone()))
                    }
                    (mode, _) => built_in(mode, registry).ok_or_else(|| unknown(mode))?,
                });
            }
        }
        Some(path) => {
            let named = |why: String| format!("{}: {why}", path.display());
            if options.authorization_webhook.is_some() {
                return Err("--authorization-config can not be specified when --authorization-webhook-* flags are defined".to_owned());
            }
            let file: File = parse(&read(path)?, "AuthorizationConfiguration").map_err(named)?;
            for entry in checked(file).map_err(named)? {
                list.push(match entry.webhook {
                    Some(webhook) => Arc::new(remote(webhook, clock).map_err(named)?),
                    None => built_in(&entry.kind, registry).ok_or_else(|| named(unknown(&entry.kind)))?,
                });
            }
        }
    }
    Ok(Arc::new(Authorizers::new(list)))
}

fn unknown(mode: &str) -> String {
    format!("unknown authorization mode {mode:?} specified")
}

fn built_in(mode: &str, registry: &Arc<Registry>) -> Option<Arc<dyn Authorizer>> {
    Some(match mode {
        "Node" => Arc::new(NodeAuthorizer::new(Arc::clone(registry) as _, policy::node_rules())),
        "RBAC" => Arc::new(Rbac::new(Arc::clone(registry) as _)),
        "AlwaysAllow" => Arc::new(Always(Decision::allow(""))),
        "AlwaysDeny" => Arc::new(Always(Decision::no_opinion("Everything is forbidden."))),
        _ => return None,
    })
}

fn check_modes(options: &Options) -> Result<(), String> {
    let modes = &options.authorization_modes;
    if modes.is_empty() {
        return Err("at least one authorization-mode must be passed".to_owned());
    }
    let mut seen = HashSet::new();
    if let Some(twice) = modes.iter().find(|mode| !seen.insert(*mode)) {
        return Err(format!("authorization-mode {modes:?} has mode specified more than once: {twice}"));
    }
    match (modes.iter().any(|mode| mode == "Webhook"), &options.authorization_webhook) {
        (true, None) => Err("authorization-mode Webhook's authorization config file not passed".to_owned()),
        (false, Some(_)) => {
            Err("cannot specify --authorization-webhook-config-file without mode Webhook".to_owned())
        }
        _ => Ok(()),
    }
}

fn checked(file: File) -> Result<Vec<Entry>, String> {
    if file.authorizers.is_empty() {
        return Err("authorizers: Required value: at least one authorization mode must be defined".to_owned());
    }
    let (mut kinds, mut names) = (HashSet::new(), HashSet::new());
    for (i, entry) in file.authorizers.iter().enumerate() {
        let at = format!("authorizers[{i}]");
        match entry.kind.as_str() {
            "Webhook" if entry.webhook.is_none() => {
                return Err(format!("{at}.webhook: Required value: required when type=Webhook"));
            }
            "Webhook" => {}
            kind if entry.webhook.is_some() => {
                return Err(format!(
                    "{at}.webhook: Invalid value: may only be specified when type=Webhook, not {kind}"
                ));
            }
            kind if !kinds.insert(kind.to_owned()) => {
                return Err(format!("{at}.type: Duplicate value: {kind:?}"));
            }
            _ => {}
        }
        if entry.name.is_empty() {
            return Err(format!("{at}.name: Required value"));
        }
        if !names.insert(entry.name.clone()) {
            return Err(format!("{at}.name: Duplicate value: {:?}", entry.name));
        }
    }
    Ok(file.authorizers)
}

/// On what the webhook is asked.
fn conditions(file: &WebhookFile) -> Result<Conditions, String> {
    let version = &file.conditions_version;
    let at = "webhook.matchConditionSubjectAccessReviewVersion";
    match (version.as_str(), file.match_conditions.is_empty()) {
        ("", true) | ("v1", _) => {}
        ("", false) => {
            return Err(format!("{at}: Required value: required if match conditions are specified"));
        }
        _ => return Err(format!("{at}: Unsupported value: {version:?}: supported values: \"v1\"")),
    }
    let mut seen = HashSet::new();
    for (i, condition) in file.match_conditions.iter().enumerate() {
        let at = format!("webhook.matchConditions[{i}].expression");
        match condition["expression"].as_str() {
            None | Some("") => return Err(format!("{at}: Required value")),
            Some(twice) if !seen.insert(twice) => return Err(format!("{at}: Duplicate value: {twice:?}")),
            Some(_) => {}
        }
    }
    let conditions = Conditions::read(
        &json!({ "matchConditions": file.match_conditions }),
        &Environment::of(&["request"]),
    );
    match conditions.error() {
        Some((i, source, why)) => {
            Err(format!("webhook.matchConditions[{i}].expression: Invalid value: {source:?}: {why}"))
        }
        None => Ok(conditions),
    }
}

fn remote(file: WebhookFile, clock: &Clock) -> Result<AccessWebhook, String> {
    let duration = |text: &str, field: &str| {
        parse_duration(text).ok_or_else(|| format!("webhook.{field}: Invalid value: {text:?}"))
    };
    let timeout = duration(&file.timeout, "timeout")?;
    if timeout.is_zero() || timeout > Duration::from_secs(30) {
        return Err(format!("webhook.timeout: Invalid value: {:?}: must be > 0s and <= 30s", file.timeout));
    }
    if file.subject_access_review_version != "v1" {
        let version = file.subject_access_review_version;
        return Err(format!(
            "webhook.subjectAccessReviewVersion: Unsupported value: {version:?}: supported values: \"v1\""
        ));
    }
    let conditions = conditions(&file)?;
    let denies_on_failure = match file.failure_policy.as_str() {
        "NoOpinion" => false,
        "Deny" => true,
        other => {
            return Err(format!(
                "webhook.failurePolicy: Unsupported value: {other:?}: supported values: \"Deny\", \"NoOpinion\""
            ));
        }
    };
    let config = match (file.connection_info.kind.as_str(), &file.connection_info.kube_config_file) {
        ("KubeConfigFile", Some(config)) => config,
        ("KubeConfigFile", None) => {
            return Err("webhook.connectionInfo.kubeConfigFile: Required value".to_owned());
        }
        (other, _) => {
            return Err(format!(
                "webhook.connectionInfo.type: Unsupported value: {other:?}: supported values: \"KubeConfigFile\""
            ));
        }
    };
    let lifetime = |ttl: &Option<String>, cache: Option<bool>, default, field| match (ttl, cache) {
        (_, Some(false)) => Ok(Duration::ZERO),
        (Some(ttl), _) => duration(ttl, field),
        (None, _) => Ok(default),
    };
    let five_minutes = Duration::from_secs(300);
    let half_a_minute = Duration::from_secs(30);
    let manner = Manner {
        authorized: lifetime(
            &file.authorized_ttl,
            file.cache_authorized_requests,
            five_minutes,
            "authorizedTTL",
        )?,
        unauthorized: lifetime(
            &file.unauthorized_ttl,
            file.cache_unauthorized_requests,
            half_a_minute,
            "unauthorizedTTL",
        )?,
        denies_on_failure,
    };
    let webhook = Webhook::open(config, timeout, clock.clone())?;
    Ok(AccessWebhook::new(webhook, manner, conditions, clock.clone()))
}
