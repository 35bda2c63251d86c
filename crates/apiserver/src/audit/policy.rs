//! What is to be recorded about a request: a `Policy` of `audit.k8s.io/v1`.
//!
//! **Contract**: pure. The first rule that matches says the level; none: nothing is recorded.
//! **Not here**: how a policy is written (`policy_file`).
//! **Upstream**: `k8s.io/apiserver/pkg/audit/policy/checker.go`.

use crate::auth::Action;

/// How much is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub(super) const ALL: [Self; 4] =
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// The rules, the first that matches first, and what holds for all of them.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) rules: Vec<Rule>,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

/// What is recorded of requests like these; a list that is empty matches all.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) level: Level,
    pub(super) users: Vec<String>,
    pub(super) user_groups: Vec<String>,
    pub(super) verbs: Vec<String>,
    pub(super) resources: Vec<GroupResources>,
    pub(super) namespaces: Vec<String>,
    pub(super) non_resource_urls: Vec<String>,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: Option<bool>,
}

/// Resources of a group, `*` for all groups.
#[derive(Debug)]
pub(super) struct GroupResources {
    pub(super) group: String,
    pub(super) resources: Vec<String>,
    pub(super) resource_names: Vec<String>,
}

/// What is recorded about one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

impl Policy {
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
        if self.group != action.group && self.group != "*" {
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
    use crate::audit::policy_file::read;
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
- level: Request
  resources:
  - group: '*'
    resources: [widgets]
- level: Metadata
  resources:
  - resources: ['*']
";

    #[test]
    fn the_first_rule_that_matches_says_the_level() {
        let (policy, _) = read(POLICY).unwrap();
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
            (Action::on(&jane, "get", "example.com", "widgets"), Level::Request),
        ] {
            assert_eq!(policy.verdict(&action).level, level, "{action:?}");
        }
        let verdict = policy.verdict(&Action::on(&node, "get", "", "secrets"));
        assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        assert!(verdict.omit_managed_fields);
        let pods = Action { namespace: "a", ..Action::on(&jane, "get", "", "pods") };
        assert!(!policy.verdict(&pods).omit_managed_fields);
    }
}
