//! `diff`: what the server has against what it would have if the manifests were applied.
//!
//! **Contract.** Both sides are written to folders and compared by `$KUBECTL_EXTERNAL_DIFF` or `diff -u -N`, whose exit code
//! counts: 0 the same, 1 different, more a failure. Values of secrets are masked, unless they are asked for.
//! **Upstream.** `kubectl/pkg/cmd/diff` (behaviour).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use api::schema::Schema;
use clap::ArgMatches;
use futures::StreamExt as _;
use http::Method;
use serde_json::{Value, json};

use super::apply::{self, prune};
use super::{Command, Context};
use crate::cli::{self, value};
use crate::client_config::os_text;
use crate::connection::{JSON, MERGE_PATCH, STRATEGIC_PATCH, with_query};
use crate::manifests::{self, Manifest, Sources};
use crate::output::{without_managed_fields, yaml};
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::three_way;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "diff", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Diff the live version against a would-be applied version")
        .arg(cli::arguments("-f FILENAME"))
        .args(cli::files())
        .arg(cli::text("selector", "Selector (label query) to filter on").short('l'))
        .arg(cli::flag("server-side", "If true, apply runs in the server instead of the client."))
        .arg(cli::flag(
            "force-conflicts",
            "If true, server-side apply will force the changes against conflicts.",
        ))
        .arg(
            cli::text("field-manager", "Name of the manager used to track field ownership.")
                .default_value(apply::CLIENT_SIDE),
        )
        .arg(cli::flag("prune", "Include resources that would be deleted by pruning. Can be used with -l and default shows all resources would be pruned"))
        .arg(cli::texts("prune-allowlist", "Overwrite the default allowlist with <group/version/kind> for --prune"))
        .arg(cli::flag("show-managed-fields", "If true, include managed fields in the diff."))
        .arg(cli::flag("show-secrets", "If true, show secret values in the diff."))
        .arg(
            cli::number(
                "concurrency",
                "Number of objects to process in parallel when diffing against the live version.",
            )
            .default_value("1"),
        )
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    diff(context, matches).await.map_err(|error| match error {
        // What the other program has said is enough.
        Error::Plain(text, code) => Error::Plain(text, code),
        // 1 is kept for differences.
        error => Error::Plain(error.report(), error.exit_code() + 1),
    })
}

async fn diff(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let files = Sources::from_matches(matches)?;
    if files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    cli::no_arguments(matches, "Unexpected args", "diff")?;
    let server_side = matches.get_flag("server-side");
    let force = matches.get_flag("force-conflicts");
    if force && !server_side {
        return Err(message("--force-conflicts only works with --server-side"));
    }
    let manager = match value(matches, "field-manager") {
        apply::CLIENT_SIDE if server_side => apply::SERVER_SIDE,
        given => given,
    };
    let prune = if matches.get_flag("prune") { Some(prune::Prune::of_diff(matches)?) } else { None };
    let (found, mut errors) = manifests::read(context, &files).await?;
    let folders = Folders::make(context)?;
    let selector = api::selector::LabelSelector::parse(value(matches, "selector"))
        .map_err(|error| message(format!("unable to parse requirement: {error}")))?;
    let concurrency = matches.get_one::<i64>("concurrency").copied().unwrap_or(1);
    let concurrency = usize::try_from(concurrency).unwrap_or(1).max(1);
    let chosen = found.into_iter().filter(|manifest| {
        let labels = &manifest.object["metadata"]["labels"];
        selector.matches(|key| labels[key].as_str())
    });
    // In the order of the files, however many are asked for at once.
    let asked = chosen.map(|mut manifest| async move {
        if let Some(namespace) = &manifest.namespace {
            manifest.object["metadata"]["namespace"] = namespace.as_str().into();
        }
        let query = |path: &str| {
            let force = if force { "true".to_owned() } else { String::new() };
            with_query(
                path,
                &[("dryRun", "All".into()), ("fieldManager", manager.to_owned()), ("force", force)],
            )
        };
        let sides = both(context, &manifest, server_side, query).await;
        (manifest, sides)
    });
    let mut answers = futures::stream::iter(asked).buffered(concurrency);
    let (mut kept, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    while let Some((manifest, sides)) = answers.next().await {
        match sides {
            Ok(mut sides) => {
                let live = sides.0.as_ref().unwrap_or(&sides.1);
                kept.extend(live["metadata"]["uid"].as_str().map(str::to_owned));
                namespaces.extend(manifest.namespace.clone());
                let resource = &manifest.resource;
                let secret = resource.group.is_empty() && resource.kind == "Secret";
                if secret && !matches.get_flag("show-secrets") {
                    mask(sides.0.as_mut(), &mut sides.1);
                }
                let (mut live, mut merged) = sides;
                if !matches.get_flag("show-managed-fields") {
                    live.iter_mut().chain([&mut merged]).for_each(without_managed_fields);
                }
                folders.write(&Target::from(manifest), live.as_ref(), Some(&merged))?;
            }
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)?;
    if let Some(prune) = prune {
        for one in prune.find(context, &kept, &namespaces).await? {
            folders.write(&one.target, Some(&one.object), None)?;
        }
    }
    folders.compare(context)
}

/// What is there, if anything, and what would be.
async fn both(
    context: &Context,
    manifest: &Manifest,
    server_side: bool,
    query: impl Fn(&str) -> String,
) -> Result<(Option<Value>, Value), Error> {
    let connection = context.connection().await?;
    let resource = &manifest.resource;
    let path = resource.object(manifest.namespace.as_deref(), manifest.name());
    let live = match connection.get(&path, JSON).await {
        Ok(live) => Some(live),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    if server_side {
        let merged =
            connection.patch(&query(&path), "application/apply-patch+yaml", &manifest.object).await?;
        return Ok((live, merged));
    }
    let Some(live) = live else {
        let path = query(&resource.collection(manifest.namespace.as_deref()));
        let mut modified = manifest.object.clone();
        apply::remember(&mut modified);
        return Ok((None, connection.request(Method::POST, &path, JSON, Some(&modified)).await?));
    };
    let mut modified = manifest.object.clone();
    if live["metadata"]["annotations"][apply::LAST_APPLIED].is_string() {
        apply::remember(&mut modified);
    }
    let original = live["metadata"]["annotations"][apply::LAST_APPLIED].as_str();
    let original = original.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
    let patch = three_way::patch(&original, &modified, &live, ty);
    if patch == json!({}) {
        return Ok((Some(live.clone()), live));
    }
    let media = if ty.is_some() { STRATEGIC_PATCH } else { MERGE_PATCH };
    let merged = connection.patch(&query(&path), media, &patch).await?;
    Ok((Some(live), merged))
}

/// Two folders, gone with the value.
struct Folders {
    live: PathBuf,
    merged: PathBuf,
}

impl Folders {
    fn make(context: &Context) -> Result<Self, Error> {
        let parent = context.terminal.variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        Ok(Self { live: folder(&parent, "LIVE")?, merged: folder(&parent, "MERGED")? })
    }

    /// One object as it is and as it would be; a side without it has an empty file, or none where it would be gone.
    fn write(&self, target: &Target, live: Option<&Value>, merged: Option<&Value>) -> Result<(), Error> {
        let resource = &target.resource;
        let group = if resource.group.is_empty() { String::new() } else { format!("{}.", resource.group) };
        let (namespace, name) =
            (target.namespace.as_deref().unwrap_or(""), target.name.as_deref().unwrap_or(""));
        let name = format!("{group}{}.{}.{namespace}.{name}", resource.version, resource.kind);
        std::fs::write(self.live.join(&name), live.map_or(String::new(), yaml::print))?;
        if let Some(merged) = merged {
            std::fs::write(self.merged.join(&name), yaml::print(merged))?;
        }
        Ok(())
    }

    fn compare(&self, context: &Context) -> Result<(), Error> {
        let external = context.terminal.variable("KUBECTL_EXTERNAL_DIFF").unwrap_or("");
        let mut words = external.split(' ').filter(|word| !word.is_empty());
        let program = words.next().unwrap_or("diff");
        let mut command = std::process::Command::new(program);
        if external.is_empty() {
            command.args(["-u", "-N"]);
        }
        command.arg(&self.live).arg(&self.merged);
        // Options only: kubectl takes no others here, for safety's sake.
        command.args(
            words.filter(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '='))),
        );
        let output = command.stdin(Stdio::null()).output().map_err(|error| {
            let what = match error.kind() {
                std::io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
                _ => os_text(&error),
            };
            message(format!("failed to run {program:?}: exec: {program:?}: {what}"))
        })?;
        context.terminal.out_bytes(&output.stdout)?;
        context.terminal.err(&String::from_utf8_lossy(&output.stderr));
        match output.status.code() {
            Some(0) => Ok(()),
            Some(1) => Err(Error::Plain(String::new(), 1)),
            code => Err(message(format!("failed to run {program:?}: exit status {}", code.unwrap_or(-1)))),
        }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.live, &self.merged] {
            // They are temporary; who tidies up behind us finds them, too.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A folder of a name that nobody else has.
fn folder(parent: &Path, name: &str) -> Result<PathBuf, Error> {
    for number in 0..u32::MAX {
        let path = parent.join(format!("{name}-{}{number:04}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(message(format!("mkdir {}: {}", path.display(), os_text(&error)))),
        }
    }
    Err(message("no free name for a temporary folder"))
}

/// Hides values, but not that they differ.
fn mask(live: Option<&mut Value>, merged: &mut Value) {
    let (same, before, after) = ("***", "*** (before)", "*** (after)");
    let mut none = json!({});
    let live = live.unwrap_or(&mut none);
    let old = live["data"].as_object().cloned().unwrap_or_default();
    for (key, value) in live["data"].as_object_mut().into_iter().flatten() {
        let other = merged["data"].get(key);
        *value = if other.is_some_and(|other| other != value) { before.into() } else { same.into() };
    }
    for (key, value) in merged["data"].as_object_mut().into_iter().flatten() {
        let differs = old.get(key).is_some_and(|other| other != value);
        *value = if differs { after.into() } else { same.into() };
    }
    for object in [live, merged] {
        if let Some(annotations) = object["metadata"]["annotations"].as_object_mut()
            && annotations.contains_key(apply::LAST_APPLIED)
        {
            annotations.insert(apply::LAST_APPLIED.to_owned(), same.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_show_that_they_differ_and_no_more() {
        let mut live = json!({"data": {"a": "1", "b": "2", "c": "3"}});
        let mut merged = json!({"data": {"a": "1", "b": "x", "d": "4"}});
        mask(Some(&mut live), &mut merged);
        assert_eq!(live["data"], json!({"a": "***", "b": "*** (before)", "c": "***"}));
        assert_eq!(merged["data"], json!({"a": "***", "b": "*** (after)", "d": "***"}));
        let mut new = json!({"data": {"a": "1"}});
        mask(None, &mut new);
        assert_eq!(new["data"], json!({"a": "***"}));
    }
}
