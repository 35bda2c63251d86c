//! `apply`: creates what is missing and patches what differs from the files.
//!
//! **Contract.** What was applied is kept in the object's annotation; the next `apply` takes away what is no longer said.
//! With `--server-side` the server does all of this, from field ownership.
//! **Not here.** The patch: `three_way`.
//! **Upstream.** `kubectl/pkg/cmd/apply` (behaviour).

mod apply_set;
mod last_applied;
pub(super) mod prune;
mod recreate;

use std::collections::BTreeSet;

use api::schema::Schema;
use api::selector::LabelSelector;
use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use self::apply_set::ApplySet;
use self::prune::{Prune, Sweep};
use self::recreate::Recreate;
use super::{Command, Context};
use crate::cli::{self, DryRun, value};
use crate::connection::{JSON, MERGE_PATCH, STRATEGIC_PATCH, with_query};
use crate::manifests::{self, Manifest, Sources, Validation};
use crate::output::json;
use crate::report::{Error, message};
use crate::selection::{self, Change};
use crate::three_way;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "apply", build, run: |context, matches| Box::pin(run(context, matches)) };

/// Where the object as applied is kept.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The field manager of a patch made here.
pub(super) const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// The field manager of `--server-side`.
pub(super) const SERVER_SIDE: &str = "kubectl";

fn build(command: clap::Command) -> clap::Command {
    let command = command
        .about("Apply a configuration to a resource by file name or stdin")
        .arg(cli::arguments("-f FILENAME"))
        .args(cli::files())
        .args(selection::change_flags(""))
        .arg(
            cli::text("validate", "Must be one of: strict (or true), warn, ignore (or false)")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("strict")
                .default_value("strict"),
        )
        .arg(cli::flag("server-side", "If true, apply runs in the server instead of the client"))
        .arg(cli::flag("force-conflicts", "If true, server-side apply will force the changes against conflicts"))
        .arg(cli::flag_on("overwrite", "Automatically resolve conflicts between the modified and live configuration by using values from the modified configuration"))
        .arg(cli::flag_on("openapi-patch", "If true, use openapi to calculate diff when the openapi presents and the resource can be found in the openapi spec. Otherwise, fall back to use baked-in types."))
        .arg(cli::text("subresource", "If specified, apply will operate on the subresource of the requested object.  Only allowed when using --server-side."))
        .args(prune::flags())
        .args(recreate::flags());
    last_applied::subcommands(command)
}

/// How to apply.
struct Options {
    change: Change,
    manager: String,
    validation: &'static str,
    force: bool,
    /// What follows an object's path; empty for the object itself.
    subresource: String,
    overwrite: bool,
    recreate: Option<Recreate>,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    if let Some((word, matches)) = matches.subcommand() {
        return last_applied::run(context, word, matches).await;
    }
    cli::no_arguments(matches, "Unexpected args", "apply")?;
    let files = Sources::from_matches(matches)?;
    if files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    let server_side = matches.get_flag("server-side");
    if matches.get_flag("force-conflicts") && !server_side {
        return Err(message("--force-conflicts only works with --server-side"));
    }
    let subresource = value(matches, "subresource");
    if !subresource.is_empty() && !server_side {
        return Err(message("--subresource can only be specified for --server-side"));
    }
    let change = Change::from_matches(matches)?;
    let recreate = Recreate::from_matches(matches, server_side, change.dry_run)?;
    if server_side && change.dry_run == DryRun::Client {
        return Err(message(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    let manager = match value(matches, "field-manager") {
        "" if server_side => SERVER_SIDE,
        "" => CLIENT_SIDE,
        given => given,
    };
    let options = Options {
        change,
        manager: manager.to_owned(),
        validation: super::create::validation(value(matches, "validate"))?,
        force: matches.get_flag("force-conflicts"),
        subresource: if subresource.is_empty() { String::new() } else { format!("/{subresource}") },
        overwrite: matches.get_flag("overwrite"),
        recreate,
    };
    let set = ApplySet::from_matches(context, matches).await?;
    let prune = if set.is_some() { None } else { Prune::from_matches(matches)? };
    let selector = LabelSelector::parse(value(matches, "selector"))
        .map_err(|error| message(format!("unable to parse requirement: {error}")))?;
    let strictness = if options.validation == "Ignore" { Validation::Off } else { Validation::On };
    let read = manifests::read_validated(context, &files, strictness).await?;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(manifest) => {
                let labels = &manifest.object["metadata"]["labels"];
                if selector.matches(|key| labels[key].as_str()) {
                    found.push(manifest);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if found.is_empty() && errors.is_empty() {
        return Err(message("no objects passed to apply"));
    }
    if let Some(set) = &set {
        Error::from_many(std::mem::take(&mut errors))?;
        set.begin(context, &options.change, &mut found).await?;
    }
    let (mut kept, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for manifest in &mut found {
        if let Some(namespace) = &manifest.namespace {
            manifest.object["metadata"]["namespace"] = namespace.as_str().into();
            namespaces.insert(namespace.clone());
        }
        let applied = if server_side {
            on_server(context, manifest, &options).await
        } else {
            here(context, manifest, &options).await
        };
        match applied {
            Ok((mut object, done)) => {
                kept.extend(object["metadata"]["uid"].as_str().map(str::to_owned));
                options.change.print(context, &mut object, done)?;
            }
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)?;
    if let Some(set) = set {
        let (change, kept) = (&options.change, &kept);
        let sweep = Sweep { context, change, kept, propagation: "Background", grace: None };
        return set.finish(&sweep, &found).await;
    }
    match prune {
        Some(prune) => prune.run(context, &options.change, &kept, &namespaces).await,
        None => Ok(()),
    }
}

impl Options {
    fn query(&self, path: &str) -> String {
        with_query(
            path,
            &[
                self.change.dry_run.query(),
                ("fieldManager", self.manager.clone()),
                ("fieldValidation", self.validation.to_owned()),
                ("force", if self.force { "true".to_owned() } else { String::new() }),
            ],
        )
    }
}

async fn on_server(
    context: &Context,
    manifest: &Manifest,
    options: &Options,
) -> Result<(Value, &'static str), Error> {
    let path =
        manifest.resource.object(manifest.namespace.as_deref(), manifest.name()) + &options.subresource;
    let answer = context
        .connection()
        .await?
        .patch(&options.query(&path), "application/apply-patch+yaml", &manifest.object)
        .await;
    match answer {
        Ok(object) => Ok((object, "serverside-applied")),
        Err(error) if error.reason() == Some("UnsupportedMediaType") => {
            Err(message(format!("Server-side apply not available on the server: ({error})")))
        }
        Err(error) if error.reason() == Some("Conflict") => Err(message(format!(
            "{error}\nPlease review the fields above--they currently have other managers. Here\nare the ways you can resolve this warning:\n* If you intend to manage all of these fields, please re-run the apply\n  command with the `--force-conflicts` flag.\n* If you do not intend to manage all of the fields, please edit your\n  manifest to remove references to the fields that should keep their\n  current managers.\n* You may co-own fields by updating your manifest to match the existing\n  value; in this case, you'll become the manager if the other manager(s)\n  stop managing the field (remove it from their configuration).\nSee https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"
        ))),
        Err(error) => Err(error),
    }
}

async fn here(
    context: &Context,
    manifest: &Manifest,
    options: &Options,
) -> Result<(Value, &'static str), Error> {
    let connection = context.connection().await?;
    let mut modified = manifest.object.clone();
    remember(&mut modified);
    if manifest.name().is_empty() {
        return Err(message(format!(
            "from {}: cannot use generate name with apply",
            modified["metadata"]["generateName"].as_str().unwrap_or("")
        )));
    }
    let path = manifest.resource.object(manifest.namespace.as_deref(), manifest.name());
    let live = match connection.get(&path, JSON).await {
        Ok(live) => live,
        Err(error) if error.is_not_found() => {
            if options.change.dry_run == DryRun::Client {
                return Ok((modified, "created"));
            }
            let path = options.query(&manifest.resource.collection(manifest.namespace.as_deref()));
            let created = connection.request(Method::POST, &path, JSON, Some(&modified)).await;
            let created = created
                .map_err(|error| error.with_context(format!("error when creating {:?}", manifest.source)))?;
            return Ok((created, "created"));
        }
        Err(error) => return Err(error),
    };
    let last = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let original: Value = match last {
        Some(text) => serde_json::from_str(text).map_err(|error| {
            message(format!("the applied configuration kept in {path} is not JSON: {error}"))
        })?,
        None => {
            context.terminal.err(&format!(
                "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kctl apply. kctl apply should only be used on resources created declaratively by either kctl create --save-config or kctl apply. The missing annotation will be patched automatically.\n",
                manifest.resource.name,
                manifest.name()
            ));
            Value::Null
        }
    };
    let resource = &manifest.resource;
    let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
    if !options.overwrite
        && let Some((ours, theirs)) =
            three_way::conflict(&original, &manifest.object, &without_memory(&live), ty)
    {
        return Err(message(format!(
            "creating patch with:\noriginal:\n{}\nmodified:\n{}\ncurrent:\n{}\nfor: {:?}: patch:\n{}\nconflicts with changes made from original to current:\n{}\n",
            json::compact(&original),
            json::compact(&modified),
            json::compact(&live),
            manifest.source,
            json::compact(&ours),
            json::compact(&theirs)
        )));
    }
    let patch = three_way::patch(&original, &modified, &live, ty);
    if patch == json!({}) {
        return Ok((live, "unchanged"));
    }
    if options.change.dry_run == DryRun::Client {
        return Ok((live, "configured"));
    }
    let media = if ty.is_some() { STRATEGIC_PATCH } else { MERGE_PATCH };
    let patched = connection.patch(&options.query(&path), media, &patch).await;
    let refused = |error: &Error| matches!(error.reason(), Some("Conflict" | "Invalid"));
    if let (Err(error), Some(recreate)) = (&patched, &options.recreate)
        && refused(error)
    {
        return Ok((recreate.run(context, manifest, options, &live, &modified).await?, "configured"));
    }
    let patched = patched.map_err(|error| {
        error.with_context(format!(
            "error when applying patch:\n{}\nto:\nResource: \"{}, Resource={}\", GroupVersionKind: \"{}, Kind={}\"\nName: {:?}, Namespace: {:?}\nfor: {:?}",
            json::compact(&patch),
            resource.group_slash_version(),
            resource.name,
            resource.group_slash_version(),
            resource.kind,
            manifest.name(),
            manifest.namespace.as_deref().unwrap_or(""),
            manifest.source
        ))
    })?;
    // A patch that only restates what the server says in other words changes nothing.
    let same = patched["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"];
    Ok((patched, if same { "unchanged" } else { "configured" }))
}

/// An object without the annotation in which it was kept as written.
fn without_memory(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.shift_remove(LAST_APPLIED);
    }
    object
}

/// Keeps the object as written in its own annotation.
pub(crate) fn remember(object: &mut Value) {
    for field in ["metadata", "annotations"] {
        let place =
            if field == "metadata" { &mut object["metadata"] } else { &mut object["metadata"][field] };
        if !place.is_object() {
            *place = json!({});
        }
    }
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.shift_remove(LAST_APPLIED);
    }
    let text = json::compact(object) + "\n";
    object["metadata"]["annotations"][LAST_APPLIED] = text.into();
}
