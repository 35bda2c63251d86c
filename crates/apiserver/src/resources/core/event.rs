//! Event: what happened to an object, for people to read; forgotten after an hour.
//!
//! **Upstream**: `pkg/registry/core/event`, `pkg/apis/core/validation/events.go`.

use super::event_v1::EventV1;
use crate::registry::{Cell, Column, Conversion, Strategy};
use crate::resources::edit;
use crate::resources::edit::text;
use api::duration::age_of;
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::{meta, names};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long an event is kept. **Upstream**: `--event-ttl`, 1h.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);

/// The strategy of Events.
pub(crate) struct Event(Resource);

impl Event {
    pub(crate) fn new() -> Self {
        Self(Resource::new("", "v1", "Event", "events", "event", Scope::Namespaced).short(&["ev"]))
    }
}

fn first_non_empty<'a>(a: &'a str, b: &'a str) -> &'a str {
    if a.is_empty() { b } else { a }
}

fn source(object: &Value) -> String {
    let component = first_non_empty(text(&object["source"], "component"), text(object, "reportingComponent"));
    let instance = first_non_empty(text(&object["source"], "host"), text(object, "reportingInstance"));
    if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") }
}

/// What an event with an `eventTime` must say.
fn check_new(errors: &mut ErrorList, object: &Value) {
    let controller = text(object, "reportingComponent");
    let path = Path::new("reportingController");
    if controller.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    errors.extend(names::qualified_name(controller).iter().map(|m| Error::invalid(&path, controller, m)));
    for (field, limit) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)] {
        let value = text(object, field);
        if value.is_empty() && field != "message" {
            errors.push(Error::required(&Path::new(field), ""));
        }
        if value.len() > limit {
            let detail = format!("can have at most {limit} characters");
            errors.push(Error::invalid(&Path::new(field), "", &detail));
        }
    }
}

impl Strategy for Event {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn versions(&self) -> Vec<Arc<dyn Conversion>> {
        vec![Arc::new(EventV1::new())]
    }

    /// Events may be named after objects whose names follow other rules.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_subdomain(name, prefix)
    }

    fn default(&self, object: &mut Value) {
        edit::set_default(object, "source", json!({}));
        for field in ["firstTimestamp", "lastTimestamp", "eventTime"] {
            edit::set_default(object, field, Value::Null);
        }
        edit::set_default(object, "reportingComponent", "");
        edit::set_default(object, "reportingInstance", "");
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("involvedObject").child("namespace");
        let (namespace, involved) = (meta::namespace(object), text(&object["involvedObject"], "namespace"));
        let new = !object["eventTime"].is_null();
        // An event about a cluster-scoped object stands in the default namespace.
        let matches = match (involved, new) {
            ("", true) => ["default", "kube-system"].contains(&namespace),
            ("", false) => ["", "default"].contains(&namespace),
            (_, true) => true,
            (_, false) => involved == namespace,
        };
        if !matches {
            errors.push(Error::invalid(&path, involved, "does not match event.namespace"));
        }
        if new {
            check_new(&mut errors, object);
        }
        for message in names::dns_subdomain(namespace, false) {
            errors.push(Error::invalid(&Path::new("namespace"), namespace, &message));
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn time_to_live(&self, _object: &Value) -> Option<Duration> {
        Some(TIME_TO_LIVE)
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn is_packed(&self) -> bool {
        true
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        let involved = &object["involvedObject"];
        let component = text(&object["source"], "component");
        let mut fields: Vec<String> =
            ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"]
                .map(|field| text(involved, field).to_owned())
                .into();
        fields.push(text(object, "reason").to_owned());
        fields.push(text(object, "reportingComponent").to_owned());
        fields.push(first_non_empty(component, text(object, "reportingComponent")).to_owned());
        fields.push(text(object, "type").to_owned());
        fields
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("Last Seen", "string").field("lastTimestamp"),
                Column::new("Type", "string").field("type"),
                Column::new("Reason", "string").field("reason"),
                Column::new("Object", "string").field("involvedObject"),
                Column::wide("Subobject", "string").field("involvedObject.fieldPath"),
                Column::wide("Source", "string").field("source"),
                Column::new("Message", "string").field("message"),
                Column::wide("First Seen", "string").field("firstTimestamp"),
                Column::wide("Count", "string").field("count"),
                Column { priority: 1, ..Column::NAME },
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let first = match &object["firstTimestamp"] {
            Value::Null => &object["eventTime"],
            time => time,
        };
        let mut last = match &object["lastTimestamp"] {
            Value::Null => first,
            time => time,
        };
        let mut count = object["count"].as_i64().unwrap_or(0).max(1);
        if object["series"].is_object() {
            last = &object["series"]["lastObservedTime"];
            count = object["series"]["count"].as_i64().unwrap_or(0);
        }
        let involved = &object["involvedObject"];
        let mut target = text(involved, "kind").to_lowercase();
        if !text(involved, "name").is_empty() {
            target = format!("{target}/{}", text(involved, "name"));
        }
        vec![
            age_of(last, now).into(),
            text(object, "type").into(),
            text(object, "reason").into(),
            target.into(),
            text(involved, "fieldPath").into(),
            source(object).into(),
            text(object, "message").trim().into(),
            age_of(first, now).into(),
            count.into(),
            meta::name(object).into(),
        ]
    }
}
