//! `create -f`: objects from files, folders and standard input; `create KIND NAME`: objects from flags.
//!
//! **Contract.** Every object is tried; failures are told with the file they come from.
//! **Not here.** The kinds that can be made from flags: `create/generate.rs` has the LIST.
//! **Upstream.** `kubectl/pkg/cmd/create` (behaviour).

mod config;
mod edited;
mod generate;
pub(crate) mod networking;
pub(crate) mod policy;
pub(crate) mod rbac;
mod token;
mod workload;

use clap::ArgMatches;
use http::Method;
use serde_json::Value;

use super::{Command, Context, edit};
use crate::cli::{self, DryRun, value};
use crate::client_config::os_text;
use crate::connection::{JSON, with_query};
use crate::manifests::{self, Manifest, Sources, Validation};
use crate::output::{self, Format, json, name};
use crate::report::{Error, message};
use crate::selection;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "create", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    let command = command
        .about("Create a resource from a file or from stdin")
        .arg(cli::arguments("-f FILENAME"))
        .args(cli::files())
        .args(writing_flags())
        .arg(
            cli::text("selector", "Selector (label query) to filter on")
                .short('l')
                .default_value("")
                .hide_default_value(true),
        )
        .arg(cli::flag("edit", "Edit the API resource before creating"))
        .arg(edit::line_endings_flag())
        .arg(cli::text("raw", "Raw URI to POST to the server"));
    generate::subcommands(command)
}

/// How to write an object and show what came of it.
fn writing_flags() -> Vec<clap::Arg> {
    let mut flags = selection::change_flags("kubectl-create");
    flags.push(validate_flag());
    flags.push(save_config_flag());
    flags
}

/// `--validate`
pub(super) fn validate_flag() -> clap::Arg {
    cli::text("validate", "Must be one of: strict (or true), warn, ignore (or false)")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("strict")
        .default_value("strict")
}

/// `--save-config`
pub(super) fn save_config_flag() -> clap::Arg {
    cli::flag("save-config", "If true, the configuration of current object will be saved in its annotation")
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    if let Some(generated) = generate::run(context, matches).await {
        return generated;
    }
    cli::no_arguments(matches, "Unexpected args", "create")?;
    let files = Sources::from_matches(matches)?;
    if files.is_empty() {
        return Err(Error::Plain("error: must specify one of -f and -k\n".to_owned(), 1));
    }
    let dry_run = DryRun::from_matches(matches)?;
    let validation = validation(value(matches, "validate"))?;
    let raw = value(matches, "raw");
    if matches.get_flag("edit") {
        if !raw.is_empty() {
            return Err(message("--raw and --edit are mutually exclusive"));
        }
        return edited::run(context, matches, &files, validation).await;
    }
    if !raw.is_empty() {
        return send_raw(context, Method::POST, raw, files.files()).await;
    }
    let format = output::from_matches(matches)?;
    let found = {
        let strictness = if validation == "Ignore" { Validation::Off } else { Validation::On };
        manifests::read_validated(context, &files, strictness).await?
    };
    let (mut count, mut errors) = (0, Vec::new());
    for one in found {
        let mut manifest = match one {
            Ok(manifest) => manifest,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if !fits(&manifest.object, value(matches, "selector")) {
            continue;
        }
        if let (Some(namespace), true) =
            (&manifest.namespace, manifest.object["metadata"]["namespace"].is_null())
        {
            manifest.object["metadata"]["namespace"] = namespace.as_str().into();
        }
        if matches.get_flag("save-config") {
            super::apply::remember(&mut manifest.object);
        }
        match create(context, &manifest, dry_run, value(matches, "field-manager"), validation).await {
            Ok(mut created) => {
                count += 1;
                let show = matches.get_flag("show-managed-fields");
                let mut text = match &format {
                    Format::Human { .. } => format!("{} created{}\n", name::of(&created), dry_run.suffix()),
                    format => super::get::print_object(format, &mut created, show)?,
                };
                if matches!(format, Format::Yaml) && count > 1 {
                    text = format!("---\n{text}");
                }
                context.terminal.out(&text)?;
            }
            Err(error) => {
                errors.push(error.with_context(format!("error when creating {:?}", manifest.source)))
            }
        }
    }
    if count == 0 && errors.is_empty() {
        return Err(message("no objects passed to create"));
    }
    Error::from_many(errors)
}

async fn create(
    context: &Context,
    manifest: &Manifest,
    dry_run: DryRun,
    manager: &str,
    validation: &str,
) -> Result<Value, Error> {
    if dry_run == DryRun::Client {
        return Ok(manifest.object.clone());
    }
    let path = with_query(
        &manifest.resource.collection(manifest.namespace.as_deref()),
        &[dry_run.query(), ("fieldManager", manager.to_owned()), ("fieldValidation", validation.to_owned())],
    );
    context.connection().await?.request(Method::POST, &path, JSON, Some(&manifest.object)).await
}

/// Sends one file to a path as it stands, and prints the answer.
pub(super) async fn send_raw(
    context: &Context,
    method: Method,
    path: &str,
    files: &[String],
) -> Result<(), Error> {
    let [file] = files else { return Err(message("--raw can only use a single local file or stdin")) };
    let bytes = if file == "-" {
        context.terminal.read_stdin()?
    } else {
        std::fs::read(file).map_err(|error| message(format!("open {file}: {}", os_text(&error))))?
    };
    let text = String::from_utf8(bytes).map_err(|_| message("the input is not UTF-8"))?;
    let body = crate::yaml_input::parse(&text).map_err(message)?;
    let answer = context.connection().await?.request(method, path, JSON, Some(&body)).await?;
    context.terminal.out(&(json::compact(&answer) + "\n"))
}

/// `--validate` as the server's `fieldValidation`.
pub(super) fn validation(text: &str) -> Result<&'static str, Error> {
    match text {
        "true" | "strict" => Ok("Strict"),
        "warn" => Ok("Warn"),
        "false" | "ignore" => Ok("Ignore"),
        other => Err(message(format!(
            "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
        ))),
    }
}

/// Whether the object's labels satisfy an equality selector (`a=b,c!=d,e,!f`).
fn fits(object: &Value, selector: &str) -> bool {
    let labels = &object["metadata"]["labels"];
    selector.split(',').map(str::trim).filter(|part| !part.is_empty()).all(|part| {
        if let Some((key, wanted)) = part.split_once("!=") {
            labels[key.trim()] != wanted.trim()
        } else if let Some((key, wanted)) = part.split_once('=') {
            labels[key.trim()] == wanted.trim_start_matches('=').trim()
        } else if let Some(key) = part.strip_prefix('!') {
            labels[key].is_null()
        } else {
            !labels[part].is_null()
        }
    })
}
