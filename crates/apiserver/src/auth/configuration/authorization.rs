//! Who is asked about rights, in which order.
//!
//! **Contract**: all mistakes of a file are told at once, in upstream's words. When the file changes, webhooks may come and go; what
//! is built in stays.
//! **Upstream**: `pkg/kubeapiserver/authorizer` and `k8s.io/apiserver/pkg/apis/apiserver/validation`.

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
use api::field::{Error, ErrorList, Path, aggregate};
use api::names;
use component_base::Clock;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a file may name, in the order of the alphabet.
const TYPES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", WEBHOOK];
/// The only type that may be there several times.
const WEBHOOK: &str = "Webhook";
/// The most conditions of a webhook.
const MAX_CONDITIONS: usize = 64;
/// The longest that a webhook of a file may take.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// **Upstream**: `SetDefaults_WebhookConfiguration`.
const AUTHORIZED_TTL: Duration = Duration::from_secs(300);
const UNAUTHORIZED_TTL: Duration = Duration::from_secs(30);

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
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    webhook: Option<WebhookFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookFile {
    timeout: Option<String>,
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
    #[serde(default)]
    connection_info: Connection,
    #[serde(default)]
    match_conditions: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Connection {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<PathBuf>,
}

/// The authorizers of a server, and what those that a file names are made of.
pub(crate) struct Configured {
    authorizers: Arc<Authorizers>,
    /// Those without a webhook, by type; a file that changes can neither add nor drop one.
    built_in: BTreeMap<String, Arc<dyn Authorizer>>,
    clock: Clock,
}

impl Configured {
    /// As the flags say, and the files that they name.
    pub(crate) fn read(options: &Options, registry: &Arc<Registry>, clock: &Clock) -> Result<Self, String> {
        let mut configured = Self {
            authorizers: Arc::new(Authorizers::new(Vec::new())),
            built_in: BTreeMap::new(),
            clock: clock.clone(),
        };
        let list = match &options.authorization_config {
            None => {
                check_modes(options)?;
                configured.add_built_in(options.authorization_modes.iter(), registry)?;
                configured.by_flags(options)?
            }
            Some(path) => {
                if options.authorization_webhook.is_some() {
                    return Err("--authorization-config can not be specified when --authorization-webhook-* flags are defined".to_owned());
                }
                let entries = read_entries(path)?;
                configured.add_built_in(entries.iter().map(|entry| &entry.kind), registry)?;
                configured.of_entries(entries, path)?
            }
        };
        configured.authorizers.replace(list);
        Ok(configured)
    }

    /// All of them as one.
    pub(crate) fn authorizer(&self) -> Arc<dyn Authorizer> {
        Arc::clone(&self.authorizers) as _
    }

    /// Reads the file anew; what it says counts if it makes sense, else what was said before.
    pub(crate) fn reload(&self, path: &FilePath) -> Result<(), String> {
        let entries = read_entries(path)?;
        let missing: Vec<&str> = self
            .built_in
            .keys()
            .filter(|kind| !entries.iter().any(|entry| entry.kind == **kind))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(format!("missing required types: [{}]", missing.join(" ")));
        }
        self.authorizers.replace(self.of_entries(entries, path)?);
        Ok(())
    }

    fn add_built_in<'a>(
        &mut self,
        types: impl Iterator<Item = &'a String>,
        registry: &Arc<Registry>,
    ) -> Result<(), String> {
        for kind in types.filter(|kind| *kind != WEBHOOK) {
            let authorizer = built_in(kind, registry)
                .ok_or_else(|| format!("unknown authorization mode {kind:?} specified"))?;
            self.built_in.insert(kind.clone(), authorizer);
        }
        Ok(())
    }

    fn by_flags(&self, options: &Options) -> Result<Vec<Arc<dyn Authorizer>>, String> {
        let manner = Manner {
            authorized: options.authorized_cache,
            unauthorized: options.unauthorized_cache,
            denies_on_failure: false,
        };
        let mut list: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Privileged)];
        for mode in &options.authorization_modes {
            match (self.built_in.get(mode), &options.authorization_webhook) {
                (Some(authorizer), _) => list.push(Arc::clone(authorizer)),
                (None, Some(file)) => {
                    let webhook = Webhook::open(file, WEBHOOK_TIMEOUT, self.clock.clone())?;
                    let (conditions, clock) = (Conditions::default(), self.clock.clone());
                    list.push(Arc::new(AccessWebhook::new(webhook, manner, conditions, clock)));
                }
                (None, None) => {}
            }
        }
        Ok(list)
    }

    fn of_entries(&self, entries: Vec<Entry>, path: &FilePath) -> Result<Vec<Arc<dyn Authorizer>>, String> {
        let mut list: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Privileged)];
        for entry in entries {
            list.push(match (entry.webhook, self.built_in.get(&entry.kind)) {
                (Some(webhook), _) => Arc::new(
                    remote(webhook, &self.clock).map_err(|why| format!("{}: {why}", path.display()))?,
                ),
                (None, Some(authorizer)) => Arc::clone(authorizer),
                (None, None) => {
                    return Err(format!(
                        "authorizer type {} is not allowed if it was not enabled at initial server startup",
                        entry.kind
                    ));
                }
            });
        }
        Ok(list)
    }
}

fn read_entries(path: &FilePath) -> Result<Vec<Entry>, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let file: File = parse(&read(path)?, "AuthorizationConfiguration").map_err(named)?;
    let errors = check(&file);
    if !errors.is_empty() {
        return Err(named(aggregate(&errors)));
    }
    let wrong_name = |entry: &Entry| {
        let expected = entry.kind.to_lowercase();
        (entry.kind != WEBHOOK && entry.name != expected).then(|| {
            format!("expected name {expected} for authorizer {} instead of {}", entry.kind, entry.name)
        })
    };
    match file.authorizers.iter().find_map(wrong_name) {
        Some(why) => Err(named(why)),
        None => Ok(file.authorizers),
    }
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

/// All mistakes of a file.
fn check(file: &File) -> ErrorList {
    let mut errors = ErrorList::new();
    let root = Path::new("authorizers");
    if file.authorizers.is_empty() {
        errors.push(Error::required(&root, "at least one authorization mode must be defined"));
    }
    let (mut kinds, mut names) = (HashSet::new(), HashSet::new());
    for (i, entry) in file.authorizers.iter().enumerate() {
        let (path, kind) = (root.index(i), entry.kind.as_str());
        let at = path.child("type");
        if kind.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        if !TYPES.contains(&kind) {
            errors.push(Error::not_supported(&at, kind, &TYPES));
            continue;
        }
        if !kinds.insert(kind) && kind != WEBHOOK {
            errors.push(Error::duplicate(&at, kind));
            continue;
        }
        let (at, name) = (path.child("name"), entry.name.as_str());
        let wrong = names::dns_subdomain(name, false);
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !names.insert(name) {
            errors.push(Error::duplicate(&at, name));
        } else if !wrong.is_empty() {
            let detail = format!("authorizer name is invalid: {}", wrong.join(", "));
            errors.push(Error::invalid(&at, name, &detail));
        }
        let at = path.child("webhook");
        match &entry.webhook {
            Some(webhook) if kind == WEBHOOK => check_webhook(&mut errors, &path, webhook),
            Some(_) => {
                errors.push(Error::invalid(&at, "non-null", "may only be specified when type=Webhook"));
            }
            None if kind == WEBHOOK => errors.push(Error::required(&at, "required when type=Webhook")),
            None => {}
        }
    }
    errors
}

/// Upstream leaves `webhook` out of the paths.
fn check_webhook(errors: &mut ErrorList, path: &Path, file: &WebhookFile) {
    for (field, text, default, detail) in [
        ("timeout", &file.timeout, None, "must be > 0s and <= 30s"),
        ("authorizedTTL", &file.authorized_ttl, Some(AUTHORIZED_TTL), "must be > 0s"),
        ("unauthorizedTTL", &file.unauthorized_ttl, Some(UNAUTHORIZED_TTL), "must be > 0s"),
    ] {
        let at = path.child(field);
        let duration = text.as_deref().map_or(default, parse_duration);
        match (text, duration) {
            (Some(text), None) => errors.push(Error::invalid(&at, text.as_str(), detail)),
            (None, None) | (_, Some(Duration::ZERO)) => errors.push(Error::required(&at, "")),
            (Some(text), Some(long)) if field == "timeout" && long > MAX_TIMEOUT => {
                errors.push(Error::invalid(&at, text.as_str(), detail));
            }
            _ => {}
        }
    }
    for (field, text, supported) in [
        ("subjectAccessReviewVersion", &file.subject_access_review_version, &["v1"][..]),
        ("failurePolicy", &file.failure_policy, &["NoOpinion", "Deny"]),
    ] {
        one_of(errors, &path.child(field), text, supported);
    }
    let (at, version) = (path.child("matchConditionSubjectAccessReviewVersion"), &file.conditions_version);
    if !version.is_empty() {
        one_of(errors, &at, version, &["v1"]);
    } else if !file.match_conditions.is_empty() {
        errors.push(Error::required(&at, "required if match conditions are specified"));
    }
    let (at, connection) = (path.child("connectionInfo"), &file.connection_info);
    one_of(errors, &at.child("type"), &connection.kind, &["KubeConfigFile"]);
    if connection.kind == "KubeConfigFile" {
        check_kubeconfig(errors, &at.child("kubeConfigFile"), connection.kube_config_file.as_deref());
    }
    check_conditions(errors, &path.child("matchConditions"), &file.match_conditions);
}

fn one_of(errors: &mut ErrorList, path: &Path, text: &str, supported: &[&str]) {
    if text.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !supported.contains(&text) {
        errors.push(Error::not_supported(path, text, supported));
    }
}

fn check_kubeconfig(errors: &mut ErrorList, path: &Path, file: Option<&FilePath>) {
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else {
        errors.push(Error::required(path, ""));
        return;
    };
    let detail = match std::fs::metadata(file) {
        _ if !file.is_absolute() => "must be an absolute path".to_owned(),
        Err(error) => format!("error loading file: {error}"),
        Ok(metadata) if !metadata.is_file() => "must be a regular file".to_owned(),
        Ok(_) => return,
    };
    errors.push(Error::invalid(path, file.to_string_lossy().as_ref(), &detail));
}

fn check_conditions(errors: &mut ErrorList, path: &Path, list: &[Value]) {
    if list.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(path, list.len(), MAX_CONDITIONS));
        return;
    }
    let mut seen = HashSet::new();
    for (i, condition) in list.iter().enumerate() {
        let at = path.index(i).child("expression");
        let expression = condition["expression"].as_str().unwrap_or_default();
        if expression.trim().is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !seen.insert(expression) {
            errors.push(Error::duplicate(&at, expression));
        } else if let Some((_, source, why)) = conditions(std::slice::from_ref(condition)).error() {
            errors.push(Error::invalid(&at, source, why));
        }
    }
}

/// On what the webhook is asked.
fn conditions(list: &[Value]) -> Conditions {
    Conditions::read(&json!({ "matchConditions": list }), &Environment::of(&["request"]))
}

/// The authorizer of a file whose mistakes are told.
fn remote(file: WebhookFile, clock: &Clock) -> Result<AccessWebhook, String> {
    let duration = |text: &Option<String>, default| {
        text.as_deref().map_or(Some(default), parse_duration).unwrap_or(default)
    };
    let remembered = |ttl: &Option<String>, remembers: Option<bool>, default| match remembers {
        Some(false) => Duration::ZERO,
        _ => duration(ttl, default),
    };
    let manner = Manner {
        authorized: remembered(&file.authorized_ttl, file.cache_authorized_requests, AUTHORIZED_TTL),
        unauthorized: remembered(&file.unauthorized_ttl, file.cache_unauthorized_requests, UNAUTHORIZED_TTL),
        denies_on_failure: file.failure_policy == "Deny",
    };
    let config = file.connection_info.kube_config_file.unwrap_or_default();
    let webhook = Webhook::open(&config, duration(&file.timeout, MAX_TIMEOUT), clock.clone())?;
    Ok(AccessWebhook::new(webhook, manner, conditions(&file.match_conditions), clock.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(authorizers: Value) -> Vec<String> {
        let file = json!({ "apiVersion": "v1", "kind": "x", "authorizers": authorizers });
        check(&serde_json::from_value(file).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_in_upstreams_words() {
        let webhook = json!({
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
            "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": "/dev/null" },
        });
        let types = r#"supported values: "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook""#;
        for (authorizers, expected) in [
            (
                json!([]),
                &["authorizers: Required value: at least one authorization mode must be defined"][..],
            ),
            (json!([{ "type": "RBAC", "name": "rbac" }]), &[]),
            (
                json!([{ "name": "x" }, { "type": "ABAC", "name": "abac" }]),
                &[
                    "authorizers[0].type: Required value",
                    &format!("authorizers[1].type: Unsupported value: \"ABAC\": {types}"),
                ],
            ),
            (
                json!([{ "type": "RBAC" }, { "type": "RBAC", "name": "rbac" }, { "type": "Node", "name": "n", "webhook": webhook }, { "type": "Webhook", "name": "n" }]),
                &[
                    "authorizers[0].name: Required value",
                    "authorizers[1].type: Duplicate value: \"RBAC\"",
                    "authorizers[2].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook",
                    "authorizers[3].name: Duplicate value: \"n\"",
                    "authorizers[3].webhook: Required value: required when type=Webhook",
                ],
            ),
            (
                json!([{ "type": "Webhook", "name": "w", "webhook": {} }]),
                &[
                    "authorizers[0].timeout: Required value",
                    "authorizers[0].subjectAccessReviewVersion: Required value",
                    "authorizers[0].failurePolicy: Required value",
                    "authorizers[0].connectionInfo.type: Required value",
                ],
            ),
            (
                json!([{ "type": "Webhook", "name": "w", "webhook": {
                    "timeout": "31s", "authorizedTTL": "-1s", "unauthorizedTTL": "0s",
                    "subjectAccessReviewVersion": "v2", "matchConditionSubjectAccessReviewVersion": "v2",
                    "failurePolicy": "x", "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": "x" },
                } }]),
                &[
                    "authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s",
                    "authorizers[0].authorizedTTL: Invalid value: \"-1s\": must be > 0s",
                    "authorizers[0].unauthorizedTTL: Required value",
                    "authorizers[0].subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\"",
                    "authorizers[0].failurePolicy: Unsupported value: \"x\": supported values: \"NoOpinion\", \"Deny\"",
                    "authorizers[0].matchConditionSubjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\"",
                    "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"x\": must be an absolute path",
                ],
            ),
        ] {
            assert_eq!(errors(authorizers.clone()), expected, "{authorizers}");
        }
        let mut conditional = webhook;
        conditional["connectionInfo"]["kubeConfigFile"] = json!("/");
        conditional["matchConditions"] =
            json!([{ "expression": " " }, { "expression": "true" }, { "expression": "true" }]);
        assert_eq!(
            errors(json!([{ "type": "Webhook", "name": "w", "webhook": conditional }])),
            [
                "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified",
                "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"/\": must be a regular file",
                "authorizers[0].matchConditions[0].expression: Required value",
                "authorizers[0].matchConditions[2].expression: Duplicate value: \"true\"",
            ]
        );
    }
}
