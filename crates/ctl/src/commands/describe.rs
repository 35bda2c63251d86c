//! `describe`: objects in full, with what belongs to them.
//!
//! **Contract.** A name that does not exist is a prefix. Descriptions are separated by two empty lines.
//! **Not here.** The layouts: `crate::describe`.

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::JSON;
use crate::describe::Describe;
use crate::manifests::{self, Sources};
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
        .arg(cli::selector())
        .arg(cli::all_namespaces())
        .arg(cli::flag_on("show-events", "If true, display events related to the described object"))
        .arg(cli::chunk_size())
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let (targets, mut errors) = targets(context, matches).await?;
    let mut found: Vec<(Value, &Target, Match)> = Vec::new();
    for target in &targets {
        match find(context, target, matches).await {
            Ok((objects, how)) => found.extend(objects.into_iter().map(|object| (object, target, how))),
            Err(error) => errors.push(error),
        }
    }
    let explicit = matches.value_source("show-events") == Some(ValueSource::CommandLine);
    let nothing = found.is_empty();
    // Events cost a request an object: several objects show theirs only on demand.
    let one = found.len() == 1 && found[0].2 == Match::Exact;
    let show_events = matches.get_flag("show-events") && (explicit || one);
    for (index, (object, target, how)) in found.iter().enumerate() {
        let describe = Describe { context, resource: &target.resource, show_events };
        match describe.text(object).await {
            Ok(text) => {
                let text = TabWriter::describe().align(&text);
                context.terminal.out(&match how {
                    Match::Prefix => format!("{text}\n"),
                    Match::Exact if index == 0 => text,
                    Match::Exact => format!("\n\n{text}"),
                })?;
            }
            Err(error) => errors.push(error),
        }
    }
    if nothing && errors.is_empty() {
        // A kind without namespaces makes no difference to kubectl here.
        context.terminal.err(&match matches.get_flag("all-namespaces") {
            true => "No resources found\n".to_owned(),
            false => format!("No resources found in {} namespace.\n", context.namespace()),
        });
    }
    Error::from_many(errors)
}

async fn targets(context: &Context, matches: &ArgMatches) -> Result<(Vec<Target>, Vec<Error>), Error> {
    let files = Sources::from_matches(matches)?;
    let arguments = values(matches, "arguments");
    if !files.is_empty() {
        let (found, errors) = manifests::read(context, &files).await?;
        let targets = found.into_iter().map(Target::from).collect();
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

/// How an object was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Exact,
    Prefix,
}

/// The objects of a target: the named one, those whose names begin so, or the whole list.
async fn find(
    context: &Context,
    target: &Target,
    matches: &ArgMatches,
) -> Result<(Vec<Value>, Match), Error> {
    let connection = context.connection().await?;
    let Some(name) = &target.name else {
        let found = list(context, target, value(matches, "selector"), &cli::limit(matches)).await?;
        return Ok((found, Match::Exact));
    };
    match connection.get(&target.path(), JSON).await {
        Ok(object) => Ok((vec![object], Match::Exact)),
        Err(error) if error.is_not_found() => {
            let collection = Target { name: None, ..target.clone() };
            let Ok(all) = list(context, &collection, "", &cli::limit(matches)).await else {
                return Err(error);
            };
            let found: Vec<Value> = all
                .into_iter()
                .filter(|object| {
                    object["metadata"]["name"].as_str().is_some_and(|other| other.starts_with(name))
                })
                .collect();
            if found.is_empty() { Err(error) } else { Ok((found, Match::Prefix)) }
        }
        Err(error) => Err(error),
    }
}

async fn list(context: &Context, target: &Target, selector: &str, limit: &str) -> Result<Vec<Value>, Error> {
    let pages = context.connection().await?.pages(&target.path(), selector, "", limit).await;
    let pages = pages.map_err(|error| target.list_error(error, selector, ""))?;
    Ok(pages.into_iter().flat_map(|page| super::get::flatten(page, &target.resource)).collect())
}
