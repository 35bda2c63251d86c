//! The events of an object, as the last section of its description.

use serde_json::Value;

use super::{Describe, items, text};
use crate::connection::{JSON, with_query};
use crate::duration;
use jiff::Timestamp;

/// `Events:` with what was recorded about the object; `<none>` where there is nothing or it cannot be had.
pub(crate) async fn section(describe: &Describe<'_>, object: &Value, uids: &[&str]) -> String {
    if !describe.show_events {
        return String::new();
    }
    let metadata = &object["metadata"];
    let namespace = text(metadata, "namespace");
    let mut found: Vec<Value> = Vec::new();
    for uid in uids {
        let mut fields = vec![format!("involvedObject.name={}", text(metadata, "name"))];
        fields.push(format!("involvedObject.namespace={namespace}"));
        fields.push(format!("involvedObject.kind={}", text(object, "kind")));
        if !uid.is_empty() {
            fields.push(format!("involvedObject.uid={uid}"));
        }
        fields.sort();
        let collection = if namespace.is_empty() {
            "/api/v1/events".to_owned()
        } else {
            format!("/api/v1/namespaces/{namespace}/events")
        };
        let path =
            with_query(&collection, &[("fieldSelector", fields.join(",")), ("limit", "500".to_owned())]);
        let Ok(connection) = describe.context.connection().await else { continue };
        if let Ok(list) = connection.get(&path, JSON).await {
            found.extend(items(&list, "items").iter().cloned());
        }
    }
    table(found, describe.context.terminal.now())
}

/// The table of events at `now`.
pub(crate) fn table(mut events: Vec<Value>, now: Timestamp) -> String {
    if events.is_empty() {
        return "Events:\t<none>\n".to_owned();
    }
    events.sort_by_key(|event| time(&event["lastTimestamp"]));
    let mut out =
        "Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------\n".to_owned();
    for event in &events {
        let interval = interval(event, now);
        let component = text(&event["source"], "component");
        let from = if component.is_empty() { text(event, "reportingComponent") } else { component };
        let message = text(event, "message").trim();
        let message = match text(&event["involvedObject"], "fieldPath") {
            "" => message.to_owned(),
            path => format!("{path}: {message}"),
        };
        out +=
            &format!("  {}\t{}\t{interval}\t{from}\t{message}\n", text(event, "type"), text(event, "reason"));
    }
    out
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(|time| time.parse().ok())
}

/// When an event last happened.
pub(crate) fn when(event: &Value) -> Option<Timestamp> {
    if event["series"].is_object() {
        return time(&event["series"]["lastObservedTime"]);
    }
    time(&event["lastTimestamp"]).or_else(|| time(&event["eventTime"]))
}

/// How long ago, how often and since when: `5s (x3 over 1m)`.
pub(crate) fn interval(event: &Value, now: Timestamp) -> String {
    let age = |value: &Value| duration::since(value.as_str(), now);
    let first =
        if event["eventTime"].is_string() { age(&event["eventTime"]) } else { age(&event["firstTimestamp"]) };
    let series = &event["series"];
    let count = event["count"].as_i64().unwrap_or(0);
    if series.is_object() {
        let count = series["count"].as_i64().unwrap_or(0);
        format!("{} (x{count} over {first})", age(&series["lastObservedTime"]))
    } else if count > 1 {
        format!("{} (x{count} over {first})", age(&event["lastTimestamp"]))
    } else {
        first
    }
}
