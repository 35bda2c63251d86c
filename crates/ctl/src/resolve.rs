//! From what a user typed to resources and objects: names, short names, kinds, `type/name`, several types, categories.
//!
//! **Contract.** A word means the first match in discovery's order, plural, singular and kind before short names.
//! **Not here.** Talking to the server about what exists: `discovery`. Files: `manifests`.
//! **Upstream.** `cli-runtime/pkg/resource/builder.go`, `client-go/restmapper` (behaviour).

use crate::commands::Context;
use crate::discovery::{Discovery, Resource};
use crate::report::{Error, message};

/// One thing to act on: an object, or a whole collection.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its type.
    pub(crate) resource: Resource,
    /// Its namespace; none for cluster-scoped types and for all namespaces.
    pub(crate) namespace: Option<String>,
    /// The object's name; none for a collection.
    pub(crate) name: Option<String>,
    /// The file it comes from, for messages.
    pub(crate) source: Option<String>,
}

impl Target {
    /// A failed list in kubectl's words: which objects were looked for.
    pub(crate) fn list_error(&self, error: Error, labels: &str, fields: &str) -> Error {
        let Error::Status { mut status, context } = error else { return error };
        if matches!(status["reason"].as_str(), Some("BadRequest" | "NotFound")) {
            let what =
                format!("\"{}, Resource={}\"", self.resource.group_slash_version(), self.resource.name);
            let text = status["message"].as_str().unwrap_or("");
            status["message"] = if labels.is_empty() && fields.is_empty() {
                format!("Unable to list {what}: {text}")
            } else {
                format!(
                    "Unable to find {what} that match label selector {labels:?}, field selector {fields:?}: {text}"
                )
            }
            .into();
        }
        Error::Status { status, context }
    }

    /// The request path.
    pub(crate) fn path(&self) -> String {
        match &self.name {
            Some(name) => self.resource.object(self.namespace.as_deref(), name),
            None => self.resource.collection(self.namespace.as_deref()),
        }
    }
}

/// The resource that a word means.
pub(crate) fn resource<'a>(discovery: &'a Discovery, word: &str) -> Result<&'a Resource, Error> {
    find(discovery, word).ok_or_else(|| {
        let name = word.split('.').next().unwrap_or(word);
        message(format!("the server doesn't have a resource type {name:?}"))
    })
}

/// The same, but a failure is told without `error: `, as where kubectl asks its mapper itself.
pub(crate) fn resource_bare<'a>(discovery: &'a Discovery, word: &str) -> Result<&'a Resource, Error> {
    resource(discovery, word).map_err(|error| Error::Plain(format!("{error}\n"), 1))
}

fn find<'a>(discovery: &'a Discovery, word: &str) -> Option<&'a Resource> {
    let lower = word.to_lowercase();
    if let Some(found) = find_name(discovery, &lower, |_| true) {
        return Some(found);
    }
    // `deployments.v1.apps`, then `deployments.apps`.
    let (name, rest) = lower.split_once('.')?;
    if let Some((version, group)) = rest.split_once('.')
        && let Some(found) = find_name(discovery, name, |one| one.version == version && one.group == group)
    {
        return Some(found);
    }
    find_name(discovery, name, |one| one.group == rest).or_else(|| {
        find_name(discovery, name, |one| !one.group.is_empty() && one.group.starts_with(&format!("{rest}.")))
    })
}

fn find_name<'a>(
    discovery: &'a Discovery,
    name: &str,
    fits: impl Fn(&Resource) -> bool,
) -> Option<&'a Resource> {
    let all = || discovery.resources().filter(|one| fits(one));
    all()
        .find(|one| one.name == name)
        .or_else(|| all().find(|one| one.singular == name))
        .or_else(|| all().find(|one| one.short_names.iter().any(|short| short == name)))
        .or_else(|| all().find(|one| one.kind.to_lowercase() == name))
}

/// The resource of a manifest's `apiVersion` and `kind`.
pub(crate) fn by_kind<'a>(discovery: &'a Discovery, api_version: &str, kind: &str) -> Option<&'a Resource> {
    discovery.resources().find(|one| one.kind == kind && one.api_version() == api_version)
}

/// What the positional arguments may be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// The positional arguments.
    pub(crate) arguments: Vec<String>,
    /// Whether a label or field selector was given.
    pub(crate) selector: bool,
    /// `-A`
    pub(crate) all_namespaces: bool,
    /// Whether a type without names means all of its objects.
    pub(crate) allow_all: bool,
}

/// Resolves positional arguments.
pub(crate) async fn targets(context: &Context, query: &Query) -> Result<Vec<Target>, Error> {
    let arguments = &query.arguments;
    let namespace = |resource: &Resource| {
        (resource.namespaced && !query.all_namespaces).then(|| context.namespace().to_owned())
    };
    let slashes = arguments.iter().filter(|argument| argument.contains('/')).count();
    if slashes > 0 {
        if slashes != arguments.len() {
            return Err(message(
                "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kctl get resource/<resource_name>' instead of 'kctl get resource resource/<resource_name>'",
            ));
        }
        if query.all_namespaces {
            return Err(message("a resource cannot be retrieved by name across all namespaces"));
        }
        if query.selector {
            return Err(message("name cannot be provided when a selector is specified"));
        }
        let discovery = context.discovery().await?;
        let mut found = Vec::new();
        for argument in arguments {
            let (word, name) = argument.split_once('/').unwrap_or((argument, ""));
            if word.is_empty() || name.is_empty() || name.contains('/') {
                return Err(message("arguments in resource/name form must have a single resource and name"));
            }
            let resource = resource(discovery, word)?;
            found.push(Target {
                resource: resource.clone(),
                namespace: namespace(resource),
                name: Some(name.to_owned()),
                source: None,
            });
        }
        return Ok(found);
    }
    let Some((types, names)) = arguments.split_first() else { return Ok(Vec::new()) };
    let discovery = context.discovery().await?;
    let mut resources: Vec<Resource> = Vec::new();
    for word in types.split(',') {
        let category: Vec<&Resource> = discovery
            .preferred()
            .into_iter()
            .filter(|one| {
                one.categories.iter().any(|name| name == word) && one.verbs.iter().any(|verb| verb == "list")
            })
            .collect();
        let found = if category.is_empty() { vec![resource(discovery, word)?] } else { category };
        for one in found {
            if !resources.iter().any(|other| other.same_type(one)) {
                resources.push(one.clone());
            }
        }
    }
    if !names.is_empty() {
        if query.selector {
            return Err(message("name cannot be provided when a selector is specified"));
        }
        if query.all_namespaces && resources.iter().any(|one| one.namespaced) {
            return Err(message("a resource cannot be retrieved by name across all namespaces"));
        }
    } else if !query.selector && !query.allow_all {
        return Err(message("resource(s) were provided, but no name was specified"));
    }
    let mut found = Vec::new();
    for resource in resources {
        if names.is_empty() {
            found.push(Target { namespace: namespace(&resource), resource, name: None, source: None });
            continue;
        }
        for name in names {
            found.push(Target {
                namespace: namespace(&resource),
                resource: resource.clone(),
                name: Some(name.clone()),
                source: None,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(group: &str, name: &str, kind: &str, short: &[&str]) -> Resource {
        Resource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            name: name.to_owned(),
            singular: kind.to_lowercase(),
            kind: kind.to_owned(),
            namespaced: true,
            short_names: short.iter().map(|text| (*text).to_owned()).collect(),
            categories: Vec::new(),
            verbs: Vec::new(),
        }
    }

    #[test]
    fn words_mean_resources() {
        let discovery = Discovery {
            groups: vec![
                (
                    String::new(),
                    vec![(
                        "v1".to_owned(),
                        vec![one("", "events", "Event", &["ev"]), one("", "pods", "Pod", &["po"])],
                    )],
                ),
                (
                    "apps".to_owned(),
                    vec![("v1".to_owned(), vec![one("apps", "deployments", "Deployment", &["deploy"])])],
                ),
                (
                    "events.k8s.io".to_owned(),
                    vec![("v1".to_owned(), vec![one("events.k8s.io", "events", "Event", &["ev"])])],
                ),
            ],
        };
        for (word, want) in [
            ("pods", Some("/pods")),
            ("Pod", Some("/pods")),
            ("po", Some("/pods")),
            ("pods.v1", None),
            ("events", Some("/events")),
            ("events.events.k8s.io", Some("events.k8s.io/events")),
            ("events.v1.events.k8s.io", Some("events.k8s.io/events")),
            ("deployments.apps", Some("apps/deployments")),
            ("deployments.v1.apps", Some("apps/deployments")),
            ("deploy", Some("apps/deployments")),
            ("foo", None),
            ("pods.apps", None),
        ] {
            let found = find(&discovery, word).map(|one| format!("{}/{}", one.group, one.name));
            assert_eq!(found.as_deref(), want, "{word}");
        }
    }
}
