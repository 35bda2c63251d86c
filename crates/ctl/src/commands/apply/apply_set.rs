//! `apply --prune --applyset`: an object, the set's parent, remembers what was applied; what is applied no more is deleted.
//!
//! **Contract.** As kubectl, only where `KUBECTL_APPLYSET` is set. The parent is written before anything is applied, with every
//! kind and namespace that there was or will be, and again after the pruning, with those that there are.
//! **Upstream.** `kubectl/pkg/cmd/apply/applyset.go` (labels, annotations and words), KEP-3659.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ArgMatches;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::prune::Sweep;
use crate::cli::{DryRun, value};
use crate::commands::Context;
use crate::connection::{JSON, with_query};
use crate::discovery::{Discovery, Resource};
use crate::manifests::Manifest;
use crate::report::{Error, message};
use crate::resolve::{self, Target};
use crate::selection::Change;

const ID: &str = "applyset.kubernetes.io/id";
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
const PART_OF: &str = "applyset.kubernetes.io/part-of";
const IS_PARENT: &str = "applyset.kubernetes.io/is-parent-type";
/// Sets of one tool are not another's; those of kubectl are ours.
const TOOL: &str = "kubectl";
const MANAGER: &str = "kubectl-applyset";

/// A set of applied objects.
pub(super) struct ApplySet {
    parent: Target,
    name: String,
    id: String,
    /// What the parent remembers: kinds with their groups, and namespaces besides its own.
    kinds: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

impl ApplySet {
    /// Reads the flag and the parent; `None` without the flag.
    pub(super) async fn from_matches(context: &Context, matches: &ArgMatches) -> Result<Option<Self>, Error> {
        let given = value(matches, "applyset");
        if given.is_empty() {
            return Ok(None);
        }
        if context.terminal.variable("KUBECTL_APPLYSET") != Some("true") {
            return Err(Error::Usage(
                "unknown flag: --applyset\nSee 'kctl apply --help' for usage.".to_owned(),
            ));
        }
        if !matches.get_flag("prune") {
            return Err(message("--applyset requires --prune"));
        }
        for (flag, is_given) in [
            ("--all", matches.get_flag("all")),
            ("--selector", !value(matches, "selector").is_empty()),
            ("--prune-allowlist", matches.contains_id("prune-allowlist")),
        ] {
            if is_given {
                return Err(message(format!("{flag} is incompatible with --applyset")));
            }
        }
        let (word, name) = given.split_once('/').unwrap_or(("secrets", given));
        if name.is_empty() {
            return Err(message(format!("invalid parent reference {given:?}: name cannot be blank")));
        }
        let resource = resolve::resource(context.discovery().await?, word)?.clone();
        // The kubeconfig's namespace does not count: it may be another tomorrow.
        let namespace = context.globals.namespace.clone();
        if resource.namespaced && namespace.is_none() {
            return Err(message("namespace is required to use namespace-scoped ApplySet"));
        }
        may_be_parent(context, &resource).await?;
        let namespace = namespace.filter(|_| resource.namespaced);
        let id = id_of(name, namespace.as_deref().unwrap_or_default(), &resource.kind, &resource.group);
        let name = name.to_owned();
        let parent = Target { resource, namespace, name: Some(name.clone()), source: None };
        let mut set = Self { parent, name, id, kinds: BTreeSet::new(), namespaces: BTreeSet::new() };
        match context.connection().await?.get(&set.parent.path(), JSON).await {
            Ok(object) => set.recall(&object)?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(Some(set))
    }

    /// Takes over what the parent says, if it is a parent of this set.
    fn recall(&mut self, parent: &Value) -> Result<(), Error> {
        let Resource { name, group, .. } = &self.parent.resource;
        let shown = format!("{name}.{group}/{}", self.name);
        let (labels, annotations) = (&parent["metadata"]["labels"], &parent["metadata"]["annotations"]);
        let Some(tooling) = annotations[TOOLING].as_str().filter(|tooling| !tooling.is_empty()) else {
            return Err(message(format!(
                "ApplySet parent object {shown:?} already exists and is missing required annotation {TOOLING:?}"
            )));
        };
        let (tool, _) = tooling.rsplit_once('/').unwrap_or((tooling, ""));
        if tool != TOOL {
            return Err(message(format!(
                "ApplySet parent object {shown:?} already exists and is managed by tooling {tool:?} instead of {TOOL:?}"
            )));
        }
        match labels[ID].as_str() {
            None => {
                return Err(message(format!(
                    "ApplySet parent object {shown:?} exists and does not have required label {ID}"
                )));
            }
            Some(id) if id != self.id => {
                return Err(message(format!(
                    "ApplySet parent object {shown:?} exists and has incorrect value for label {ID:?} (got: {id}, want: {})",
                    self.id
                )));
            }
            Some(_) => {}
        }
        let listed = |key: &str| -> BTreeSet<String> {
            let text = annotations[key].as_str().unwrap_or_default();
            text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect()
        };
        (self.kinds, self.namespaces) = (listed(KINDS), listed(NAMESPACES));
        Ok(())
    }

    /// Marks what is to be applied, and has the parent remember it besides what was before.
    pub(super) async fn begin(
        &self,
        context: &Context,
        change: &Change,
        found: &mut [Manifest],
    ) -> Result<(), Error> {
        for manifest in found.iter_mut() {
            let labels = &mut manifest.object["metadata"]["labels"];
            if let Some(other) = labels[PART_OF].as_str().filter(|other| *other != self.id) {
                return Err(message(format!(
                    "ApplySet label {PART_OF:?} already set in input data to {other:?}"
                )));
            }
            if labels.is_null() {
                *labels = json!({});
            }
            labels[PART_OF] = self.id.as_str().into();
        }
        let (kinds, namespaces) = self.of(found);
        let kinds = kinds.union(&self.kinds).cloned().collect();
        let namespaces = namespaces.union(&self.namespaces).cloned().collect();
        self.write(context, change, &kinds, &namespaces).await
    }

    /// Deletes what is of the set and not kept, and has the parent remember what is left.
    pub(super) async fn finish(&self, sweep: &Sweep<'_>, found: &[Manifest]) -> Result<(), Error> {
        let (kinds, namespaces) = self.of(found);
        let all: BTreeSet<&String> = kinds.union(&self.kinds).collect();
        let mut places: BTreeSet<&str> = namespaces.union(&self.namespaces).map(String::as_str).collect();
        places.extend(self.parent.namespace.as_deref());
        let discovery = sweep.context.discovery().await?;
        let of_set = format!("{PART_OF}={}", self.id);
        for kind in all {
            let Some(resource) = of_group_kind(discovery, kind) else {
                return Err(message(format!("finding resource for group kind {kind}: it is not served")));
            };
            match resource.namespaced {
                true => {
                    for namespace in &places {
                        sweep.run(resource, Some(namespace), &of_set, |_| true).await?;
                    }
                }
                false => sweep.run(resource, None, &of_set, |_| true).await?,
            }
        }
        self.write(sweep.context, sweep.change, &kinds, &namespaces).await
    }

    /// Kinds and further namespaces of manifests.
    fn of(&self, found: &[Manifest]) -> (BTreeSet<String>, BTreeSet<String>) {
        let kinds = found.iter().map(|one| group_kind(&one.resource)).collect();
        let namespaces = found.iter().filter_map(|one| one.namespace.clone());
        (kinds, namespaces.filter(|one| Some(one) != self.parent.namespace.as_ref()).collect())
    }

    async fn write(
        &self,
        context: &Context,
        change: &Change,
        kinds: &BTreeSet<String>,
        namespaces: &BTreeSet<String>,
    ) -> Result<(), Error> {
        if change.dry_run == DryRun::Client {
            return Ok(());
        }
        let join = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(",");
        let Target { resource, namespace, .. } = &self.parent;
        let mut metadata = json!({
            "name": self.name,
            "labels": {ID: self.id},
            "annotations": {
                TOOLING: format!("{TOOL}/{}", api::version::KUBERNETES),
                KINDS: join(kinds),
                NAMESPACES: join(namespaces),
            },
        });
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.as_str().into();
        }
        let parent =
            json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": metadata});
        let query =
            [change.dry_run.query(), ("fieldManager", MANAGER.to_owned()), ("force", "true".to_owned())];
        let path = with_query(&self.parent.path(), &query);
        context.connection().await?.patch(&path, "application/apply-patch+yaml", &parent).await?;
        Ok(())
    }
}

/// Secrets, ConfigMaps, and kinds whose definition says so may be parents.
async fn may_be_parent(context: &Context, resource: &Resource) -> Result<(), Error> {
    if resource.group.is_empty() && matches!(&*resource.name, "secrets" | "configmaps") {
        return Ok(());
    }
    let definition = format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}.{}",
        resource.name, resource.group
    );
    let marked = match context.connection().await?.get(&definition, JSON).await {
        Ok(definition) => definition["metadata"]["labels"][IS_PARENT] == "true",
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(error),
    };
    if marked {
        return Ok(());
    }
    Err(message(format!(
        "resource {:?} is not permitted as an ApplySet parent",
        format!("{}, Resource={}", resource.group_slash_version(), resource.name)
    )))
}

/// The set's id: of the parent's place, so that no copy of a parent takes over its set.
fn id_of(name: &str, namespace: &str, kind: &str, group: &str) -> String {
    let digest = Sha256::digest(format!("{name}.{namespace}.{kind}.{group}").as_bytes());
    format!("applyset-{}-v1", URL_SAFE_NO_PAD.encode(digest))
}

/// `ConfigMap`, `Deployment.apps`
fn group_kind(resource: &Resource) -> String {
    crate::output::name::with_group(&resource.kind, &resource.group)
}

fn of_group_kind<'a>(discovery: &'a Discovery, text: &str) -> Option<&'a Resource> {
    let served: BTreeMap<String, &Resource> =
        discovery.preferred().into_iter().rev().map(|resource| (group_kind(resource), resource)).collect();
    served.get(text).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_the_specification() {
        // The SHA-256 of `my-set.my-ns.Secret.`, as KEP-3659 has it.
        let id = id_of("my-set", "my-ns", "Secret", "");
        assert_eq!(id, "applyset-XPS7DQcglYD3_BOTiwpLtirwmT9y1Q06wbJ7TyrjGmY-v1");
        assert_ne!(id, id_of("my-set", "other", "Secret", ""));
    }
}
