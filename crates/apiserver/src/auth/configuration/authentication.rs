//! Who may authenticate how, besides certificates and tokens of this cluster.

use super::{parse, read};
use crate::auth::oidc::{Issuer, IssuerConfig, Mapping};
use crate::auth::request_header::RequestHeader;
use crate::auth::static_token::StaticTokens;
use crate::auth::token_webhook::TokenWebhook;
use crate::auth::webhook::Webhook;
use crate::options::{OidcOptions, Options};
use crate::outbound::{Outbound, TlsOptions};
use component_base::Clock;
use component_base::logging::Chain;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// **Upstream**: `DefaultRequestTimeout` of webhooks.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// What tokens may be signed with when a file describes the issuer. **Upstream**: `AllValidSigningAlgorithms`.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("EdDSA", Algorithm::EdDSA),
];

/// Everything configured about authentication.
#[derive(Default)]
pub(crate) struct Authentication {
    pub(crate) anonymous: Anonymous,
    pub(crate) request_header: RequestHeader,
    pub(crate) static_tokens: StaticTokens,
    pub(crate) issuers: Vec<Issuer>,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    issuer: IssuerFile,
    #[serde(default)]
    claim_validation_rules: Vec<Rule>,
    claim_mappings: Mappings,
    #[serde(default)]
    user_validation_rules: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerFile {
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: Option<String>,
    certificate_authority: Option<String>,
    #[serde(default)]
    audiences: Vec<String>,
    audience_match_policy: Option<String>,
    egress_selector_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    claim: String,
    #[serde(default)]
    required_value: String,
    #[serde(default)]
    expression: String,
    #[serde(default, rename = "message")]
    _message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mappings {
    username: Claim,
    groups: Option<Claim>,
    uid: Option<Claim>,
    #[serde(default)]
    extra: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Claim {
    #[serde(default)]
    claim: String,
    prefix: Option<String>,
    #[serde(default)]
    expression: String,
}

impl Authentication {
    /// As the flags say, and the files that they name.
    pub(crate) fn read(options: &Options, clock: &Clock) -> Result<Self, String> {
        let mut read_file = None;
        if let Some(path) = &options.authentication_config {
            if !options.oidc.issuer_url.is_empty() {
                return Err("authentication-config file and oidc-* flags are mutually exclusive".to_owned());
            }
            let file: File = parse(&read(path)?, "AuthenticationConfiguration")
                .map_err(|why| format!("{}: {why}", path.display()))?;
            read_file = Some(file);
        }
        let anonymous = match read_file.as_mut().and_then(|file| file.anonymous.take()) {
            None if options.anonymous_auth => Anonymous::Yes,
            None => Anonymous::No,
            Some(file) if !file.enabled && !file.conditions.is_empty() => {
                return Err("anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined".to_owned());
            }
            Some(file) if !file.enabled => Anonymous::No,
            Some(file) if file.conditions.is_empty() => Anonymous::Yes,
            Some(file) => {
                Anonymous::For(file.conditions.into_iter().map(|condition| condition.path).collect())
            }
        };
        let mut issuers: Vec<Issuer> = Vec::new();
        for (i, jwt) in read_file.map(|file| file.jwt).unwrap_or_default().into_iter().enumerate() {
            let issuer = issuer(jwt, clock).map_err(|(field, why)| format!("jwt[{i}].{field}: {why}"))?;
            issuers.push(issuer);
        }
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
        Ok(Self { anonymous, request_header, static_tokens, issuers, webhook })
    }
}

type Mistake = (&'static str, String);

fn outbound(ca_pem: Option<String>) -> Result<Outbound, String> {
    Outbound::new(&TlsOptions { ca_pem, ..TlsOptions::default() }).map_err(|error| Chain(&error).to_string())
}

fn issuer(jwt: Jwt, clock: &Clock) -> Result<Issuer, Mistake> {
    const NO_CEL: &str = "expressions are not supported";
    let from = jwt.issuer;
    if !from.url.starts_with("https://") {
        return Err(("issuer.url", format!("Invalid value: {:?}: URL scheme must be https", from.url)));
    }
    if from.audiences.is_empty() {
        return Err((
            "issuer.audiences",
            "Required value: at least one issuer.audiences is required".to_owned(),
        ));
    }
    match from.audience_match_policy.as_deref() {
        None | Some("" | "MatchAny") => {}
        Some(other) => {
            return Err((
                "issuer.audienceMatchPolicy",
                format!("Invalid value: {other:?}: audienceMatchPolicy must be MatchAny"),
            ));
        }
    }
    if from.egress_selector_type.is_some_and(|kind| !kind.is_empty()) {
        return Err(("issuer.egressSelectorType", "Forbidden: there is no egress selector".to_owned()));
    }
    if jwt.claim_validation_rules.iter().any(|rule| !rule.expression.is_empty()) {
        return Err(("claimValidationRules", NO_CEL.to_owned()));
    }
    if !jwt.user_validation_rules.is_empty() {
        return Err(("userValidationRules", NO_CEL.to_owned()));
    }
    let mappings = jwt.claim_mappings;
    if !mappings.extra.is_empty() {
        return Err(("claimMappings.extra", NO_CEL.to_owned()));
    }
    let by_claim = |field, claim: Claim, prefixed: bool| -> Result<Mapping, Mistake> {
        if !claim.expression.is_empty() {
            return Err((field, NO_CEL.to_owned()));
        }
        if claim.claim.is_empty() {
            return Err((field, "Required value: claim or expression is required".to_owned()));
        }
        if prefixed && claim.prefix.is_none() {
            let why = "Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            return Err((field, why.to_owned()));
        }
        Ok(Mapping { claim: claim.claim, prefix: claim.prefix.unwrap_or_default() })
    };
    let username = by_claim("claimMappings.username", mappings.username, true)?;
    let groups = mappings.groups.filter(|claim| !claim.claim.is_empty() || !claim.expression.is_empty());
    let groups = groups.map(|claim| by_claim("claimMappings.groups", claim, true)).transpose()?;
    let uid = mappings.uid.map(|claim| by_claim("claimMappings.uid", claim, false)).transpose()?;
    let required = jwt.claim_validation_rules.into_iter().map(|rule| (rule.claim, rule.required_value));
    let config = IssuerConfig {
        url: from.url,
        discovery_url: from.discovery_url.filter(|url| !url.is_empty()),
        audiences: from.audiences,
        required: required.collect(),
        username,
        groups,
        uid: uid.map(|mapping| mapping.claim),
        algorithms: ALGORITHMS.iter().map(|(_, algorithm)| *algorithm).collect(),
    };
    let ca = from.certificate_authority.filter(|pem| !pem.is_empty());
    let outbound = outbound(ca).map_err(|why| ("issuer.certificateAuthority", why))?;
    Ok(Issuer::new(config, outbound, clock.clone()))
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
        .then(|| Mapping { claim: options.groups_claim.clone(), prefix: options.groups_prefix.clone() });
    let config = IssuerConfig {
        url: options.issuer_url.clone(),
        discovery_url: None,
        audiences: vec![options.client_id.clone()],
        required: required.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        username: Mapping { claim: options.username_claim.clone(), prefix },
        groups,
        uid: None,
        algorithms: algorithms.collect::<Result<_, _>>()?,
    };
    let ca = options.ca_file.as_deref().map(read).transpose()?;
    Ok(Issuer::new(config, outbound(ca)?, clock.clone()))
}
