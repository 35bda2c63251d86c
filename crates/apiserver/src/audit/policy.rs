//! What is to be recorded about a request: a `Policy` of `audit.k8s.io/v1`.
//!
//! **Contract**: pure. The first rule that matches says the level; none: nothing is recorded.
//! **Upstream**: `k8s.io/apiserver/pkg/audit/policy`, `pkg/apis/audit/validation`.

use crate::auth::Action;
use serde::Deserialize;

/// How much is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when, and the answer's code.
    Metadata,
    /// And what was sent.
    Request,
    /// And what was answered.
    RequestResponse,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When a record is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Stage {
    /// Before anything is done.
    RequestReceived,
    /// When a stream begins.
    ResponseStarted,
    /// When the answer is complete.
    ResponseComplete,
    /// When a handler has panicked.
    Panic,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Policy {
    api_version: String,
    kind: String,
    #[serde(default)]
    #[expect(dead_code, reason = "a policy may carry metadata; it means nothing")]
    metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What is recorded about one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy file; the error is for whoever wrote it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(format!(
                "unknown group version field {:?} or kind {:?} in policy, expected audit.k8s.io/v1, Policy",
                policy.api_version, policy.kind
            ));
        }
        if policy.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        policy.rules.iter().enumerate().try_for_each(|(i, rule)| {
            rule.check().map_err(|(field, why)| format!("rules[{i}].{field}: Invalid value: {why}"))
        })?;
        Ok(policy)
    }

    /// What this policy wants to know about a request.
    pub(super) fn verdict(&self, action: &Action<'_>) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(action)) else {
            return Verdict::default();
        };
        Verdict {
            level: rule.level,
            omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.non_resource_urls.is_empty() && (!self.resources.is_empty() || !self.namespaces.is_empty()) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            return Err(("nonResourceURLs", format!("{:?}: {why}", self.non_resource_urls)));
        }
        for url in self.non_resource_urls.iter().filter(|url| *url != "*") {
            if !url.starts_with('/') {
                return Err((
                    "nonResourceURLs",
                    format!("{url:?}: non-resource URL rules must begin with a '/' character"),
                ));
            }
            if url.trim_end_matches('*').contains('*') {
                return Err((
                    "nonResourceURLs",
                    format!(
                        "{url:?}: non-resource URL wildcards '*' must be the final character of the rule"
                    ),
                ));
            }
        }
        for group in &self.resources {
            if group.group.contains('/') {
                return Err(("resources", format!("{:?}: a group has no version", group.group)));
            }
            if group.resources.is_empty() && !group.resource_names.is_empty() {
                return Err((
                    "resources",
                    format!("{:?}: using resourceNames requires at least one resource", group.resource_names),
                ));
            }
        }
        Ok(())
    }

    fn matches(&self, action: &Action<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.is_empty() || list.iter().any(|item| item == wanted);
        if !has(&self.users, &action.user.name) || !has(&self.verbs, action.verb) {
            return false;
        }
        if !self.user_groups.is_empty() && !self.user_groups.iter().any(|group| action.user.is_in(group)) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return action.is_resource
                && has(&self.namespaces, action.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|group| group.matches(action)));
        }
        if !self.non_resource_urls.is_empty() {
            return !action.is_resource
                && self.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
                    Some(prefix) => action.path.starts_with(prefix),
                    None => url == action.path,
                });
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, action: &Action<'_>) -> bool {
        if self.group != action.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.iter().any(|name| name == action.name) {
            return false;
        }
        let sub = action.subresource;
        self.resources.iter().any(|pattern| match pattern.split_once('/') {
            _ if pattern == "*" => true,
            None => sub.is_empty() && pattern == action.resource,
            Some(("*", wanted)) => !sub.is_empty() && wanted == sub,
            Some((resource, "*")) => resource == action.resource,
            Some((resource, wanted)) => resource == action.resource && wanted == sub,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserInfo;

    const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: [system:kube-proxy]
  verbs: [watch]
- level: Metadata
  userGroups: [system:nodes]
  omitStages: [ResponseStarted]
- level: RequestResponse
  resources:
  - resources: [pods, pods/status]
  namespaces: [a]
  omitManagedFields: false
- level: Request
  resources:
  - group: apps
  - resources: ['*/scale', 'services/*']
  - resources: [configmaps]
    resourceNames: [one]
- level: None
  nonResourceURLs: ['/healthz*', /version]
- level: Metadata
  resources:
  - resources: ['*']
";

    #[test]
    fn the_first_rule_that_matches_says_the_level() {
        let policy = Policy::parse(POLICY).unwrap();
        let user = |name: &str, group: &str| UserInfo::authenticated(name, [group.to_owned()]);
        let (jane, proxy, node) =
            (user("jane", "dev"), user("system:kube-proxy", "x"), user("n", "system:nodes"));
        for (action, level) in [
            (Action::on(&proxy, "watch", "", "services"), Level::None),
            (Action::on(&node, "get", "", "secrets"), Level::Metadata),
            (Action { namespace: "a", ..Action::on(&jane, "get", "", "pods") }, Level::RequestResponse),
            (
                Action { namespace: "a", subresource: "status", ..Action::on(&jane, "get", "", "pods") },
                Level::RequestResponse,
            ),
            (
                Action { namespace: "a", subresource: "log", ..Action::on(&jane, "get", "", "pods") },
                Level::Metadata,
            ),
            (Action { namespace: "b", ..Action::on(&jane, "get", "", "pods") }, Level::Metadata),
            (Action { subresource: "x", ..Action::on(&jane, "get", "apps", "deployments") }, Level::Request),
            (Action { subresource: "scale", ..Action::on(&jane, "get", "", "foos") }, Level::Request),
            (Action { subresource: "proxy", ..Action::on(&jane, "get", "", "services") }, Level::Request),
            (Action { name: "one", ..Action::on(&jane, "get", "", "configmaps") }, Level::Request),
            (Action { name: "two", ..Action::on(&jane, "get", "", "configmaps") }, Level::Metadata),
            (Action::path(&jane, "get", "/healthz/ping"), Level::None),
            (Action::path(&jane, "get", "/metrics"), Level::None),
            (Action::on(&jane, "get", "batch", "jobs"), Level::None),
        ] {
            assert_eq!(policy.verdict(&action).level, level, "{action:?}");
        }
        let verdict = policy.verdict(&Action::on(&node, "get", "", "secrets"));
        assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        assert!(verdict.omit_managed_fields);
        let pods = Action { namespace: "a", ..Action::on(&jane, "get", "", "pods") };
        assert!(!policy.verdict(&pods).omit_managed_fields);
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused() {
        let with = |rule: &str| {
            Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {rule}"))
                .unwrap_err()
        };
        assert!(with("level: Everything").contains("unknown variant"));
        assert!(with("level: None\n  nonsense: 1").contains("unknown field"));
        assert!(with("{level: None, nonResourceURLs: [healthz]}").contains("must begin with a '/'"));
        assert!(with("{level: None, nonResourceURLs: ['/a*b']}").contains("must be the final character"));
        assert!(
            with("{level: None, nonResourceURLs: [/a], namespaces: [x]}").contains("cannot apply to both")
        );
        assert!(
            with("{level: None, resources: [{resourceNames: [x]}]}")
                .contains("requires at least one resource")
        );
        assert_eq!(
            Policy::parse("apiVersion: audit.k8s.io/v1\nkind: Policy").unwrap_err(),
            "loaded illegal policy with 0 rules"
        );
        assert!(
            Policy::parse("apiVersion: v1\nkind: Pod\nrules: []")
                .unwrap_err()
                .contains("expected audit.k8s.io/v1")
        );
    }
}
