//! `api-resources`: what the server serves, as a table or as names.

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::discovery::Resource;
use crate::output::tabwriter::TabWriter;
use crate::output::{self, name::with_group};
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
        .arg(cli::flag("show-managed-fields", "If true, keep the managedFields when printing objects in JSON or YAML format."))
        .arg(cli::text("sort-by", "If non-empty, sort list of resources using specified field. One of (name, kind)"))
        .arg(cli::texts("verbs", "Limit to resources that support the specified verbs"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    cli::no_arguments(matches, "unexpected arguments", "api-resources")?;
    let format = value(matches, "output");
    if !matches!(format, "" | "wide" | "name" | "json" | "yaml" | "kyaml") {
        return Err(output::unknown_format(format, "json,kyaml,name,wide,yaml"));
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
    if matches!(format, "json" | "yaml" | "kyaml") {
        let resources: Vec<Value> = resources.into_iter().map(described).collect();
        let mut list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "", "resources": resources});
        let format = output::parse(format, None)?;
        let text = match output::print_typed(&format, &list) {
            Some(text) => text,
            None => super::print_object(&format, &mut list, matches.get_flag("show-managed-fields"))?,
        };
        return context.terminal.out(&text);
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

/// A resource as a server's own list would describe it.
fn described(one: &Resource) -> Value {
    let mut out = json!({"name": one.name, "singularName": one.singular, "namespaced": one.namespaced});
    let mut put = |key: &str, value: Value| {
        if value != "" && value != json!([]) {
            out[key] = value;
        }
    };
    put("group", one.group.as_str().into());
    put("version", one.version.as_str().into());
    put("kind", one.kind.as_str().into());
    put("verbs", one.verbs.clone().into());
    put("shortNames", one.short_names.clone().into());
    put("categories", one.categories.clone().into());
    out
}
