//! `events`: what happened, oldest first; with `-w`, as it happens.
//!
//! **Upstream.** `kubectl/pkg/cmd/events` (behaviour).

use clap::ArgMatches;
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, with_query};
use crate::describe::events::{interval, when};
use crate::output::tabwriter::TabWriter;
use crate::output::{self, Format, name};
use crate::report::{Error, message};
use crate::{resolve, selection};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "events", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("List events")
        .arg(cli::all_namespaces())
        .args(selection::print_flags())
        .arg(cli::text("for", "Filter events to only those pertaining to the specified resource"))
        .arg(cli::texts("types", "Output only events of given types"))
        .arg(cli::flag("watch", "After listing the requested events, watch for more events").short('w'))
        .arg(cli::flag("no-headers", "When using the default output format, don't print headers"))
        .arg(cli::chunk_size())
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let types = values(matches, "types");
    if types.iter().any(|one| !one.eq_ignore_ascii_case("normal") && !one.eq_ignore_ascii_case("warning")) {
        return Err(message("valid --types are Normal or Warning"));
    }
    let format = output::from_matches(matches)?;
    let everywhere = matches.get_flag("all-namespaces");
    let collection = match everywhere {
        true => "/api/v1/events".to_owned(),
        false => format!("/api/v1/namespaces/{}/events", context.namespace()),
    };
    let fields = fields(context, value(matches, "for")).await?;
    let connection = context.connection().await?;
    let mut events: Vec<Value> = Vec::new();
    let (mut token, mut version) = (String::new(), String::new());
    loop {
        let query = [("continue", token), ("fieldSelector", fields.clone()), ("limit", cli::limit(matches))];
        let mut list = connection.get(&with_query(&collection, &query), JSON).await?;
        token = list["metadata"]["continue"].as_str().unwrap_or("").to_owned();
        version = list["metadata"]["resourceVersion"].as_str().map_or(version, str::to_owned);
        if let Value::Array(items) = list["items"].take() {
            events.extend(items);
        }
        if token.is_empty() {
            break;
        }
    }
    let wanted = |event: &Value| {
        let kind = event["type"].as_str().unwrap_or("");
        types.is_empty() || types.iter().any(|one| one.eq_ignore_ascii_case(kind))
    };
    events.retain(wanted);
    events.sort_by_key(when);
    for event in &mut events {
        event["kind"] = "Event".into();
        event["apiVersion"] = "v1".into();
    }
    let watch = matches.get_flag("watch");
    if events.is_empty() && !watch {
        context.terminal.err(&match everywhere {
            true => "No events found.\n".to_owned(),
            false => format!("No events found in {} namespace.\n", context.namespace()),
        });
        return Ok(());
    }
    let human = matches!(format, Format::Human { .. });
    let managed = matches.get_flag("show-managed-fields");
    let mut writer = TabWriter::table();
    let mut text = String::new();
    if human && !matches.get_flag("no-headers") {
        text += if everywhere { "NAMESPACE\t" } else { "" };
        text += "LAST SEEN\tTYPE\tREASON\tOBJECT\tMESSAGE\n";
    }
    if human {
        let now = context.terminal.now();
        text += &events.iter().map(|event| row(event, everywhere, now)).collect::<String>();
        context.terminal.out(&writer.align(&text))?;
    } else {
        let mut list =
            serde_json::json!({"apiVersion": "v1", "items": events, "kind": "List", "metadata": {}});
        context.terminal.out(&match &format {
            Format::Name => events.iter().map(|event| name::of(event) + "\n").collect(),
            format => super::print_object(format, &mut list, managed)?,
        })?;
    }
    if !watch {
        return Ok(());
    }
    let query = [("fieldSelector", fields), ("resourceVersion", version), ("watch", "true".to_owned())];
    let mut stream = connection.stream(&with_query(&collection, &query), JSON).await?;
    while let Some((kind, mut event)) = stream.event().await? {
        if !matches!(kind.as_str(), "ADDED" | "MODIFIED") || !wanted(&event) {
            continue;
        }
        context.terminal.out(&match &format {
            Format::Human { .. } => writer.align(&row(&event, everywhere, context.terminal.now())),
            format => super::print_object(format, &mut event, managed)?,
        })?;
    }
    Ok(())
}

/// The field selector of `--for type/name`.
async fn fields(context: &Context, subject: &str) -> Result<String, Error> {
    if subject.is_empty() {
        return Ok(String::new());
    }
    let Some((word, name)) =
        subject.split_once('/').filter(|(word, name)| !word.is_empty() && !name.is_empty())
    else {
        return Err(message("--for must be in resource/name form"));
    };
    let kind = &resolve::resource(context.discovery().await?, word)?.kind;
    Ok(format!("involvedObject.kind={kind},involvedObject.name={name}"))
}

fn row(event: &Value, with_namespace: bool, now: jiff::Timestamp) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let object = &event["involvedObject"];
    let place = if with_namespace { text(&event["metadata"]["namespace"]) + "\t" } else { String::new() };
    format!(
        "{place}{}\t{}\t{}\t{}/{}\t{}\n",
        interval(event, now),
        text(&event["type"]),
        text(&event["reason"]),
        text(&object["kind"]),
        text(&object["name"]),
        text(&event["message"]).trim()
    )
}
