//! Who may authenticate how, besides certificates and tokens of this cluster.

use super::jwt::{self, ALGORITHMS, Jwt};
use super::{parse, read};
use crate::auth::oidc::{Issuer, IssuerConfig, Mapping, Source};
use crate::auth::request_header::RequestHeader;
use crate::auth::static_token::StaticTokens;
use crate::auth::token_webhook::TokenWebhook;
use crate::auth::webhook::Webhook;
use crate::options::{OidcOptions, Options};
use crate::outbound::{Outbound, TlsOptions};
use api::field::aggregate;
use component_base::Clock;
use component_base::logging::Chain;
use serde::Deserialize;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// **Upstream**: `DefaultRequestTimeout` of webhooks.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// Everything configured about authentication.
#[derive(Default)]
pub(crate) struct Authentication {
    pub(crate) anonymous: Anonymous,
    pub(crate) request_header: RequestHeader,
    pub(crate) static_tokens: StaticTokens,
    pub(crate) issuers: Arc<Issuers>,
    pub(crate) webhook: Option<TokenWebhook>,
}

/// Who may come without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// Nobody.
    No,
    /// Anybody, for any path.
    #[default]
    Yes,
    /// Anybody, for these paths.
    For(Vec<String>),
}

impl Anonymous {
    pub(crate) fn allows(&self, path: &str) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::For(paths) => paths.iter().any(|open| open == path),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    jwt: Vec<Jwt>,
    anonymous: Option<AnonymousFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AnonymousFile {
    enabled: bool,
    #[serde(default)]
    conditions: Vec<PathCondition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathCondition {
    path: String,
}

impl Authentication {
    /// As the flags say, and the files that they name. `own_issuer` signs the tokens of this cluster.
    pub(crate) fn read(options: &Options, own_issuer: &str, clock: &Clock) -> Result<Self, String> {
        let mut read_file = None;
        if let Some(path) = &options.authentication_config {
            if !options.oidc.issuer_url.is_empty() {
                return Err("authentication-config file and oidc-* flags are mutually exclusive".to_owned());
            }
            read_file = Some(read_configuration(path)?);
        }
        let anonymous = match read_file.as_mut().and_then(|file| file.anonymous.take()) {
            None if options.anonymous_auth.unwrap_or(true) => Anonymous::Yes,
            None => Anonymous::No,
            Some(_) if options.anonymous_auth.is_some() => {
                return Err("--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file".to_owned());
            }
            Some(file) if !file.enabled => Anonymous::No,
            Some(file) if file.conditions.is_empty() => Anonymous::Yes,
            Some(file) => {
                Anonymous::For(file.conditions.into_iter().map(|condition| condition.path).collect())
            }
        };
        let mut issuers = match (read_file, &options.authentication_config) {
            (Some(file), Some(path)) => of_file(file.jwt, path, own_issuer, clock)?,
            _ => Vec::new(),
        };
        if !options.oidc.issuer_url.is_empty() {
            issuers.push(by_flags(&options.oidc, clock)?);
        }
        let static_tokens = match &options.token_file {
            None => StaticTokens::default(),
            Some(path) => {
                let parsed = StaticTokens::parse(&read(path)?);
                parsed.map_err(|why| format!("{}: {why}", path.display()))?
            }
        };
        let webhook = match &options.token_webhook {
            None => None,
            Some(path) => {
                let webhook = Webhook::open(path, WEBHOOK_TIMEOUT, clock.clone())?;
                Some(TokenWebhook::new(webhook, options.token_webhook_cache))
            }
        };
        let request_header = RequestHeader::new(&options.request_header)?;
        Ok(Self { anonymous, request_header, static_tokens, issuers: Arc::new(issuers.into()), webhook })
    }
}

/// The issuers that tokens may come from; they change when their file does.
#[derive(Default)]
pub(crate) struct Issuers(RwLock<Arc<Vec<Issuer>>>);

impl Issuers {
    /// Those of now.
    pub(crate) fn current(&self) -> Arc<Vec<Issuer>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file anew; what it says counts if it makes sense, else what was said before. Who may come without
    /// credentials stays as it was when the server started.
    pub(crate) fn reload(&self, file: &Path, own_issuer: &str, clock: &Clock) -> Result<(), String> {
        let issuers = of_file(read_configuration(file)?.jwt, file, own_issuer, clock)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(issuers);
        Ok(())
    }
}

impl From<Vec<Issuer>> for Issuers {
    fn from(issuers: Vec<Issuer>) -> Self {
        Self(RwLock::new(Arc::new(issuers)))
    }
}

fn read_configuration(path: &Path) -> Result<File, String> {
    let file: File = parse(&read(path)?, "AuthenticationConfiguration")
        .map_err(|why| format!("{}: {why}", path.display()))?;
    match &file.anonymous {
        Some(anonymous) if !anonymous.enabled && !anonymous.conditions.is_empty() => Err(
            "anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined"
                .to_owned(),
        ),
        _ => Ok(file),
    }
}

fn of_file(jwt: Vec<Jwt>, path: &Path, own_issuer: &str, clock: &Clock) -> Result<Vec<Issuer>, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let configs = jwt::issuers(jwt, &[own_issuer]).map_err(|errors| named(aggregate(&errors)))?;
    let issuers = configs
        .into_iter()
        .map(|(config, ca)| Ok(Issuer::new(config, outbound(ca).map_err(named)?, clock.clone())));
    issuers.collect()
}

fn outbound(ca_pem: Option<String>) -> Result<Outbound, String> {
    Outbound::new(&TlsOptions { ca_pem, ..TlsOptions::default() }).map_err(|error| Chain(&error).to_string())
}

fn by_flags(options: &OidcOptions, clock: &Clock) -> Result<Issuer, String> {
    if options.client_id.is_empty() {
        return Err(
            "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
                .to_owned(),
        );
    }
    if !options.issuer_url.starts_with("https://") {
        return Err(format!("oidc-issuer-url {:?}: URL scheme must be https", options.issuer_url));
    }
    let algorithms = options.signing_algorithms.iter().map(|name| {
        let found = ALGORITHMS.iter().find(|(known, _)| known == name);
        found
            .map(|(_, algorithm)| *algorithm)
            .ok_or_else(|| format!("oidc: unsupported signing alg: {name:?}"))
    });
    let prefix = match options.username_prefix.as_str() {
        "-" => String::new(),
        // So that nobody takes the name of somebody of this cluster.
        "" if options.username_claim != "email" => format!("{}#", options.issuer_url),
        prefix => prefix.to_owned(),
    };
    let required = options.required_claims.iter().filter_map(|claim| claim.split_once('='));
    let groups = (!options.groups_claim.is_empty())
        .then(|| Mapping { claim: options.groups_claim.clone(), prefix: options.groups_prefix.clone() })
        .map(Source::Claim);
    let config = IssuerConfig {
        url: options.issuer_url.clone(),
        discovery_url: None,
        audiences: vec![options.client_id.clone()],
        required: required.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        claim_rules: Vec::new(),
        username: Source::Claim(Mapping { claim: options.username_claim.clone(), prefix }),
        groups,
        uid: None,
        extra: Vec::new(),
        user_rules: Vec::new(),
        algorithms: algorithms.collect::<Result<_, _>>()?,
    };
    let ca = options.ca_file.as_deref().map(read).transpose()?;
    Ok(Issuer::new(config, outbound(ca)?, clock.clone()))
}
