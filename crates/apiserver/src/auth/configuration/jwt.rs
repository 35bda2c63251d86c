//! An issuer of tokens as a file describes it: what may be said, and what it comes to.
//!
//! **Contract**: pure. All mistakes of a file are told at once, in upstream's words.
//! **Upstream**: `JWTAuthenticator` of `k8s.io/apiserver/pkg/apis/apiserver`, with its `validation`.

use crate::auth::oidc::{IssuerConfig, Mapping, Rule, Source};
use crate::cel::{Compiled, Environment, Kind};
use api::field::{Error, ErrorList, Path};
use api::names;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use std::collections::HashSet;

/// The most issuers of one file.
const MAX_ISSUERS: usize = 64;
/// What tokens may be signed with when a file describes the issuer. **Upstream**: `AllValidSigningAlgorithms`.
pub(super) const ALGORITHMS: [(&str, Algorithm); 8] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
];
const BOTH: &str = "claim and expression can't both be set";
const NEITHER: &str = "claim or expression is required";
const UNVERIFIED: &str = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Jwt {
    #[serde(default)]
    issuer: IssuerFile,
    #[serde(default)]
    claim_validation_rules: Vec<ClaimRule>,
    #[serde(default)]
    claim_mappings: Mappings,
    #[serde(default)]
    user_validation_rules: Vec<UserRule>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct IssuerFile {
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: String,
    certificate_authority: String,
    audiences: Vec<String>,
    audience_match_policy: String,
    egress_selector_type: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ClaimRule {
    claim: String,
    required_value: String,
    expression: String,
    message: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct UserRule {
    expression: String,
    message: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Extra {
    key: String,
    value_expression: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Mappings {
    username: Claim,
    groups: Claim,
    uid: UnprefixedClaim,
    extra: Vec<Extra>,
}

/// A claim, or an expression over all of them.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Claim {
    claim: String,
    prefix: Option<String>,
    expression: String,
}

/// The same where there is no such thing as a prefix.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct UnprefixedClaim {
    claim: String,
    expression: String,
}

impl From<UnprefixedClaim> for Claim {
    fn from(UnprefixedClaim { claim, expression }: UnprefixedClaim) -> Self {
        let prefix = (!claim.is_empty()).then(String::new);
        Self { claim, prefix, expression }
    }
}

/// What the issuers of a file come to, each with the authorities (PEM) that vouch for its server.
/// `disallowed`: issuers of this cluster's own tokens.
pub(super) fn issuers(
    list: Vec<Jwt>,
    disallowed: &[&str],
) -> Result<Vec<(IssuerConfig, Option<String>)>, ErrorList> {
    let root = Path::new("jwt");
    if list.len() > MAX_ISSUERS {
        return Err(vec![Error::too_many(&root, list.len(), MAX_ISSUERS)]);
    }
    let (mut urls, mut discovery_urls) = (HashSet::new(), HashSet::new());
    let mut reading = Reading::default();
    let mut issuers = Vec::with_capacity(list.len());
    for (i, jwt) in list.into_iter().enumerate() {
        let at = root.index(i).child("issuer");
        let (url, discovery_url) = (jwt.issuer.url.clone(), jwt.issuer.discovery_url.clone());
        issuers.extend(reading.issuer(jwt, &root.index(i), disallowed));
        if !urls.insert(url.clone()) {
            reading.errors.push(Error::duplicate(&at.child("url"), url));
        }
        if !discovery_url.is_empty() && !discovery_urls.insert(discovery_url.clone()) {
            reading.errors.push(Error::duplicate(&at.child("discoveryURL"), discovery_url));
        }
    }
    if reading.errors.is_empty() { Ok(issuers) } else { Err(reading.errors) }
}

/// A file being read, with what was wrong so far.
#[derive(Default)]
struct Reading {
    errors: ErrorList,
}

impl Reading {
    fn issuer(
        &mut self,
        jwt: Jwt,
        path: &Path,
        disallowed: &[&str],
    ) -> Option<(IssuerConfig, Option<String>)> {
        self.check_server(&jwt.issuer, &path.child("issuer"), disallowed);
        let (required, claim_rules) =
            self.claim_rules(jwt.claim_validation_rules, &path.child("claimValidationRules"));
        let at = path.child("claimMappings");
        let mappings = jwt.claim_mappings;
        if mappings.username.claim.is_empty() && mappings.username.expression.is_empty() {
            self.errors.push(Error::required(&at.child("username"), NEITHER));
        }
        let username = self.source(mappings.username, &at.child("username"));
        let groups = self.source(mappings.groups, &at.child("groups"));
        let uid = self.source(mappings.uid.into(), &at.child("uid"));
        let extra = self.extra(mappings.extra, &at.child("extra"));
        if let Some(Source::Expression(name)) = &username
            && mentions(&name.source, "email")
            && !std::iter::once(name)
                .chain(extra.iter().map(|(_, value)| value))
                .chain(claim_rules.iter().map(|rule| &rule.expression))
                .any(|expression| mentions(&expression.source, "email_verified"))
        {
            let at = at.child("username").child("expression");
            self.errors.push(Error::invalid(&at, &*name.source, UNVERIFIED));
        }
        let user_rules = self.user_rules(jwt.user_validation_rules, &path.child("userValidationRules"));
        let from = jwt.issuer;
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let config = IssuerConfig {
            url: from.url,
            discovery_url: text(from.discovery_url),
            audiences: from.audiences,
            required,
            claim_rules,
            username: username?,
            groups,
            uid,
            extra,
            user_rules,
            algorithms: ALGORITHMS.iter().map(|(_, algorithm)| *algorithm).collect(),
        };
        Some((config, text(from.certificate_authority)))
    }

    fn check_server(&mut self, issuer: &IssuerFile, path: &Path, disallowed: &[&str]) {
        let (at, url, discovery) = (path.child("url"), &issuer.url, &issuer.discovery_url);
        if url.is_empty() {
            self.errors.push(Error::required(&at, ""));
        } else {
            if disallowed.contains(&url.as_str()) {
                let all = disallowed.join(" ");
                let detail = format!("URL must not overlap with disallowed issuers: [{all}]");
                self.errors.push(Error::invalid(&at, url.as_str(), &detail));
            }
            self.check_url(url, &at);
        }
        if !discovery.is_empty() {
            let at = path.child("discoveryURL");
            if !url.is_empty() && url.trim_end_matches('/') == discovery.trim_end_matches('/') {
                let detail = "discoveryURL must be different from URL";
                self.errors.push(Error::invalid(&at, discovery.as_str(), detail));
            }
            self.check_url(discovery, &at);
        }
        self.check_audiences(issuer, path);
        let pem = &issuer.certificate_authority;
        if !pem.is_empty() && !crate::outbound::has_certificates(pem) {
            let detail = "data does not contain any valid RSA or ECDSA certificates";
            self.errors.push(Error::invalid(&path.child("certificateAuthority"), "<omitted>", detail));
        }
        let egress = &issuer.egress_selector_type;
        let at = path.child("egressSelectorType");
        match egress.as_str() {
            "" => {}
            "controlplane" | "cluster" => {
                let detail = "egress lookup required with egress selector type";
                self.errors.push(Error::invalid(&at, egress.as_str(), detail));
            }
            _ => {
                let detail = "egress selector must be either controlplane or cluster";
                self.errors.push(Error::invalid(&at, egress.as_str(), detail));
            }
        }
    }

    fn check_url(&mut self, url: &str, path: &Path) {
        let mut wrong = |detail: &str| self.errors.push(Error::invalid(path, url, detail));
        let (start, fragment) = url.split_once('#').unwrap_or((url, ""));
        let (start, query) = start.split_once('?').unwrap_or((start, ""));
        let (scheme, rest) = start.split_once("://").unwrap_or(("", start));
        if scheme != "https" {
            wrong("URL scheme must be https");
        }
        if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
            wrong("URL must not contain a username or password");
        }
        if !query.is_empty() {
            wrong("URL must not contain a query");
        }
        if !fragment.is_empty() {
            wrong("URL must not contain a fragment");
        }
    }

    fn check_audiences(&mut self, issuer: &IssuerFile, path: &Path) {
        let (at, audiences) = (path.child("audiences"), &issuer.audiences);
        if audiences.is_empty() {
            let detail = format!("at least one {at} is required");
            self.errors.push(Error::required(&at, &detail));
            return;
        }
        let mut seen = HashSet::new();
        for (i, audience) in audiences.iter().enumerate() {
            if audience.is_empty() {
                self.errors.push(Error::required(&at.index(i), ""));
            }
            if !seen.insert(audience) {
                self.errors.push(Error::duplicate(&at.index(i), audience.as_str()));
            }
        }
        let (at, policy) = (path.child("audienceMatchPolicy"), issuer.audience_match_policy.as_str());
        let detail = match (audiences.len(), policy) {
            (_, "MatchAny") | (1, "") => return,
            (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
            _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
        };
        self.errors.push(Error::invalid(&at, policy, detail));
    }

    fn claim_rules(&mut self, rules: Vec<ClaimRule>, path: &Path) -> (Vec<(String, String)>, Vec<Rule>) {
        let (mut required, mut checked) = (Vec::new(), Vec::new());
        let (mut claims, mut expressions) = (HashSet::new(), HashSet::new());
        for (i, rule) in rules.into_iter().enumerate() {
            let at = path.index(i);
            match (rule.claim.is_empty(), rule.expression.is_empty()) {
                (false, false) => self.errors.push(Error::invalid(&at, rule.claim, BOTH)),
                (true, true) => self.errors.push(Error::required(&at, NEITHER)),
                (false, true) => {
                    if !rule.message.is_empty() {
                        let detail = "may not be specified when claim is set";
                        self.errors.push(Error::invalid(&at.child("message"), rule.message, detail));
                    }
                    if !claims.insert(rule.claim.clone()) {
                        self.errors.push(Error::duplicate(&at.child("claim"), rule.claim.as_str()));
                    }
                    required.push((rule.claim, rule.required_value));
                }
                (true, false) => {
                    if !rule.required_value.is_empty() {
                        let detail = "may not be specified when expression is set";
                        let at = at.child("requiredValue");
                        self.errors.push(Error::invalid(&at, rule.required_value, detail));
                    }
                    checked.extend(self.rule(rule.expression, rule.message, &at, "claims", &mut expressions));
                }
            }
        }
        (required, checked)
    }

    fn user_rules(&mut self, rules: Vec<UserRule>, path: &Path) -> Vec<Rule> {
        let mut expressions = HashSet::new();
        let rules = rules.into_iter().enumerate();
        rules
            .filter_map(|(i, rule)| {
                self.rule(rule.expression, rule.message, &path.index(i), "user", &mut expressions)
            })
            .collect()
    }

    /// A rule over `claims` or over `user`, which is there once.
    fn rule(
        &mut self,
        expression: String,
        message: String,
        path: &Path,
        about: &str,
        seen: &mut HashSet<String>,
    ) -> Option<Rule> {
        let at = path.child("expression");
        if expression.is_empty() {
            self.errors.push(Error::required(&at, ""));
            return None;
        }
        if !seen.insert(expression.clone()) {
            self.errors.push(Error::duplicate(&at, expression));
            return None;
        }
        let expression = self.compiled(&expression, &at, about, Kind::Bool)?;
        Some(Rule { expression, message })
    }

    /// A claim with its prefix, or an expression over all of them.
    fn source(&mut self, from: Claim, path: &Path) -> Option<Source> {
        match (from.claim.is_empty(), from.expression.is_empty()) {
            (true, true) => None,
            (false, false) => {
                self.errors.push(Error::invalid(path, "", BOTH));
                None
            }
            (true, false) => {
                if let Some(prefix) = from.prefix {
                    let detail = "may not be specified when expression is set";
                    self.errors.push(Error::invalid(&path.child("prefix"), prefix, detail));
                }
                // Groups may be several; what an expression over claims gives shows when it is evaluated.
                let at = path.child("expression");
                self.compiled(&from.expression, &at, "claims", Kind::Any).map(Source::Expression)
            }
            (false, true) => {
                if from.prefix.is_none() {
                    let detail = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                    self.errors.push(Error::required(&path.child("prefix"), detail));
                }
                let prefix = from.prefix.unwrap_or_default();
                Some(Source::Claim(Mapping { claim: from.claim, prefix }))
            }
        }
    }

    fn extra(&mut self, list: Vec<Extra>, path: &Path) -> Vec<(String, Compiled)> {
        let (mut seen, mut extras) = (HashSet::new(), Vec::with_capacity(list.len()));
        for (i, Extra { key, value_expression }) in list.into_iter().enumerate() {
            let at = path.index(i).child("key");
            self.errors.extend(names::domain_prefixed_path(&at, &key));
            if key.chars().any(char::is_uppercase) {
                self.errors.push(Error::invalid(&at, key.as_str(), "must be lowercase"));
            }
            let domain = key.split_once('/').map_or("", |(domain, _)| domain);
            if ["kubernetes.io", "k8s.io"].iter().any(|ours| {
                domain.strip_suffix(ours).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }) {
                let detail = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
                self.errors.push(Error::invalid(&at, key.as_str(), detail));
            }
            if !seen.insert(key.clone()) {
                self.errors.push(Error::duplicate(&at, key));
                continue;
            }
            let at = path.index(i).child("valueExpression");
            if value_expression.is_empty() {
                self.errors.push(Error::required(&at, ""));
                continue;
            }
            let value = self.compiled(&value_expression, &at, "claims", Kind::Any);
            extras.extend(value.map(|value| (key, value)));
        }
        extras
    }

    fn compiled(&mut self, source: &str, path: &Path, about: &str, kind: Kind) -> Option<Compiled> {
        let compiled = Compiled::new(source, &Environment::of(&[about]), kind);
        match compiled.error() {
            Some(why) => {
                self.errors.push(Error::invalid(path, source, why));
                None
            }
            None => Some(compiled),
        }
    }
}

/// Whether an expression speaks of a claim: `claims.email` or `claims.?email`, not `claims.email_verified`.
fn mentions(source: &str, claim: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    ["claims.", "claims.?"].iter().any(|start| {
        let field = format!("{start}{claim}");
        source.match_indices(&field).any(|(at, _)| !goes_on(&source[at + field.len()..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn jwt() -> Value {
        json!({
            "issuer": { "url": "https://a", "audiences": ["us"] },
            "claimMappings": { "username": { "claim": "sub", "prefix": "" } },
        })
    }

    fn errors(list: Vec<Value>) -> Vec<String> {
        let list = list.into_iter().map(|jwt| serde_json::from_value(jwt).unwrap()).collect();
        let found = issuers(list, &["https://own"]).map(|_| ()).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_in_upstreams_words() {
        let prefix =
            "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
        for (at, value, expected) in [
            ("/issuer", json!({ "url": "https://a", "audiences": ["us"] }), &[][..]),
            (
                "/issuer",
                json!({}),
                &[
                    "jwt[0].issuer.url: Required value",
                    "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
                ],
            ),
            (
                "/issuer/url",
                json!("http://u:p@a/?q=1#f"),
                &[
                    "jwt[0].issuer.url: Invalid value: \"http://u:p@a/?q=1#f\": URL scheme must be https",
                    "jwt[0].issuer.url: Invalid value: \"http://u:p@a/?q=1#f\": URL must not contain a username or password",
                    "jwt[0].issuer.url: Invalid value: \"http://u:p@a/?q=1#f\": URL must not contain a query",
                    "jwt[0].issuer.url: Invalid value: \"http://u:p@a/?q=1#f\": URL must not contain a fragment",
                ],
            ),
            (
                "/issuer/url",
                json!("https://own"),
                &[
                    "jwt[0].issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own]",
                ],
            ),
            (
                "/issuer/discoveryURL",
                json!("https://a/"),
                &[
                    "jwt[0].issuer.discoveryURL: Invalid value: \"https://a/\": discoveryURL must be different from URL",
                ],
            ),
            (
                "/issuer/audiences",
                json!(["a", "a", ""]),
                &[
                    "jwt[0].issuer.audiences[1]: Duplicate value: \"a\"",
                    "jwt[0].issuer.audiences[2]: Required value",
                    "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
                ],
            ),
            (
                "/issuer/audienceMatchPolicy",
                json!("All"),
                &[
                    "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"All\": audienceMatchPolicy must be empty or MatchAny for single audience",
                ],
            ),
            (
                "/issuer/certificateAuthority",
                json!("x"),
                &[
                    "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA certificates",
                ],
            ),
            (
                "/issuer/egressSelectorType",
                json!("x"),
                &[
                    "jwt[0].issuer.egressSelectorType: Invalid value: \"x\": egress selector must be either controlplane or cluster",
                ],
            ),
            (
                "/claimMappings",
                json!({ "groups": { "claim": "g" }, "uid": { "claim": "a", "expression": "b" } }),
                &[
                    "jwt[0].claimMappings.username: Required value: claim or expression is required",
                    &format!("jwt[0].claimMappings.groups.prefix: Required value: {prefix}"),
                    "jwt[0].claimMappings.uid: Invalid value: \"\": claim and expression can't both be set",
                ],
            ),
            (
                "/claimMappings/username",
                json!({ "expression": "claims.email", "prefix": "x" }),
                &[
                    "jwt[0].claimMappings.username.prefix: Invalid value: \"x\": may not be specified when expression is set",
                    &format!(
                        "jwt[0].claimMappings.username.expression: Invalid value: \"claims.email\": {UNVERIFIED}"
                    ),
                ],
            ),
            (
                "/claimMappings/extra",
                json!([
                    { "key": "a.kubernetes.io/x", "valueExpression": "claims.x" },
                    { "key": "a.io/X", "valueExpression": "" },
                    { "key": "a.io/X", "valueExpression": "claims.x" },
                    { "key": "x", "valueExpression": "claims.x" },
                ]),
                &[
                    "jwt[0].claimMappings.extra[0].key: Invalid value: \"a.kubernetes.io/x\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
                    "jwt[0].claimMappings.extra[1].key: Invalid value: \"a.io/X\": must be lowercase",
                    "jwt[0].claimMappings.extra[1].valueExpression: Required value",
                    "jwt[0].claimMappings.extra[2].key: Invalid value: \"a.io/X\": must be lowercase",
                    "jwt[0].claimMappings.extra[2].key: Duplicate value: \"a.io/X\"",
                    "jwt[0].claimMappings.extra[3].key: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
                ],
            ),
            (
                "/claimValidationRules",
                json!([
                    {},
                    { "claim": "a", "expression": "b" },
                    { "claim": "a", "message": "m" },
                    { "claim": "a" },
                    { "expression": "claims.a == 1", "requiredValue": "v" },
                    { "expression": "claims.a == 1" },
                ]),
                &[
                    "jwt[0].claimValidationRules[0]: Required value: claim or expression is required",
                    "jwt[0].claimValidationRules[1]: Invalid value: \"a\": claim and expression can't both be set",
                    "jwt[0].claimValidationRules[2].message: Invalid value: \"m\": may not be specified when claim is set",
                    "jwt[0].claimValidationRules[3].claim: Duplicate value: \"a\"",
                    "jwt[0].claimValidationRules[4].requiredValue: Invalid value: \"v\": may not be specified when expression is set",
                    "jwt[0].claimValidationRules[5].expression: Duplicate value: \"claims.a == 1\"",
                ],
            ),
            (
                "/userValidationRules",
                json!([{}, { "expression": "user.username != ''" }, { "expression": "user.username != ''" }]),
                &[
                    "jwt[0].userValidationRules[0].expression: Required value",
                    "jwt[0].userValidationRules[2].expression: Duplicate value: \"user.username != ''\"",
                ],
            ),
        ] {
            let mut jwt = jwt();
            let (parent, field) = at.rsplit_once('/').unwrap();
            jwt.pointer_mut(parent).unwrap()[field] = value;
            assert_eq!(errors(vec![jwt]), expected, "{at}");
        }
    }

    #[test]
    fn issuers_are_told_apart_by_their_urls() {
        let mut with_discovery = jwt();
        with_discovery["issuer"]["discoveryURL"] = json!("https://b/x");
        assert_eq!(
            errors(vec![with_discovery.clone(), with_discovery]),
            [
                "jwt[1].issuer.url: Duplicate value: \"https://a\"",
                "jwt[1].issuer.discoveryURL: Duplicate value: \"https://b/x\"",
            ]
        );
        assert_eq!(errors(vec![jwt(); 65]), ["jwt: Too many: 65: must have at most 64 items"]);
    }

    #[test]
    fn an_expression_mentions_the_claim_and_not_its_namesakes() {
        for (source, mentioned) in [
            ("claims.email", true),
            ("claims.?email.orValue('')", true),
            ("claims.email_verified", false),
            ("claims.emails", false),
            ("claims.email + claims.email_verified", true),
        ] {
            assert_eq!(mentions(source, "email"), mentioned, "{source}");
        }
    }
}
