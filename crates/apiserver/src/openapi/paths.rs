//! The operations of the served resources, before they take the form of a dialect.

use std::collections::BTreeMap;

use api::kind::Name;
use api::schema::{Schema, TypeRef};

use super::ResourceFacts;
use super::parameters::{self, Parameter};
use crate::crd::Published;

/// A path with its operations.
#[derive(Debug, Default)]
pub(super) struct PathItem {
    /// The path's own parameters.
    pub(super) in_path: Vec<Parameter>,
    pub(super) operations: Vec<Operation>,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// HTTP method in lower case.
    pub(super) method: &'static str,
    /// `readCoreV1NamespacedPod`.
    pub(super) id: String,
    /// `read the specified Pod`.
    pub(super) description: String,
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    /// `x-kubernetes-group-version-kind`: group, version, kind.
    pub(super) gvk: (Name, Name, Name),
    /// `core_v1`.
    pub(super) tag: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    /// Code and content of the success.
    pub(super) responses: Vec<(u16, Content)>,
    /// The kind that `Content::Object` and `Content::List` speak of.
    pub(super) custom: Option<Published>,
}

/// What a request carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    pub(super) content: Content,
    pub(super) required: bool,
    pub(super) patch: bool,
}

/// The type of a body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    Type(TypeRef),
    /// An object of the operation's own kind, which was added at run time.
    Object,
    /// A list of them.
    List,
    /// An object of a kind that the schema table does not know.
    Open,
    Text,
}

/// Every path of the resources.
pub(super) fn paths(facts: &[&ResourceFacts]) -> BTreeMap<String, PathItem> {
    let mut paths = BTreeMap::new();
    for resource in facts {
        add(resource, &mut paths);
    }
    paths
}

/// The types that the operations speak of.
pub(super) fn roots(paths: &BTreeMap<String, PathItem>) -> Vec<TypeRef> {
    let operations = || paths.values().flat_map(|p| &p.operations);
    let bodies = operations().filter_map(|o| o.body.map(|b| b.content));
    let responses = operations().flat_map(|o| o.responses.iter().map(|(_, content)| *content));
    let types = bodies.chain(responses).filter_map(|content| match content {
        Content::Type(ty) => Some(ty),
        Content::Object | Content::List | Content::Open | Content::Text => None,
    });
    types.collect()
}

fn add(facts: &ResourceFacts, paths: &mut BTreeMap<String, PathItem>) {
    let base = match &*facts.group {
        "" => format!("/api/{}", facts.version),
        group => format!("/apis/{group}/{}", facts.version),
    };
    let (scope, in_namespace, scoped) = match facts.namespaced {
        true => ("/namespaces/{namespace}", vec!["namespace"], "Namespaced"),
        false => ("", vec![], ""),
    };
    let collection = format!("{base}{scope}/{}", facts.plural);
    let item = format!("{collection}/{{name}}");
    let in_item = [vec!["name"], in_namespace.clone()].concat();
    let (group_version, tag) = (group_version(facts), tag(facts));
    let namer = Namer { group_version, tag, custom: facts.published.clone() };
    let gvk = (facts.group.clone(), facts.version.clone(), facts.kind.clone());
    let (object, list) = match &facts.published {
        Some(_) => (Content::Object, Content::List),
        None => (content(&gvk.0, &gvk.1, &gvk.2), content(&gvk.0, &gvk.1, &format!("{}List", gvk.2))),
    };
    let name = format!("{scoped}{}", facts.kind);
    let mut push = |path: &str, in_path: &[&'static str], operation: Operation| {
        let entry = paths.entry(path.to_owned()).or_default();
        entry.in_path = in_path.iter().map(|name| parameters::common(name, &facts.kind)).collect();
        entry.operations.push(operation);
    };
    for verb in &facts.verbs {
        let operation = match &**verb {
            "list" => namer.operation("get", "list", "list", &name, &gvk, object, list),
            "create" => namer.operation("post", "create", "post", &name, &gvk, object, object),
            "deletecollection" => {
                let collection = format!("Collection{name}");
                namer.operation("delete", "delete", "deletecollection", &collection, &gvk, object, status())
            }
            "get" => namer.operation("get", "read", "get", &name, &gvk, object, object),
            "update" => namer.operation("put", "replace", "put", &name, &gvk, object, object),
            "patch" => namer.operation("patch", "patch", "patch", &name, &gvk, object, object),
            "delete" => namer.operation("delete", "delete", "delete", &name, &gvk, object, status()),
            _ => continue,
        };
        match &**verb {
            "list" | "create" | "deletecollection" => push(&collection, &in_namespace, operation),
            _ => push(&item, &in_item, operation),
        }
        if facts.namespaced && verb == "list" {
            let name = format!("{}ForAllNamespaces", facts.kind);
            let everywhere = namer.operation("get", "list", "list", &name, &gvk, object, list);
            push(&format!("{base}/{}", facts.plural), &[], everywhere);
        }
    }
    for sub in &facts.subresources {
        let gvk = (sub.group.clone(), sub.version.clone(), sub.kind.clone());
        let object = match (&*sub.name, &facts.published) {
            ("log", _) => Content::Text,
            ("status", Some(_)) => Content::Object,
            _ => content(&gvk.0, &gvk.1, &gvk.2),
        };
        let name = format!("{name}{}", capital(&sub.name));
        let connect = matches!(&*sub.name, "attach" | "exec" | "portforward" | "proxy");
        for verb in &sub.verbs {
            let (method, prefix) = match &**verb {
                "get" => ("get", "read"),
                "create" => ("post", "create"),
                "update" => ("put", "replace"),
                "patch" => ("patch", "patch"),
                "delete" => ("delete", "delete"),
                _ => continue,
            };
            let action = if connect { "connect" } else { method };
            let mut operation = namer.operation(method, prefix, action, &name, &gvk, object, object);
            if facts.published.is_some() {
                // Upstream calls it the kind's own, whatever goes over the wire.
                operation.gvk = (facts.group.clone(), facts.version.clone(), facts.kind.clone());
            }
            operation.description = match &**verb {
                _ if connect => {
                    format!("connect {} requests to {} of {}", method.to_uppercase(), sub.name, facts.kind)
                }
                "create" => format!("create {} of {} {}", sub.name, article(&facts.kind), facts.kind),
                "get" => format!("read {} of the specified {}", sub.name, facts.kind),
                "update" => format!("replace {} of the specified {}", sub.name, facts.kind),
                "patch" => format!("partially update {} of the specified {}", sub.name, facts.kind),
                _ => format!("delete {} of {} {}", sub.name, article(&facts.kind), facts.kind),
            };
            if connect {
                operation.id = format!("connect{}{}{name}", namer.group_version, capital(method));
                (operation.body, operation.responses) = (None, vec![(200, Content::Text)]);
                operation.parameters = parameters::of(&sub.kind);
            } else if sub.name == "log" {
                operation.parameters.extend(parameters::of("PodLogOptions"));
            }
            push(&format!("{item}/{}", sub.name), &in_item, operation);
        }
    }
}

struct Namer {
    group_version: String,
    tag: String,
    custom: Option<Published>,
}

impl Namer {
    #[expect(clippy::too_many_arguments, reason = "the facts of one row, each of another kind")]
    fn operation(
        &self,
        method: &'static str,
        prefix: &str,
        action: &'static str,
        name: &str,
        gvk: &(Name, Name, Name),
        request: Content,
        response: Content,
    ) -> Operation {
        let (mut parameters, body) = match action {
            "list" => (parameters::of("ListOptions"), None),
            "post" | "put" => {
                let body = Body { content: request, required: true, patch: false };
                (parameters::of("CreateOptions"), Some(body))
            }
            "patch" => {
                let patch = type_named("io.k8s.apimachinery.pkg.apis.meta.v1.Patch");
                (parameters::of("PatchOptions"), Some(Body { content: patch, required: true, patch: true }))
            }
            "delete" => (parameters::of("DeleteOptions"), Some(delete_options())),
            "deletecollection" => (parameters::of_collection(), Some(delete_options())),
            _ => (Vec::new(), None),
        };
        parameters.push(parameters::common("pretty", ""));
        let codes: &[u16] = match action {
            "post" => &[200, 201, 202],
            "patch" if self.custom.is_some() => &[200],
            "put" | "patch" => &[200, 201],
            "delete" => &[200, 202],
            _ => &[200],
        };
        Operation {
            method,
            id: format!("{prefix}{}{name}", self.group_version),
            description: match action {
                "list" if self.custom.is_some() => format!("list objects of kind {}", gvk.2),
                _ => description(action, &gvk.2),
            },
            action,
            gvk: gvk.clone(),
            tag: self.tag.clone(),
            parameters,
            body,
            responses: codes.iter().map(|code| (*code, response)).collect(),
            custom: self.custom.clone(),
        }
    }
}

/// What upstream says of an operation on objects of a kind.
fn description(action: &str, kind: &str) -> String {
    match action {
        "list" => format!("list or watch objects of kind {kind}"),
        "post" => format!("create {} {kind}", article(kind)),
        "get" => format!("read the specified {kind}"),
        "put" => format!("replace the specified {kind}"),
        "patch" => format!("partially update the specified {kind}"),
        "deletecollection" => format!("delete collection of {kind}"),
        _ => format!("delete {} {kind}", article(kind)),
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

fn delete_options() -> Body {
    let options = type_named("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    Body { content: options, required: false, patch: false }
}

fn status() -> Content {
    type_named("io.k8s.apimachinery.pkg.apis.meta.v1.Status")
}

fn type_named(name: &str) -> Content {
    Schema::get().type_by_name(name).map_or(Content::Open, |ty| Content::Type(ty.reference()))
}

fn content(group: &str, version: &str, kind: &str) -> Content {
    let ty = Schema::get().type_by_gvk(group, version, kind).filter(|ty| ty.published);
    ty.map_or(Content::Open, |ty| Content::Type(ty.reference()))
}

/// `RbacAuthorizationV1` of `rbac.authorization.k8s.io/v1`.
fn group_version(facts: &ResourceFacts) -> String {
    let group = facts.group.trim_end_matches(".k8s.io");
    let group: String = match group {
        "" => "Core".into(),
        group => group.split('.').map(capital).collect(),
    };
    format!("{group}{}", capital(&facts.version))
}

/// `rbacAuthorization_v1`.
fn tag(facts: &ResourceFacts) -> String {
    let full = group_version(facts);
    let group = &full[..full.len() - facts.version.len()];
    let (first, rest) = group.split_at(1);
    format!("{}{rest}_{}", first.to_lowercase(), facts.version)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
