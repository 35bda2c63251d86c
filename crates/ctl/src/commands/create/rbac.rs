//! `create role`, `clusterrole` and their bindings.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::generate::{Generator, Given, object};
use crate::cli;
use crate::report::{Error, message};
use crate::resolve;

const GROUP: &str = "rbac.authorization.k8s.io";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

/// Verbs that upstream knows; others are warned of.
const RESOURCE_VERBS: [&str; 14] = [
    "*",
    "get",
    "delete",
    "list",
    "create",
    "update",
    "patch",
    "watch",
    "proxy",
    "deletecollection",
    "use",
    "bind",
    "escalate",
    "impersonate",
];

const NON_RESOURCE_VERBS: [&str; 8] = ["*", "get", "post", "put", "delete", "patch", "head", "options"];

/// Verbs that only some resources have: resource, group.
const SPECIAL: [(&str, &[(&str, &str)]); 4] = [
    ("bind", &[("roles", GROUP), ("clusterroles", GROUP)]),
    ("escalate", &[("roles", GROUP), ("clusterroles", GROUP)]),
    (
        "impersonate",
        &[("users", ""), ("serviceaccounts", ""), ("groups", ""), ("userextras", "authentication.k8s.io")],
    ),
    ("use", &[]),
];

/// `create role`
pub(super) const ROLE: Generator = Generator {
    names: &["role"],
    about: "Create a role with single rule",
    required: &[],
    flags: rule_flags,
    make: |given| Box::pin(role(given)),
    plural: "roles",
    failure: "failed to create role: ",
};

/// `create clusterrole`
pub(super) const CLUSTER_ROLE: Generator = Generator {
    names: &["clusterrole"],
    about: "Create a cluster role",
    required: &[],
    flags: || {
        let mut flags = rule_flags();
        flags.push(cli::texts("non-resource-url", "A partial url that user should have access to."));
        flags.push(cli::texts(
            "aggregation-rule",
            "An aggregation label selector for combining ClusterRoles.",
        ));
        flags
    },
    make: |given| Box::pin(cluster_role(given)),
    plural: "clusterroles",
    failure: "failed to create clusterrole: ",
};

/// `create rolebinding`
pub(super) const ROLE_BINDING: Generator = Generator {
    names: &["rolebinding"],
    about: "Create a role binding for a particular role or cluster role",
    required: &[],
    flags: || {
        let mut flags = subject_flags();
        flags.push(cli::text("clusterrole", "ClusterRole this RoleBinding should reference"));
        flags.push(cli::text("role", "Role this RoleBinding should reference"));
        flags
    },
    make: |given| Box::pin(std::future::ready(role_binding(given))),
    plural: "rolebindings",
    failure: "failed to create rolebinding: ",
};

/// `create clusterrolebinding`
pub(super) const CLUSTER_ROLE_BINDING: Generator = Generator {
    names: &["clusterrolebinding"],
    about: "Create a cluster role binding for a particular cluster role",
    required: &["clusterrole"],
    flags: || {
        let mut flags = subject_flags();
        flags.push(cli::text("clusterrole", "ClusterRole this ClusterRoleBinding should reference"));
        flags
    },
    make: |given| Box::pin(std::future::ready(cluster_role_binding(given))),
    plural: "clusterrolebindings",
    failure: "failed to create clusterrolebinding: ",
};

fn rule_flags() -> Vec<clap::Arg> {
    vec![
        cli::texts("verb", "Verb that applies to the resources contained in the rule"),
        cli::texts("resource", "Resource that the rule applies to"),
        cli::text(
            "resource-name",
            "Resource in the white list that the rule applies to, repeat this flag for multiple items",
        )
        .action(clap::ArgAction::Append),
    ]
}

/// `--user`, `--group` and `--serviceaccount`.
pub(crate) fn subject_flags() -> Vec<clap::Arg> {
    let several = |name, help| cli::text(name, help).action(clap::ArgAction::Append);
    vec![
        several("user", "Usernames to bind to the role. The flag can be repeated to add multiple users."),
        several("group", "Groups to bind to the role. The flag can be repeated to add multiple groups."),
        several(
            "serviceaccount",
            "Service accounts to bind to the role, in the format <namespace>:<name>. The flag can be repeated to add multiple service accounts.",
        ),
    ]
}

/// What the flags of a rule say.
struct Wanted {
    verbs: Vec<String>,
    /// Resource with group and subresource as typed.
    resources: Vec<(String, String, String)>,
    names: Vec<String>,
}

fn unique(mut all: Vec<String>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    all.retain(|one| {
        !seen.contains(one) && {
            seen.push(one.clone());
            true
        }
    });
    all
}

fn wanted(given: &Given<'_>) -> Wanted {
    let mut verbs = unique(given.values("verb"));
    if verbs.iter().any(|verb| verb == "*") {
        verbs = vec!["*".to_owned()];
    }
    let mut resources = Vec::new();
    for word in given.values("resource") {
        let (whole, subresource) = word.split_once('/').unwrap_or((&word, ""));
        let (resource, group) = whole.split_once('.').unwrap_or((whole, ""));
        let one = (resource.to_owned(), group.to_owned(), subresource.to_owned());
        if word == "*" {
            resources = vec![one];
            break;
        }
        resources.push(one);
    }
    Wanted { verbs, resources, names: unique(given.values("resource-name")) }
}

/// Resources by group, by the names that the server has for them.
async fn rules(given: &Given<'_>, wanted: &Wanted) -> Result<Vec<Value>, Error> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (word, group, subresource) in &wanted.resources {
        if word.is_empty() {
            return Err(message("resource must be specified if apiGroup/subresource specified"));
        }
        let (mut name, mut in_group) = (word.clone(), group.clone());
        if word != "*" {
            let typed = crate::output::name::with_group(word, group);
            let found = resolve::resource_bare(given.context.discovery().await?, &typed)
                .map(|r| (r.name.clone(), r.group.clone()));
            let known = found.is_ok();
            if let Ok((resource, group)) = &found {
                (name, in_group) = (resource.clone(), group.clone());
            }
            let mut allowed = known;
            for (verb, only) in SPECIAL
                .iter()
                .filter(|(verb, only)| !only.is_empty() && wanted.verbs.iter().any(|v| v == verb))
            {
                if !only.contains(&(name.as_str(), in_group.as_str())) {
                    return Err(message(format!(
                        "can not perform '{verb}' on '{name}' in group '{in_group}'"
                    )));
                }
                allowed = true;
            }
            if !allowed {
                found?;
            }
        }
        if !subresource.is_empty() {
            name = format!("{name}/{subresource}");
        }
        let names = groups.entry(in_group).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let rule = |(group, resources): (String, Vec<String>)| {
        let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": wanted.verbs});
        if !wanted.names.is_empty() {
            rule["resourceNames"] = wanted.names.clone().into();
        }
        rule
    };
    Ok(groups.into_iter().map(rule).collect())
}

fn warn(given: &Given<'_>, verbs: &[String]) {
    for verb in verbs.iter().filter(|verb| !RESOURCE_VERBS.contains(&verb.as_str())) {
        given.context.terminal.err(&format!("Warning: '{verb}' is not a standard resource verb\n"));
    }
}

async fn role(given: &Given<'_>) -> Result<Value, Error> {
    let wanted = wanted(given);
    if wanted.verbs.is_empty() {
        return Err(message("at least one verb must be specified"));
    }
    warn(given, &wanted.verbs);
    if wanted.resources.is_empty() {
        return Err(message("at least one resource must be specified"));
    }
    let rules = rules(given, &wanted).await?;
    Ok(object(API_VERSION, "Role", given.metadata(), json!({"rules": rules})))
}

async fn cluster_role(given: &Given<'_>) -> Result<Value, Error> {
    let wanted = wanted(given);
    let (urls, aggregation) = (given.values("non-resource-url"), given.values("aggregation-rule"));
    let metadata = json!({"name": given.name});
    if !aggregation.is_empty() {
        let others = [urls.len(), wanted.verbs.len(), wanted.resources.len(), wanted.names.len()];
        if others.iter().any(|count| *count > 0) {
            return Err(message(
                "aggregation rule must be specified without nonResourceURLs, verbs, resources or resourceNames",
            ));
        }
        let mut labels = Map::new();
        for pair in aggregation {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                message(format!("invalid argument {pair:?} for \"--aggregation-rule\" flag: malformed pair, expect string=string\nSee 'kctl create clusterrole --help' for usage."))
            })?;
            labels.insert(key.trim().to_owned(), value.trim().into());
        }
        let rule = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        return Ok(object(
            API_VERSION,
            "ClusterRole",
            metadata,
            json!({"aggregationRule": rule, "rules": null}),
        ));
    }
    if wanted.verbs.is_empty() {
        return Err(message("at least one verb must be specified"));
    }
    if wanted.resources.is_empty() && urls.is_empty() {
        return Err(message("one of resource or nonResourceURL must be specified"));
    }
    if !wanted.resources.is_empty() {
        warn(given, &wanted.verbs);
    }
    let mut rules = rules(given, &wanted).await?;
    if !urls.is_empty() {
        for verb in &wanted.verbs {
            if !NON_RESOURCE_VERBS.contains(&verb.as_str()) {
                return Err(message(format!("invalid verb: '{verb}' for nonResourceURL")));
            }
        }
        for url in &urls {
            if url != "*" && !url.starts_with('/') {
                return Err(message("nonResourceURL should start with /"));
            }
            if url.find('*').is_some_and(|at| at + 1 != url.len()) {
                return Err(message("nonResourceURL only supports wildcard matches when '*' is at the end"));
            }
        }
        rules.push(json!({"nonResourceURLs": urls, "verbs": wanted.verbs}));
    }
    Ok(object(API_VERSION, "ClusterRole", metadata, json!({"rules": rules})))
}

/// The subjects that the flags name.
pub(crate) fn subjects(
    users: &[String],
    groups: &[String],
    accounts: &[String],
) -> Result<Vec<Value>, Error> {
    let mut subjects = Vec::new();
    for (kind, names) in [("User", users), ("Group", groups)] {
        subjects.extend(names.iter().map(|name| json!({"kind": kind, "apiGroup": GROUP, "name": name})));
    }
    for account in accounts {
        let parts: Vec<&str> = account.split(':').collect();
        let [namespace, name] = parts.as_slice() else {
            return Err(message("serviceaccount must be <namespace>:<name>"));
        };
        if namespace.is_empty() || name.is_empty() {
            return Err(message("serviceaccount must be <namespace>:<name>"));
        }
        subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    }
    Ok(subjects)
}

fn binding(given: &Given<'_>, kind: &str, role: (&str, &str), metadata: Value) -> Result<Value, Error> {
    let subjects = subjects(&given.values("user"), &given.values("group"), &given.values("serviceaccount"))?;
    let mut rest = json!({"roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}});
    if !subjects.is_empty() {
        rest["subjects"] = subjects.into();
    }
    Ok(object(API_VERSION, kind, metadata, rest))
}

fn role_binding(given: &Given<'_>) -> Result<Value, Error> {
    let (cluster_role, role) = (given.value("clusterrole"), given.value("role"));
    if cluster_role.is_empty() == role.is_empty() {
        return Err(message("exactly one of clusterrole or role must be specified"));
    }
    let role = if role.is_empty() { ("ClusterRole", cluster_role) } else { ("Role", role) };
    binding(given, "RoleBinding", role, given.metadata())
}

fn cluster_role_binding(given: &Given<'_>) -> Result<Value, Error> {
    let role = ("ClusterRole", given.value("clusterrole"));
    binding(given, "ClusterRoleBinding", role, json!({"name": given.name}))
}
