//! What the server serves: its groups, versions and resources.
//!
//! **Contract.** Aggregated discovery (two requests, one after the other on one connection) where the server has it, the older
//! documents otherwise. A group whose documents cannot be had is left out, not an error. What was read before is kept in the
//! cache folder with the server's tag, and the server says whether it is still true: nothing outdated is ever used.
//! **Not here.** Which resource a user's word means: `resolve`.

mod cache;

pub(crate) use cache::Cache;
use cache::Kept;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connection::{Connection, JSON, Tagged};
use crate::report::Error;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// One resource of one group version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resource {
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// Version.
    pub(crate) version: String,
    /// Plural name.
    pub(crate) name: String,
    /// Singular name.
    pub(crate) singular: String,
    /// Kind.
    pub(crate) kind: String,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// Short names.
    pub(crate) short_names: Vec<String>,
    /// Categories, such as `all`.
    pub(crate) categories: Vec<String>,
    /// Verbs.
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    /// `deployments.apps`, `pods`
    pub(crate) fn qualified(&self) -> String {
        crate::output::name::with_group(&self.name, &self.group)
    }

    /// What an object alone tells of its type, where no server is asked: no plural, and nothing about namespaces.
    pub(crate) fn of_object(object: &Value) -> Self {
        let text = |field: &str| object[field].as_str().unwrap_or("").to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let name = kind.to_lowercase();
        Self { group: group.to_owned(), version: version.to_owned(), name, kind, ..Self::default() }
    }

    /// `v1`, `apps/v1`
    pub(crate) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// `/v1`, `apps/v1`: as Go shows a group and version.
    pub(crate) fn group_slash_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// Path of the collection, in a namespace where one is given and the resource has them.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.name),
            None => format!("{root}/{}", self.name),
        }
    }

    /// Path of one object.
    pub(crate) fn object(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), crate::connection::encode(name))
    }

    /// `pod`, `deployment.apps`: what stands before a name with several kinds.
    pub(crate) fn display_kind(&self) -> String {
        crate::output::name::with_group(&self.kind.to_lowercase(), &self.group)
    }

    /// Whether the resource is of the same group and name.
    pub(crate) fn same_type(&self, other: &Self) -> bool {
        self.group == other.group && self.name == other.name && self.version == other.version
    }
}

/// `v1`, `apps/v1`
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// A group's name and its versions with their resources.
type Group = (String, Vec<(String, Vec<Resource>)>);

/// Everything served, groups in the server's order, preferred version first.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// The groups.
    pub(crate) groups: Vec<Group>,
}

impl Discovery {
    /// Asks the server, which need not repeat what the cache has.
    pub(crate) async fn load(connection: &Connection, cache: &Cache) -> Result<Self, Error> {
        let (known, mut read) = (cache.read(), Vec::new());
        for path in ["/api", "/apis"] {
            let before = known.iter().find(|kept| kept.path == path);
            read.push(half(connection, path, before).await);
        }
        if read.iter().all(Result::is_err)
            && let Some(Err(error)) = read.pop()
        {
            return Err(error);
        }
        let mut halves = Vec::new();
        for half in read {
            halves.extend(tolerate(half)?);
        }
        if halves.iter().all(|half| !half.tag.is_empty()) && halves.len() == 2 && halves != known {
            cache.write(&halves);
        }
        Ok(Self { groups: halves.into_iter().flat_map(|half| half.groups).collect() })
    }

    /// What the cache has, whether it is still true or not.
    pub(crate) fn kept(cache: &Cache) -> Option<Self> {
        let halves = cache.read();
        let groups =
            (halves.len() == 2).then(|| halves.into_iter().flat_map(|half| half.groups).collect())?;
        Some(Self { groups })
    }

    /// All resources, in the server's order.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.groups
            .iter()
            .flat_map(|(_, versions)| versions.iter())
            .flat_map(|(_, resources)| resources.iter())
    }

    /// All resources of each group's preferred version: the first version that has the resource.
    pub(crate) fn preferred(&self) -> Vec<&Resource> {
        let mut found: Vec<&Resource> = Vec::new();
        for resource in self.resources() {
            if !found.iter().any(|other| other.group == resource.group && other.name == resource.name) {
                found.push(resource);
            }
        }
        found
    }
}

/// The core group, or all others: as it was, or as the server tells it.
async fn half(connection: &Connection, path: &str, before: Option<&Kept>) -> Result<Kept, Error> {
    let request = format!("{path}?timeout=32s");
    let tag = before.map(|kept| kept.tag.as_str());
    let Some(Tagged { media, tag, document }) = connection.get_tagged(&request, AGGREGATED, tag).await?
    else {
        return Ok(before.cloned().unwrap_or_default());
    };
    Ok(match media.contains("as=APIGroupDiscoveryList") {
        true => Kept { path: path.to_owned(), tag, groups: aggregated(&document) },
        // Many documents, of which only one has a tag.
        false => {
            Kept { path: path.to_owned(), tag: String::new(), groups: legacy(connection, &document).await }
        }
    })
}

/// A half of discovery that fails is left out, unless nobody was let in.
fn tolerate(result: Result<Kept, Error>) -> Result<Option<Kept>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.reason(), Some("NotFound" | "Forbidden")) => Ok(None),
        Err(error) => Err(error),
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn aggregated(document: &Value) -> Vec<Group> {
    let mut groups = Vec::new();
    for item in document["items"].as_array().into_iter().flatten() {
        let group = text(&item["metadata"]["name"]);
        let mut versions = Vec::new();
        for entry in item["versions"].as_array().into_iter().flatten() {
            let version = text(&entry["version"]);
            let resources = entry["resources"].as_array().into_iter().flatten().map(|one| Resource {
                group: group.clone(),
                version: version.clone(),
                name: text(&one["resource"]),
                singular: text(&one["singularResource"]),
                kind: text(&one["responseKind"]["kind"]),
                namespaced: one["scope"] == "Namespaced",
                short_names: strings(&one["shortNames"]),
                categories: strings(&one["categories"]),
                verbs: strings(&one["verbs"]),
            });
            versions.push((version.clone(), resources.collect()));
        }
        groups.push((group, versions));
    }
    groups
}

async fn legacy(connection: &Connection, document: &Value) -> Vec<Group> {
    if document["kind"] == "APIVersions" {
        let versions = strings(&document["versions"]);
        return vec![(String::new(), resource_lists(connection, "", &versions).await)];
    }
    let groups = document["groups"].as_array().into_iter().flatten().map(|group| async move {
        let name = text(&group["name"]);
        let preferred = text(&group["preferredVersion"]["version"]);
        let mut versions: Vec<String> = group["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|version| text(&version["version"]))
            .collect();
        versions.sort_by_key(|version| *version != preferred);
        let lists = resource_lists(connection, &name, &versions).await;
        (name, lists)
    });
    join_all(groups).await
}

async fn resource_lists(
    connection: &Connection,
    group: &str,
    versions: &[String],
) -> Vec<(String, Vec<Resource>)> {
    let requests = versions.iter().map(|version| async move {
        let path =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let document = connection.get(&format!("{path}?timeout=32s"), JSON).await.ok()?;
        let resources = document["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| !one["name"].as_str().unwrap_or("/").contains('/'))
            .map(|one| Resource {
                group: group.to_owned(),
                version: version.clone(),
                name: text(&one["name"]),
                singular: text(&one["singularName"]),
                kind: text(&one["kind"]),
                namespaced: one["namespaced"].as_bool().unwrap_or(false),
                short_names: strings(&one["shortNames"]),
                categories: strings(&one["categories"]),
                verbs: strings(&one["verbs"]),
            })
            .collect();
        Some((version.clone(), resources))
    });
    join_all(requests).await.into_iter().flatten().collect()
}
