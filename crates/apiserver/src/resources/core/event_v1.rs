//! `events.k8s.io/v1`: Events of the core group under other names, with stricter rules for those who write them so.
//!
//! **Upstream**: `pkg/apis/events/v1/conversion.go`, `ValidateEventCreate` and `ValidateEventUpdate` for newer versions.

use crate::registry::Conversion;
use crate::resources::check;
use crate::resources::edit::text;
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

/// What is called otherwise: here, in the core group.
const FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
/// Strings that the core group always shows and this one leaves out when they are empty.
const OMITTED: [&str; 2] = ["reportingController", "reportingInstance"];
/// Field labels: here, in the core group.
const LABELS: [(&str, &str); 12] = [
    ("reason", "reason"),
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reportingController", "reportingComponent"),
    ("type", "type"),
    ("metadata.namespace", "metadata.namespace"),
    ("metadata.name", "metadata.name"),
];
/// What does not change once an event is written, as its errors call it, and where it is stored.
const IMMUTABLE: [(&str, &str); 13] = [
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingComponent"),
    ("reportingInstance", "reportingInstance"),
];

/// The version.
pub(super) struct EventV1(Resource);

impl EventV1 {
    pub(super) fn new() -> Self {
        let resource = Resource::new("events.k8s.io", "v1", "Event", "events", "event", Scope::Namespaced);
        Self(resource.short(&["ev"]))
    }
}

/// The same object with its fields under other names, in their order.
fn renamed(object: Value, name: impl Fn(&str) -> Option<&'static str>) -> Value {
    match object {
        Value::Object(fields) => {
            let rename = |(field, value): (String, Value)| (name(&field).map_or(field, str::to_owned), value);
            Value::Object(fields.into_iter().map(rename).collect())
        }
        other => other,
    }
}

fn shown(object: Value) -> Value {
    let mut event =
        renamed(object, |field| FIELDS.iter().find(|(_, core)| *core == field).map(|(name, _)| *name));
    if let Some(fields) = event.as_object_mut() {
        fields.retain(|name, value| !(OMITTED.contains(&name.as_str()) && *value == ""));
    }
    event
}

fn stored(object: Value) -> Value {
    renamed(object, |field| FIELDS.iter().find(|(name, _)| *name == field).map(|(_, core)| *core))
}

fn check_series(errors: &mut ErrorList, series: &Value) {
    if !series.is_object() {
        return;
    }
    if series["count"].as_i64().unwrap_or(0) < 2 {
        errors.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if series["lastObservedTime"].is_null() {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

fn check_new(event: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check_series(&mut errors, &event["series"]);
    if event["eventTime"].is_null() {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(Error::invalid(&Path::new("type"), "", &format!("has invalid value: {kind}")));
    }
    let mut unset = |field: &str, is_unset: bool| {
        if !is_unset {
            errors.push(Error::invalid(&Path::new(field), "", "needs to be unset"));
        }
    };
    unset("firstTimestamp", event["firstTimestamp"].is_null());
    unset("lastTimestamp", event["lastTimestamp"].is_null());
    unset("count", event["count"].as_i64().unwrap_or(0) == 0);
    let source = &event["source"];
    unset("source", text(source, "component").is_empty() && text(source, "host").is_empty());
    errors
}

fn check_changed(event: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if event["series"] != old["series"] {
        check_series(&mut errors, &event["series"]);
    }
    for (name, field) in IMMUTABLE {
        check::immutable(&mut errors, &Path::new(name), &event[field], &old[field]);
    }
    errors
}

#[async_trait]
impl Conversion for EventV1 {
    fn resource(&self) -> &Resource {
        &self.0
    }

    async fn as_shown(&self, objects: Vec<Value>) -> Result<Vec<Value>, Status> {
        Ok(objects.into_iter().map(shown).collect())
    }

    async fn to_stored(&self, objects: Vec<Value>) -> Result<Vec<Value>, Status> {
        Ok(objects.into_iter().map(stored).collect())
    }

    fn stored_label<'a>(&self, label: &'a str) -> Option<&'a str> {
        LABELS.iter().find(|(name, _)| *name == label).map(|(_, core)| *core)
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> ErrorList {
        match old {
            None => check_new(object),
            Some(old) => check_changed(object, old),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn writers_of_the_newer_version_keep_its_rules() {
        let new = json!({"type": "Odd", "count": 2, "source": {"component": "c"}, "series": {"count": 1}});
        let errors: Vec<String> = check_new(&new).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
                "eventTime: Required value",
                "type: Invalid value: \"\": has invalid value: Odd",
                "count: Invalid value: \"\": needs to be unset",
                "source: Invalid value: \"\": needs to be unset",
            ]
        );
        let old = json!({"reason": "A", "message": "m"});
        let errors = check_changed(&json!({"reason": "B", "message": "m"}), &old);
        assert_eq!(errors[0].to_string(), "reason: Invalid value: \"B\": field is immutable");
    }
}
