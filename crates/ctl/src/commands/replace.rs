//! `replace`: objects as their files have them; `--force` deletes the old ones first.
//!
//! **Upstream.** `kubectl/pkg/cmd/replace` (behaviour).

use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use super::{Command, Context, apply, create, delete};
use crate::cli::{self, DryRun, value, values};
use crate::connection::JSON;
use crate::duration;
use crate::manifests::{self, Manifest, Sources, Validation};
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "replace", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Replace a resource by file name or stdin")
        .arg(cli::arguments("-f FILENAME"))
        .args(cli::files())
        .args(selection::change_flags("kubectl-replace"))
        .arg(create::validate_flag())
        .arg(create::save_config_flag())
        .arg(cli::text("raw", "Raw URI to PUT to the server"))
        .arg(cli::text("subresource", "If specified, replace will operate on the subresource of the requested object"))
        .arg(cli::flag("force", "If true, immediately remove resources from API and bypass graceful deletion"))
        .arg(cli::number("grace-period", "Period of time in seconds given to the resource to terminate gracefully").default_value("-1"))
        .arg(
            cli::text("cascade", "Must be \"background\", \"orphan\", or \"foreground\"")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("background")
                .default_value("background"),
        )
        .arg(cli::text("timeout", "The length of time to wait before giving up on a delete, zero means determine a timeout from the size of the object").default_value("0s"))
        .arg(cli::flag("wait", "If true, wait for resources to be gone before returning"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let files = Sources::from_matches(matches)?;
    let arguments = values(matches, "arguments");
    if !arguments.is_empty() {
        return cli::no_arguments(matches, "Unexpected args", "replace");
    }
    if files.is_empty() {
        return Err(Error::Plain("error: must specify one of -f and -k\n".to_owned(), 1));
    }
    let raw = value(matches, "raw");
    if !raw.is_empty() {
        return create::send_raw(context, Method::PUT, raw, files.files()).await;
    }
    let grace = matches.get_one::<i64>("grace-period").copied().unwrap_or(-1);
    let force = matches.get_flag("force");
    if grace >= 0 && !force {
        return Err(message("--grace-period must have --force specified"));
    }
    let timeout = duration::parse(value(matches, "timeout")).unwrap_or_default();
    if !timeout.is_zero() && !force {
        return Err(message("--timeout must have --force specified"));
    }
    let change = Change::from_matches(matches)?;
    if force && change.dry_run == DryRun::Client {
        return Err(message("--dry-run=client can not be used when --force is set"));
    }
    if force && change.dry_run == DryRun::Server {
        return Err(message("--dry-run=server can not be used when --force is set"));
    }
    let validation = create::validation(value(matches, "validate"))?;
    let strictness = if validation == "Ignore" { Validation::Off } else { Validation::On };
    let read = manifests::read_validated(context, &files, strictness).await?;
    let (mut found, mut errors): (Vec<Manifest>, Vec<Error>) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(manifest) => found.push(manifest),
            Err(error) => errors.push(error),
        }
    }
    let asked = Options { validation, change, subresource: value(matches, "subresource") };
    if force {
        remove(context, matches, &found, grace).await?;
    }
    for mut manifest in found {
        if let Some(namespace) = &manifest.namespace {
            manifest.object["metadata"]["namespace"] = namespace.as_str().into();
        }
        // A last-applied configuration in the file is kept true.
        if matches.get_flag("save-config")
            || manifest.object["metadata"]["annotations"][apply::LAST_APPLIED].is_string()
        {
            apply::remember(&mut manifest.object);
        }
        let done =
            if force { asked.create(context, &manifest).await } else { asked.put(context, &manifest).await };
        match done {
            Ok(mut object) => asked.change.print(context, &mut object, "replaced")?,
            Err(error) => {
                let what = if force { "creating" } else { "replacing" };
                errors.push(error.with_context(format!("error when {what} {:?}", manifest.source)));
            }
        }
    }
    Error::from_many(errors)
}

struct Options<'a> {
    validation: &'static str,
    change: Change,
    subresource: &'a str,
}

impl Options<'_> {
    fn query(&self, path: &str) -> String {
        let path = self.change.query(path);
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}fieldValidation={}", self.validation)
    }

    async fn put(&self, context: &Context, manifest: &Manifest) -> Result<Value, Error> {
        if self.change.dry_run == DryRun::Client {
            return Ok(manifest.object.clone());
        }
        let connection = context.connection().await?;
        let mut path = manifest.resource.object(manifest.namespace.as_deref(), manifest.name());
        let mut body = manifest.object.clone();
        if body["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty) {
            // Whatever is there now is to be replaced.
            if let Ok(live) = connection.get(&path, JSON).await {
                body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            }
        }
        if !self.subresource.is_empty() {
            path = format!("{path}/{}", self.subresource);
        }
        connection.request(Method::PUT, &self.query(&path), JSON, Some(&body)).await
    }

    async fn create(&self, context: &Context, manifest: &Manifest) -> Result<Value, Error> {
        let mut body = manifest.object.clone();
        if let Some(metadata) = body["metadata"].as_object_mut() {
            metadata.shift_remove("resourceVersion");
        }
        let path = self.query(&manifest.resource.collection(manifest.namespace.as_deref()));
        context.connection().await?.request(Method::POST, &path, JSON, Some(&body)).await
    }
}

/// Deletes what is there and waits until it is gone.
async fn remove(
    context: &Context,
    matches: &ArgMatches,
    found: &[Manifest],
    grace: i64,
) -> Result<(), Error> {
    let grace = if grace < 0 { 0 } else { grace };
    let propagation = delete::propagation(value(matches, "cascade"))?;
    let limit = duration::parse(value(matches, "timeout")).filter(|limit| !limit.is_zero());
    let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation});
    body["gracePeriodSeconds"] = grace.into();
    for manifest in found {
        let target = Target::from(manifest.clone());
        let kind = manifest.resource.display_kind();
        let place =
            manifest.namespace.as_ref().map_or(String::new(), |name| format!(" from {name} namespace"));
        let line = format!("{kind} {:?} deleted{place}\n", manifest.name());
        delete::away(context, &target, &body, limit, || context.terminal.out(&line)).await?;
    }
    Ok(())
}
