//! `compose`: a Compose file as Kubernetes objects: shown, made in the cluster, or taken away again.
//!
//! **Contract.** What cannot be mapped is an error that names it; nothing of the file is left out in silence. `up` makes
//! services in the order of `depends_on`, and waits for the ones that must be healthy.
//! **Not here.** How services become objects: `compose/convert.rs`.

mod convert;
mod service;

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, value};
use crate::client_config::os_text;
use crate::connection::{JSON, with_query};
use crate::output::{name, yaml};
use crate::report::{Error, message};
use crate::resolve;
use crate::streams::pods;
use crate::yaml_input;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "compose", build, run: |context, matches| Box::pin(run(context, matches)) };

/// The field manager of `up`.
const MANAGER: &str = "kctl-compose";
/// Files that are looked for where none is named.
const FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

fn build(command: clap::Command) -> clap::Command {
    let sub = |name: &'static str, about: &'static str| {
        clap::Command::new(name).about(about).args_override_self(true)
    };
    command
        .about("Run the services of a Compose file on the cluster")
        .after_help("Examples:\n  kctl compose convert > objects.yaml\n  kctl compose -f docker-compose.yml up\n  kctl compose down")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(cli::text("file", "The Compose file; compose.yaml or docker-compose.yml of this folder by default").short('f').global(true))
        .subcommand(sub("convert", "Show the objects"))
        .subcommand(
            sub("up", "Make the objects, or bring them to what the file says")
                .arg(pods::timeout_flag()),
        )
        .subcommand(sub("down", "Delete the objects, claims excepted").arg(cli::flag("volumes", "Delete claims with their data, too")))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let Some((word, matches)) = matches.subcommand() else { return Ok(()) };
    let path = file(value(matches, "file"))?;
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| message(format!("open {shown}: {}", os_text(&error))))?;
    let document = yaml_input::parse(&text).map_err(|error| message(format!("{shown}: {error}")))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path)
            .map_err(|error| format!("open {}: {}", path.display(), os_text(&error)))
    };
    let variable = |name: &str| context.terminal.variable(name).map(str::to_owned);
    let converted = convert::convert(&document, folder, &read, &variable).map_err(|problems| {
        let lines: Vec<String> = problems.into_iter().map(|problem| format!("  {problem}")).collect();
        message(format!("{shown} cannot be mapped:\n{}", lines.join("\n")))
    })?;
    match word {
        "convert" => {
            let objects: Vec<String> = converted.objects().map(yaml::print).collect();
            context.terminal.out(&objects.join("---\n"))
        }
        "up" => up(context, matches, &converted).await,
        _ => down(context, &converted, matches.get_flag("volumes")).await,
    }
}

fn file(given: &str) -> Result<PathBuf, Error> {
    if !given.is_empty() {
        return Ok(PathBuf::from(given));
    }
    let found = FILES.iter().map(PathBuf::from).find(|path| path.is_file());
    found.ok_or_else(|| {
        message(format!("there is none of {} in this folder: name a file with -f", FILES.join(", ")))
    })
}

/// The path of an object, or of the collection that it goes to.
async fn place(context: &Context, object: &Value) -> Result<(String, String), Error> {
    let text = |field: &str| object[field].as_str().unwrap_or("").to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let resource = resolve::by_kind(context.discovery().await?, &api_version, &kind)
        .ok_or_else(|| message(format!("the server has no kind {kind:?} in version {api_version:?}")))?;
    let namespace = Some(context.namespace());
    let own = object["metadata"]["name"].as_str().unwrap_or("");
    Ok((resource.object(namespace, own), resource.collection(namespace)))
}

async fn up(context: &Context, matches: &ArgMatches, converted: &convert::Converted) -> Result<(), Error> {
    let limit = pods::timeout(matches, "up")?;
    for object in &converted.shared {
        apply(context, object).await?;
    }
    for service in &converted.services {
        for healthy in &service.after_healthy {
            let waited = tokio::time::timeout(limit, available(context, healthy)).await;
            waited.map_err(|_| {
                message(format!(
                    "timed out waiting for {healthy} to be healthy, which {} depends on",
                    service.name
                ))
            })??;
        }
        for object in &service.objects {
            apply(context, object).await?;
        }
    }
    Ok(())
}

async fn apply(context: &Context, object: &Value) -> Result<(), Error> {
    let (path, _) = place(context, object).await?;
    let path = with_query(&path, &[("fieldManager", MANAGER.to_owned()), ("force", "true".to_owned())]);
    let applied = context.connection().await?.patch(&path, "application/apply-patch+yaml", object).await?;
    context.terminal.out(&format!("{} applied\n", name::of(&applied)))
}

/// Waits until a deployment is available.
async fn available(context: &Context, name: &str) -> Result<(), Error> {
    let (_, collection) =
        place(context, &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}))
            .await?;
    let is_available = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|one| one["type"] == "Available" && one["status"] == "True")
    };
    let fields = ("fieldSelector", format!("metadata.name={name}"));
    loop {
        let list = context
            .connection()
            .await?
            .get(&with_query(&collection, std::slice::from_ref(&fields)), JSON)
            .await?;
        if list["items"].as_array().into_iter().flatten().any(is_available) {
            return Ok(());
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("").to_owned();
        let query = [fields.clone(), ("watch", "true".to_owned()), ("resourceVersion", version)];
        let mut changes = context.connection().await?.stream(&with_query(&collection, &query), JSON).await?;
        while let Some((_, object)) = changes.event().await? {
            if is_available(&object) {
                return Ok(());
            }
        }
    }
}

async fn down(context: &Context, converted: &convert::Converted, with_claims: bool) -> Result<(), Error> {
    let mut errors = Vec::new();
    let all: Vec<&Value> = converted.objects().collect();
    for object in all.into_iter().rev() {
        if object["kind"] == "PersistentVolumeClaim" && !with_claims {
            continue;
        }
        let (path, _) = place(context, object).await?;
        let options = json!({"propagationPolicy": "Background"});
        match context.connection().await?.request(Method::DELETE, &path, JSON, Some(&options)).await {
            Ok(_) => context.terminal.out(&format!("{} deleted\n", name::of(object)))?,
            Err(error) if error.is_not_found() => {}
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}
