//! `apply --prune`: what was applied before and is in the files no more is deleted.
//!
//! **Contract.** Only what has the annotation of `apply` is deleted, in the namespaces that the files name, and of the kinds
//! of the allowlist.
//! **Not here.** Apply sets: `apply_set`.
//! **Upstream.** `kubectl/pkg/cmd/apply/prune.go`, `util/prune` (behaviour, words and the default list).

use std::collections::BTreeSet;

use clap::ArgMatches;
use http::Method;
use serde_json::json;

use super::LAST_APPLIED;
use crate::cli::{self, DryRun, value, values};
use crate::commands::Context;
use crate::connection::{JSON, with_query};
use crate::discovery::{Discovery, Resource};
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::selection::{self, Change, Selected};

/// Kinds that are pruned where no allowlist is given.
const NAMESPACED: [&str; 14] = [
    "core/v1/ConfigMap",
    "core/v1/Endpoints",
    "core/v1/PersistentVolumeClaim",
    "core/v1/Pod",
    "core/v1/ReplicationController",
    "core/v1/Secret",
    "core/v1/Service",
    "batch/v1/Job",
    "batch/v1/CronJob",
    "networking.k8s.io/v1/Ingress",
    "apps/v1/DaemonSet",
    "apps/v1/Deployment",
    "apps/v1/ReplicaSet",
    "apps/v1/StatefulSet",
];
/// The same without a namespace.
const CLUSTER: [&str; 2] = ["core/v1/Namespace", "core/v1/PersistentVolume"];

/// `--prune` and what goes with it.
pub(super) fn flags() -> Vec<clap::Arg> {
    vec![
        cli::flag("prune", "Automatically delete resource objects, that do not appear in the configs and are created by either apply or create --save-config. Should be used with either -l or --all."),
        cli::text("applyset", "[alpha] The name of the ApplySet that tracks which resources are being managed, for the purposes of determining what to prune. Live resources that are part of the ApplySet but have been removed from the provided configs will be deleted. Format: [RESOURCE][.GROUP]/NAME. A Secret will be used if no resource or group is specified."),
        cli::texts("prune-allowlist", "Overwrite the default allowlist with <group/version/kind> for --prune"),
        cli::flag("all", "Select all resources in the namespace of the specified resource types."),
        cli::text("selector", "Selector (label query) to filter on").short('l').default_value("").hide_default_value(true),
        cli::text("cascade", "Must be \"background\", \"orphan\", or \"foreground\". Selects the deletion cascading strategy for the dependents")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("background")
            .default_value("background"),
    ]
}

/// What to prune.
pub(in super::super) struct Prune {
    kinds: Vec<String>,
    selector: String,
    propagation: &'static str,
    grace: Option<i64>,
}

impl Prune {
    /// Reads the flags; `None` without `--prune`.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Option<Self>, Error> {
        let selector = value(matches, "selector").to_owned();
        if !matches.get_flag("prune") {
            return Ok(None);
        }
        if selector.is_empty() && !matches.get_flag("all") {
            return Err(message(
                "all resources selected for prune without explicitly passing --all. To prune all resources, pass the --all flag. If you did not mean to prune all resources, specify a label selector",
            ));
        }
        if !selector.is_empty() && matches.get_flag("all") {
            return Err(message("cannot set --all and --selector at the same time"));
        }
        let kinds = kinds(matches)?;
        let propagation = match value(matches, "cascade") {
            "" | "true" | "background" => "Background",
            "orphan" | "false" => "Orphan",
            "foreground" => "Foreground",
            other => {
                return Err(message(format!(
                    "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
                )));
            }
        };
        let grace = matches.get_one::<i64>("grace-period").copied().filter(|grace| *grace >= 0);
        Ok(Some(Self { kinds, selector, propagation, grace }))
    }

    /// What `diff --prune` would have pruned: with a selector, or of everything.
    pub(in super::super) fn of_diff(matches: &ArgMatches) -> Result<Self, Error> {
        let selector = value(matches, "selector").to_owned();
        Ok(Self { kinds: kinds(matches)?, selector, propagation: "Background", grace: None })
    }

    /// What is not among `kept` (uids), in these namespaces.
    pub(in super::super) async fn find(
        &self,
        context: &Context,
        kept: &BTreeSet<String>,
        namespaces: &BTreeSet<String>,
    ) -> Result<Vec<Selected>, Error> {
        let mut all = Vec::new();
        for (resource, namespace) in self.places(context, namespaces).await? {
            all.extend(
                stale(context, &resource, namespace, &self.selector, kept)
                    .await?
                    .into_iter()
                    .filter(was_applied),
            );
        }
        Ok(all)
    }

    /// Where to look: the kinds, those with namespaces in each of these.
    async fn places<'n>(
        &self,
        context: &Context,
        namespaces: &'n BTreeSet<String>,
    ) -> Result<Vec<(Resource, Option<&'n str>)>, Error> {
        let discovery = context.discovery().await?;
        let mut resources = Vec::new();
        for kind in &self.kinds {
            resources.push(find(discovery, kind)?);
        }
        let (within, cluster): (Vec<&Resource>, Vec<&Resource>) =
            resources.into_iter().partition(|resource| resource.namespaced);
        let within = namespaces
            .iter()
            .flat_map(|namespace| within.iter().map(|one| ((*one).clone(), Some(namespace.as_str()))));
        Ok(within.chain(cluster.into_iter().map(|one| (one.clone(), None))).collect())
    }

    /// Deletes what is not among `kept` (uids), in these namespaces.
    pub(super) async fn run(
        &self,
        context: &Context,
        change: &Change,
        kept: &BTreeSet<String>,
        namespaces: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let sweep = Sweep { context, change, kept, propagation: self.propagation, grace: self.grace };
        for (resource, namespace) in self.places(context, namespaces).await? {
            sweep.run(&resource, namespace, &self.selector, was_applied).await?;
        }
        Ok(())
    }
}

/// The kinds of `--prune-allowlist`, or those that are meant without it.
fn kinds(matches: &ArgMatches) -> Result<Vec<String>, Error> {
    let mut kinds = values(matches, "prune-allowlist");
    for kind in &kinds {
        if kind.split('/').count() != 3 {
            return Err(message(format!(
                "invalid GroupVersionKind format: {kind}, please follow <group/version/kind>"
            )));
        }
    }
    if kinds.is_empty() {
        kinds = NAMESPACED.iter().chain(&CLUSTER).map(|kind| (*kind).to_owned()).collect();
    }
    Ok(kinds)
}

/// Whether an object has the annotation of `apply`.
fn was_applied(one: &Selected) -> bool {
    one.object["metadata"]["annotations"][LAST_APPLIED].is_string()
}

/// What a selector finds in a place and is not kept.
async fn stale(
    context: &Context,
    resource: &Resource,
    namespace: Option<&str>,
    selector: &str,
    kept: &BTreeSet<String>,
) -> Result<Vec<Selected>, Error> {
    let namespace = namespace.map(str::to_owned);
    let target = Target { resource: resource.clone(), namespace, name: None, source: None };
    let mut found = selection::list(context, &target, selector, "").await?;
    found.retain(|one| one.object["metadata"]["uid"].as_str().is_none_or(|uid| !kept.contains(uid)));
    Ok(found)
}

/// How objects go that are applied no more.
pub(super) struct Sweep<'a> {
    pub(super) context: &'a Context,
    pub(super) change: &'a Change,
    /// The uids of what stays.
    pub(super) kept: &'a BTreeSet<String>,
    pub(super) propagation: &'static str,
    /// Seconds that they get, instead of their own.
    pub(super) grace: Option<i64>,
}

impl Sweep<'_> {
    /// Deletes what a selector finds in a place, unless it stays or does not concern us.
    pub(super) async fn run(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        selector: &str,
        concerned: impl Fn(&Selected) -> bool,
    ) -> Result<(), Error> {
        for mut one in stale(self.context, resource, namespace, selector, self.kept).await? {
            if !concerned(&one) {
                continue;
            }
            if self.change.dry_run != DryRun::Client {
                let path = with_query(&one.target.path(), &[self.change.dry_run.query()]);
                let mut options = json!({"propagationPolicy": self.propagation});
                if let Some(grace) = self.grace {
                    options["gracePeriodSeconds"] = grace.into();
                }
                let connection = self.context.connection().await?;
                connection.request(Method::DELETE, &path, JSON, Some(&options)).await?;
            }
            self.change.print(self.context, &mut one.object, "pruned")?;
        }
        Ok(())
    }
}

/// `core/v1/ConfigMap` as the server serves it.
fn find<'a>(discovery: &'a Discovery, kind: &str) -> Result<&'a Resource, Error> {
    let mut parts = kind.split('/');
    let [group, version, kind] = [(); 3].map(|()| parts.next().unwrap_or(""));
    let group = if group == "core" { "" } else { group };
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    crate::resolve::by_kind(discovery, &api_version, kind)
        .ok_or_else(|| message(format!("no matches for kind {kind:?} in version {api_version:?}")))
}
