//! `api-resources`: what the server serves, as a table or as names.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::discovery::Resource;
use crate::output::name::with_group;
use crate::output::tabwriter::TabWriter;
use crate::report::{Error, message};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "api-resources", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Print the supported API resources on the server")
        .arg(cli::arguments(""))
        .arg(cli::text("api-group", "Limit to resources in the specified API group"))
        .arg(cli::flag("cached", "Use the cached list of resources if available"))
        .arg(cli::texts("categories", "Limit to resources that belong to the specified categories"))
        .arg(cli::flag_on("namespaced", "If false, non-namespaced resources will be returned, otherwise returning namespaced resources by default"))
        .arg(cli::flag("no-headers", "When using the default or custom-column output format, don't print headers"))
        .arg(cli::output())
        .arg(cli::text("sort-by", "If non-empty, sort list of resources using specified field. One of (name, kind)"))
        .arg(cli::texts("verbs", "Limit to resources that support the specified verbs"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    cli::no_arguments(matches, "unexpected arguments", "api-resources")?;
    let format = value(matches, "output");
    if !matches!(format, "" | "wide" | "name") {
        return Err(message(format!(
            "unable to match a printer suitable for the output format {format:?}, allowed formats are: name,wide"
        )));
    }
    let sort_by = value(matches, "sort-by");
    if !matches!(sort_by, "" | "name" | "kind") {
        return Err(message("--sort-by accepts only name or kind"));
    }
    let (verbs, categories) = (values(matches, "verbs"), values(matches, "categories"));
    let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let all = |wanted: &[String], has: &[String]| wanted.iter().all(|one| has.contains(one));
    let kept = if matches.get_flag("cached") { context.kept_discovery().await? } else { None };
    let discovery = match &kept {
        Some(kept) => kept,
        None => context.discovery().await?,
    };
    let mut resources: Vec<&Resource> = discovery
        .preferred()
        .into_iter()
        .filter(|one| !one.verbs.is_empty())
        .filter(|one| !given("api-group") || one.group == value(matches, "api-group"))
        .filter(|one| !given("namespaced") || one.namespaced == matches.get_flag("namespaced"))
        .filter(|one| all(&verbs, &one.verbs) && all(&categories, &one.categories))
        .collect();
    resources.sort_by(|a, b| match sort_by {
        "name" => a.name.cmp(&b.name),
        "kind" => a.kind.cmp(&b.kind),
        _ => (&a.group, &a.name).cmp(&(&b.group, &b.name)),
    });
    if format == "name" {
        return context
            .terminal
            .out(&resources.iter().map(|one| with_group(&one.name, &one.group) + "\n").collect::<String>());
    }
    let wide = format == "wide";
    let mut text = String::new();
    if !matches.get_flag("no-headers") {
        text += "NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND";
        text += if wide { "\tVERBS\tCATEGORIES\n" } else { "\n" };
    }
    for one in resources {
        text += &format!(
            "{}\t{}\t{}\t{}\t{}",
            one.name,
            one.short_names.join(","),
            one.api_version(),
            one.namespaced,
            one.kind
        );
        if wide {
            text += &format!("\t{}\t{}", one.verbs.join(","), one.categories.join(","));
        }
        text.push('\n');
    }
    context.terminal.out(&TabWriter::table().align(&text))
}
