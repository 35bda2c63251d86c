//! `get`: objects as tables, documents or templates; with `-w`, as they change.
//!
//! **Contract.** The server makes the tables. What could be had is printed, the errors follow on standard error.
//! **Not here.** Formats: `output`. Watching: `watch` below this file.
//! **Upstream.** `kubectl/pkg/cmd/get` (behaviour).

mod watch;

use clap::ArgMatches;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, TABLE, with_query};
use crate::discovery::Resource;
use crate::duration;
use crate::manifests::{self, Sources};
use crate::output::table::{self, Columns};
use crate::output::tabwriter::TabWriter;
use crate::output::{
    self, Format, custom_columns, json, jsonpath, kyaml, name, sort_by::SortBy, without_managed_fields, yaml,
};
use crate::report::{Error, message};
use crate::resolve::{self, Query, Target};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "get", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Display one or many resources")
        .arg(cli::arguments("(TYPE[.VERSION][.GROUP] [NAME | -l label] | TYPE[.VERSION][.GROUP]/NAME ...)"))
        .args(cli::files())
        .args(cli::selectors())
        .arg(cli::all_namespaces())
        .arg(cli::output())
        .args(cli::templates())
        .arg(cli::flag("watch", "After listing/getting the requested object, watch for changes").short('w'))
        .arg(cli::flag(
            "watch-only",
            "Watch for changes to the requested object(s), without listing/getting first",
        ))
        .arg(cli::flag(
            "output-watch-events",
            "Output watch event objects when --watch or --watch-only is used",
        ))
        .arg(cli::flag("show-labels", "When printing, show all labels as the last column"))
        .arg(
            cli::texts(
                "label-columns",
                "Accepts a comma separated list of labels that are going to be presented as columns",
            )
            .short('L'),
        )
        .arg(cli::flag(
            "no-headers",
            "When using the default or custom-column output format, don't print headers",
        ))
        .arg(cli::flag(
            "ignore-not-found",
            "If set to true, suppresses NotFound error for specific objects that do not exist",
        ))
        .arg(
            cli::text("sort-by", "If non-empty, sort list types using this field specification")
                .default_value("")
                .hide_default_value(true),
        )
        .arg(
            cli::number("chunk-size", "Return large lists in chunks rather than all at once")
                .default_value("500"),
        )
        .arg(cli::text("raw", "Raw URI to request from the server"))
        .arg(cli::flag("show-kind", "If present, list the resource type for the requested object(s)"))
        .arg(
            cli::text("subresource", "If specified, gets the subresource of the requested object")
                .default_value("")
                .hide_default_value(true),
        )
        .arg(cli::flag(
            "show-managed-fields",
            "If true, keep the managedFields when printing objects in JSON or YAML format",
        ))
        .arg(cli::flag_on("server-print", "If true, have the server return the appropriate table output"))
}

/// What the command line asks for.
struct Request<'a> {
    context: &'a Context,
    format: Format,
    table: table::Options,
    show_kind: bool,
    ignore_not_found: bool,
    sort_by: Option<SortBy>,
    chunk_size: i64,
    selector: String,
    field_selector: String,
    subresource: String,
    show_managed_fields: bool,
    output_events: bool,
    server_print: bool,
}

/// One answer and what was asked.
struct Answer {
    resource: Resource,
    documents: Vec<Value>,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let raw = value(matches, "raw");
    if !raw.is_empty() {
        if !values(matches, "arguments").is_empty() {
            return Err(message("arguments may not be passed when --raw is specified"));
        }
        let bytes = context.connection().await?.get_bytes(raw).await?;
        return context.terminal.out_bytes(&bytes);
    }
    let request = request(context, matches)?;
    let (targets, mut errors) = targets(context, matches, &request).await?;
    if matches.get_flag("watch") || matches.get_flag("watch-only") {
        return watch::run(&request, &targets, matches.get_flag("watch-only")).await;
    }
    let mut answers = Vec::new();
    for target in &targets {
        match request.fetch(target).await {
            Ok(answer) => answers.push(answer),
            Err(error) if request.ignore_not_found && error.is_not_found() => {}
            Err(error) => errors.push(error),
        }
    }
    if matches!(request.format, Format::Human { .. }) {
        request.print_tables(&answers, errors.is_empty())?;
    } else {
        let single = targets.len() == 1 && targets[0].name.is_some();
        request.print_objects(answers, single, &errors)?;
    }
    Error::from_many(errors)
}

fn request<'a>(context: &'a Context, matches: &ArgMatches) -> Result<Request<'a>, Error> {
    let format = output::from_matches(matches)?;
    let wide = matches!(format, Format::Human { wide: true });
    let show_labels = matches.get_flag("show-labels");
    if show_labels && !matches!(format, Format::Human { .. }) {
        return Err(message(format!(
            "--show-labels option cannot be used with {} printer",
            value(matches, "output")
        )));
    }
    if matches.get_flag("output-watch-events")
        && !(matches.get_flag("watch") || matches.get_flag("watch-only"))
    {
        return Err(message("--output-watch-events option can only be used with --watch or --watch-only"));
    }
    Ok(Request {
        context,
        format,
        table: table::Options {
            wide,
            no_headers: matches.get_flag("no-headers"),
            with_namespace: matches.get_flag("all-namespaces"),
            show_labels,
            label_columns: values(matches, "label-columns"),
        },
        show_kind: matches.get_flag("show-kind"),
        ignore_not_found: matches.get_flag("ignore-not-found"),
        sort_by: Some(value(matches, "sort-by"))
            .filter(|text| !text.is_empty())
            .map(SortBy::parse)
            .transpose()?,
        chunk_size: matches.get_one::<i64>("chunk-size").copied().unwrap_or(500),
        selector: value(matches, "selector").to_owned(),
        field_selector: value(matches, "field-selector").to_owned(),
        subresource: value(matches, "subresource").to_owned(),
        show_managed_fields: matches.get_flag("show-managed-fields"),
        output_events: matches.get_flag("output-watch-events"),
        server_print: matches.get_flag("server-print"),
    })
}

/// What to ask for, from files or from the positional arguments.
async fn targets(
    context: &Context,
    matches: &ArgMatches,
    request: &Request<'_>,
) -> Result<(Vec<Target>, Vec<Error>), Error> {
    let files = Sources::from_matches(matches)?;
    let arguments = values(matches, "arguments");
    if files.is_empty() {
        if arguments.is_empty() {
            context.terminal.err("You must specify the type of resource to get. Use \"kctl api-resources\" for a complete list of supported resources.\n\n");
            return Err(message(
                "Required resource not specified.\nUse \"kctl explain <resource>\" for a detailed description of that resource (e.g. kctl explain pods).\nSee 'kctl get -h' for help and examples",
            ));
        }
        let query = Query {
            arguments,
            selector: !request.selector.is_empty() || !request.field_selector.is_empty(),
            all_namespaces: request.table.with_namespace,
            allow_all: true,
        };
        return Ok((resolve::targets(context, &query).await?, Vec::new()));
    }
    if !arguments.is_empty() {
        return Err(message(
            "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
        ));
    }
    let (found, errors) = manifests::read(context, &files).await?;
    let targets = found.into_iter().map(Target::from).collect();
    Ok((targets, errors))
}

impl Request<'_> {
    fn accept(&self) -> &'static str {
        if self.server_print && matches!(self.format, Format::Human { .. }) { TABLE } else { JSON }
    }

    fn path(&self, target: &Target) -> String {
        let path = target.path();
        if self.subresource.is_empty() { path } else { format!("{path}/{}", self.subresource) }
    }

    fn include_object(&self) -> String {
        // Sorting needs the objects' own fields.
        let whole = self.sort_by.is_some() && matches!(self.format, Format::Human { .. });
        if whole { "Object".to_owned() } else { String::new() }
    }

    async fn fetch(&self, target: &Target) -> Result<Answer, Error> {
        let connection = self.context.connection().await?;
        let mut documents = Vec::new();
        if target.name.is_some() {
            let path = with_query(&self.path(target), &[("includeObject", self.include_object())]);
            documents.push(connection.get(&path, self.accept()).await?);
        } else {
            let mut token = String::new();
            loop {
                let path = with_query(
                    &self.path(target),
                    &[
                        ("continue", token.clone()),
                        ("fieldSelector", self.field_selector.clone()),
                        ("includeObject", self.include_object()),
                        ("labelSelector", self.selector.clone()),
                        (
                            "limit",
                            if self.chunk_size > 0 { self.chunk_size.to_string() } else { String::new() },
                        ),
                    ],
                );
                let document = connection
                    .get(&path, self.accept())
                    .await
                    .map_err(|error| target.list_error(error, &self.selector, &self.field_selector))?;
                token = document["metadata"]["continue"].as_str().unwrap_or("").to_owned();
                documents.push(document);
                if token.is_empty() {
                    break;
                }
            }
        }
        Ok(Answer { resource: target.resource.clone(), documents })
    }

    /// Tables, one block a type.
    fn print_tables(&self, answers: &[Answer], complete: bool) -> Result<(), Error> {
        let several = answers.iter().any(|one| !one.resource.same_type(&answers[0].resource));
        let with_kind = self.show_kind || several;
        let mut written = false;
        // Once a block shows namespaces, those after it do, as kubectl has it.
        let mut with_namespace = false;
        let mut at = 0;
        while at < answers.len() {
            // Neighbours of one type share a block.
            let resource = &answers[at].resource;
            let count = answers[at..].iter().take_while(|one| one.resource.same_type(resource)).count();
            with_namespace |= self.table.with_namespace && resource.namespaced;
            let options = table::Options { with_namespace, ..self.table.clone() };
            let text = self.block(resource, &answers[at..at + count], with_kind, &options)?;
            at += count;
            if text.is_empty() {
                continue;
            }
            if written && !self.table.no_headers {
                self.context.terminal.out("\n")?;
            }
            written = true;
            self.context.terminal.out(&text)?;
        }
        if !written && complete && !self.ignore_not_found {
            let namespaced = !self.table.with_namespace && answers.iter().all(|one| one.resource.namespaced);
            self.context.terminal.err(&if namespaced {
                format!("No resources found in {} namespace.\n", self.context.namespace())
            } else {
                "No resources found\n".to_owned()
            });
        }
        Ok(())
    }

    fn block(
        &self,
        resource: &Resource,
        answers: &[Answer],
        with_kind: bool,
        options: &table::Options,
    ) -> Result<String, Error> {
        let kind = with_kind.then(|| resource.display_kind());
        let mut columns = Columns::default();
        let mut rows: Vec<Value> = Vec::new();
        for document in answers.iter().flat_map(|answer| &answer.documents) {
            let table = as_table(document, self.context.terminal.now());
            if columns.is_empty() {
                columns = Columns::of(&table, options);
            }
            rows.extend(table["rows"].as_array().into_iter().flatten().cloned());
        }
        if rows.is_empty() {
            return Ok(String::new());
        }
        if let Some(sort) = &self.sort_by {
            sort.sort(&mut rows, |row| &row["object"])?;
        }
        let mut text =
            if options.no_headers { String::new() } else { table::header(&columns, options, false) };
        for row in &rows {
            text += &table::row(row, &columns, options, kind.as_deref(), None);
        }
        Ok(TabWriter::table().align(&text))
    }

    fn options_for(&self, resource: &Resource) -> table::Options {
        table::Options {
            with_namespace: self.table.with_namespace && resource.namespaced,
            ..self.table.clone()
        }
    }

    /// Every other format.
    fn print_objects(&self, answers: Vec<Answer>, single: bool, errors: &[Error]) -> Result<(), Error> {
        let mut items: Vec<Value> = Vec::new();
        for answer in answers {
            for document in answer.documents {
                items.extend(flatten(document, &answer.resource));
            }
        }
        if items.is_empty() && (self.ignore_not_found || !errors.is_empty()) {
            return Ok(());
        }
        if let Some(sort) = &self.sort_by {
            sort.sort(&mut items, |item| item)?;
        }
        if let Format::CustomColumns(columns) = &self.format {
            return self.context.terminal.out(&self.custom_columns(columns, &items)?);
        }
        let mut object = if single && items.len() == 1 {
            items.remove(0)
        } else {
            json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
        };
        let text = print_object(&self.format, &mut object, self.show_managed_fields)?;
        self.context.terminal.out(&text)
    }

    fn custom_columns(&self, columns: &custom_columns::Columns, items: &[Value]) -> Result<String, Error> {
        let mut text = if self.table.no_headers { String::new() } else { columns.header() };
        for item in items {
            text += &columns.row(item)?;
        }
        Ok(TabWriter::table().align(&text))
    }
}

/// An object or list in a format that is not a table.
pub(crate) fn print_object(
    format: &Format,
    object: &mut Value,
    show_managed_fields: bool,
) -> Result<String, Error> {
    if !show_managed_fields
        && !matches!(format, Format::JsonPath { .. } | Format::GoTemplate(_) | Format::Name)
    {
        without_managed_fields(object);
    }
    match format {
        Format::Json => Ok(json::print(object)),
        Format::Yaml => Ok(yaml::print(object)),
        Format::Kyaml => Ok(kyaml::print(object)),
        Format::GoTemplate(template) => template.render(object).map_err(|error| {
            message(format!("error executing template {:?}: template: {error}", template.source()))
        }),
        Format::Name => Ok(match object["items"].as_array() {
            Some(items) if object["kind"] == "List" => {
                items.iter().map(|item| name::of(item) + "\n").collect()
            }
            _ => name::of(object) + "\n",
        }),
        Format::JsonPath { template, source, as_json } => {
            let text = if *as_json { template.render_json(object) } else { template.render(object) };
            text.map_err(|error| jsonpath_error(&error, source, object))
        }
        Format::CustomColumns(columns) => {
            Ok(TabWriter::table().align(&(columns.header() + &columns.row(object)?)))
        }
        Format::Human { .. } => Ok(String::new()),
    }
}

fn jsonpath_error(error: &jsonpath::JsonPathError, source: &str, object: &Value) -> Error {
    message(format!(
        "error executing jsonpath {source:?}: Error executing template: {error}. Printing more information for debugging the template:\n\ttemplate was:\n\t\t{source}\n\tobject given to jsonpath engine was:\n\t\t{}\n\n\n",
        output::go_syntax(object)
    ))
}

/// The objects of an answer; items of typed lists are told their kind.
pub(crate) fn flatten(document: Value, resource: &Resource) -> Vec<Value> {
    let is_list =
        document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && document["items"].is_array();
    if !is_list {
        return vec![document];
    }
    let mut document = document;
    let items = document["items"].take();
    let Value::Array(items) = items else { return Vec::new() };
    items
        .into_iter()
        .map(|mut item| {
            if item["kind"].is_null() && item.is_object() {
                item["kind"] = resource.kind.as_str().into();
            }
            if item["apiVersion"].is_null() && item.is_object() {
                item["apiVersion"] = resource.api_version().into();
            }
            item
        })
        .collect()
}

/// The answer as a table: a server that made none gets one of names and ages.
fn as_table(document: &Value, now: Timestamp) -> Value {
    if document["kind"] == "Table" {
        return document.clone();
    }
    let age = |object: &Value| duration::since(object["metadata"]["creationTimestamp"].as_str(), now);
    let objects: Vec<Value> = match document["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![document.clone()],
    };
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| json!({"cells": [object["metadata"]["name"], age(&object)], "object": object}))
        .collect();
    json!({
        "kind": "Table",
        "metadata": document["metadata"],
        "columnDefinitions": [{"name": "Name", "type": "string", "format": "name"}, {"name": "Age", "type": "string"}],
        "rows": rows,
    })
}
