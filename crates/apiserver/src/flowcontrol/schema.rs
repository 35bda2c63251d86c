//! FlowSchemas in the form in which requests are matched with them.
//!
//! **Contract**: immutable; the first that matches, by precedence and name, has the request.
//! **Upstream**: `k8s.io/apiserver/pkg/util/flowcontrol/rule.go`.

use super::level::Level;
use crate::auth::{Action, UserInfo, token};
use api::k8s_openapi::api::flowcontrol::v1 as flow;
use http::HeaderValue;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

const ALL: &str = "*";

/// One FlowSchema whose priority level exists.
pub(super) struct Schema {
    pub(super) name: Arc<str>,
    /// For `X-Kubernetes-PF-FlowSchema-UID`.
    pub(super) uid: HeaderValue,
    pub(super) precedence: i32,
    pub(super) distinguisher: Distinguisher,
    rules: Vec<flow::PolicyRulesWithSubjects>,
    pub(super) level: Arc<Level>,
}

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Distinguisher {
    #[default]
    Nothing,
    User,
    Namespace,
}

impl Distinguisher {
    /// What tells a request's flow from the schema's others.
    pub(super) fn of<'a>(self, user: &'a str, namespace: &'a str) -> &'a str {
        match self {
            Self::Nothing => "",
            Self::User => user,
            Self::Namespace => namespace,
        }
    }
}

impl Schema {
    pub(super) fn new(object: flow::FlowSchema, level: Arc<Level>) -> Option<Self> {
        let spec = object.spec?;
        let distinguisher = match spec.distinguisher_method.map(|method| method.type_).as_deref() {
            Some("ByUser") => Distinguisher::User,
            Some("ByNamespace") => Distinguisher::Namespace,
            _ => Distinguisher::Nothing,
        };
        Some(Self {
            name: object.metadata.name.unwrap_or_default().into(),
            uid: super::header(object.metadata.uid.as_deref()),
            precedence: spec.matching_precedence.unwrap_or(1000),
            distinguisher,
            rules: spec.rules.unwrap_or_default(),
            level,
        })
    }

    /// Whether this request is one of the schema's.
    pub(super) fn matches(&self, action: &Action<'_>) -> bool {
        self.rules.iter().any(|rules| {
            rules.subjects.iter().any(|subject| is_subject(subject, action.user)) && is_about(rules, action)
        })
    }

    /// What the request has in common with others of its flow, and with no other flow's.
    pub(super) fn flow(&self, action: &Action<'_>) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        self.distinguisher.of(&action.user.name, action.namespace).hash(&mut hasher);
        hasher.finish()
    }
}

fn is_subject(subject: &flow::Subject, user: &UserInfo) -> bool {
    match &*subject.kind {
        "User" => subject.user.as_ref().is_some_and(|s| s.name == ALL || s.name == user.name),
        "Group" => subject.group.as_ref().is_some_and(|s| s.name == ALL || user.is_in(&s.name)),
        "ServiceAccount" => subject.service_account.as_ref().is_some_and(|s| {
            let account = token::split_user_name(&user.name);
            account.is_some_and(|(namespace, name)| {
                namespace == s.namespace && (s.name == ALL || s.name == name)
            })
        }),
        _ => false,
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == ALL || item == wanted)
}

fn is_about(rules: &flow::PolicyRulesWithSubjects, action: &Action<'_>) -> bool {
    if !action.is_resource {
        return rules.non_resource_rules.iter().flatten().any(|rule| {
            has(&rule.verbs, action.verb)
                && rule.non_resource_urls.iter().any(|pattern| path_matches(pattern, action.path))
        });
    }
    rules.resource_rules.iter().flatten().any(|rule| {
        has(&rule.verbs, action.verb)
            && has(&rule.api_groups, action.group)
            && rule.resources.iter().any(|resource| resource_matches(resource, action))
            && match action.namespace {
                "" => rule.cluster_scope == Some(true),
                namespace => rule.namespaces.as_ref().is_some_and(|list| has(list, namespace)),
            }
    })
}

fn resource_matches(pattern: &str, action: &Action<'_>) -> bool {
    if pattern == ALL {
        return true;
    }
    match pattern.split_once('/') {
        None => action.subresource.is_empty() && pattern == action.resource,
        Some((resource, sub)) => resource == action.resource && sub == action.subresource,
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    if pattern == ALL || pattern == path {
        return true;
    }
    pattern
        .strip_suffix("/*")
        .is_some_and(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')))
}
