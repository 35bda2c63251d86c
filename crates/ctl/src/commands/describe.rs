//! `describe`: objects in full, with what belongs to them.
//!
//! **Contract.** A name that does not exist is a prefix. Descriptions are separated by two empty lines.
//! **Not here.** The layouts: `crate::describe`.

use clap::ArgMatches;
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, with_query};
use crate::describe::Describe;
use crate::manifests;
use crate::output::tabwriter::TabWriter;
use crate::report::{Error, message};
use crate::resolve::{self, Query, Target};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "describe", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Show details of a specific resource or group of resources")
        .arg(cli::arguments("(-f FILENAME | TYPE [NAME_PREFIX | -l label] | TYPE/NAME)"))
        .args(cli::files())
        .args(cli::selectors())
        .arg(cli::all_namespaces())
        .arg(cli::flag_on("show-events", "If true, display events related to the described object"))
        .arg(
            cli::number("chunk-size", "Return large lists in chunks rather than all at once")
                .default_value("500"),
        )
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let (targets, mut errors) = targets(context, matches).await?;
    let mut first = true;
    for target in &targets {
        let found = match find(context, target, matches).await {
            Ok(found) => found,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for object in found {
            let describe = Describe {
                context,
                resource: &target.resource,
                show_events: matches.get_flag("show-events"),
            };
            let text = match describe.text(&object).await {
                Ok(text) => TabWriter::describe().align(&text),
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let gap = if std::mem::take(&mut first) { "" } else { "\n\n" };
            context.terminal.out(&format!("{gap}{text}"))?;
        }
    }
    if first && errors.is_empty() {
        context.terminal.err(&if matches.get_flag("all-namespaces")
            || targets.iter().any(|one| !one.resource.namespaced)
        {
            "No resources found\n".to_owned()
        } else {
            format!("No resources found in {} namespace.\n", context.namespace())
        });
    }
    Error::from_many(errors)
}

async fn targets(context: &Context, matches: &ArgMatches) -> Result<(Vec<Target>, Vec<Error>), Error> {
    let files = values(matches, "filename");
    let arguments = values(matches, "arguments");
    if !files.is_empty() {
        let (found, errors) = manifests::read(context, &files, matches.get_flag("recursive")).await?;
        let targets = found
            .into_iter()
            .map(|one| Target {
                name: Some(one.name().to_owned()),
                namespace: one.namespace,
                resource: one.resource,
            })
            .collect();
        return Ok((targets, errors));
    }
    if arguments.is_empty() {
        return Err(message(
            "You must specify the type of resource to describe. Use \"kctl api-resources\" for a complete list of supported resources.",
        ));
    }
    let query = Query {
        arguments,
        selector: !value(matches, "selector").is_empty(),
        all_namespaces: matches.get_flag("all-namespaces"),
        allow_all: true,
    };
    Ok((resolve::targets(context, &query).await?, Vec::new()))
}

/// The objects of a target: the named one, those whose names begin so, or the whole list.
async fn find(context: &Context, target: &Target, matches: &ArgMatches) -> Result<Vec<Value>, Error> {
    let connection = context.connection().await?;
    let Some(name) = &target.name else { return list(context, target, value(matches, "selector")).await };
    match connection.get(&target.path(), JSON).await {
        Ok(object) => Ok(vec![object]),
        Err(error) if error.is_not_found() => {
            let collection = Target { name: None, ..target.clone() };
            let Ok(all) = list(context, &collection, "").await else { return Err(error) };
            let found: Vec<Value> = all
                .into_iter()
                .filter(|object| {
                    object["metadata"]["name"].as_str().is_some_and(|other| other.starts_with(name))
                })
                .collect();
            if found.is_empty() { Err(error) } else { Ok(found) }
        }
        Err(error) => Err(error),
    }
}

async fn list(context: &Context, target: &Target, selector: &str) -> Result<Vec<Value>, Error> {
    let connection = context.connection().await?;
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let path = with_query(
            &target.path(),
            &[
                ("continue", token.clone()),
                ("labelSelector", selector.to_owned()),
                ("limit", "500".to_owned()),
            ],
        );
        let document = connection.get(&path, JSON).await?;
        token = document["metadata"]["continue"].as_str().unwrap_or("").to_owned();
        found.extend(super::get::flatten(document, &target.resource));
        if token.is_empty() {
            return Ok(found);
        }
    }
}
