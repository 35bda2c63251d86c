//! A kind for tests, and a registry over memory storage.

use super::{Column, Deletion, Registry, Reservation, Strategy};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use component_base::Context;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::{Location, OpenOptions, Storage};

/// `widgets.test.io`: namespaced, with spec and status, a selectable colour, a claim on a port, and grace.
pub(crate) struct Widget(Resource);

impl Widget {
    pub(crate) fn strategy() -> Arc<dyn Strategy> {
        Arc::new(Self(Resource::new("test.io", "v1", "Widget", "widgets", "widget", Scope::Namespaced)))
    }
}

impl Strategy for Widget {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn is_packed(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        if object["spec"]["color"].is_null() {
            object["spec"]["color"] = "grey".into();
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let size = object["spec"]["size"].as_i64().unwrap_or(0);
        let path = Path::new("spec").child("size");
        if size < 0 {
            vec![Error::invalid(&path, size, "must be greater than or equal to 0")]
        } else {
            ErrorList::new()
        }
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.color"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        vec![object["spec"]["color"].as_str().unwrap_or("").to_owned()]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("Color", "string")] }
    }

    fn row(&self, object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        vec![object["metadata"]["name"].clone(), object["spec"]["color"].clone()]
    }

    fn deletion(&self, object: &Value, requested: Option<i64>) -> Deletion {
        match requested.or(object["spec"]["grace"].as_i64()) {
            Some(seconds) => Deletion::Graceful(seconds),
            None => Deletion::Immediate,
        }
    }

    fn reservations(&self, object: &Value) -> Vec<Reservation> {
        let port = object["spec"]["port"].as_i64();
        port.into_iter()
            .map(|port| Reservation {
                key: format!("ports/{port}"),
                taken: (
                    "spec.port".to_owned(),
                    format!("Invalid value: {port}: provided port is already allocated"),
                ),
                shown: None,
            })
            .collect()
    }
}

/// `gadgets`: cluster-scoped and plain.
pub(crate) struct Gadget(Resource);

impl Strategy for Gadget {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn is_held(&self, object: &Value) -> bool {
        object["held"] == true
    }

    fn prepare_for_delete(&self, object: &mut Value) {
        object["phase"] = "Terminating".into();
    }
}

pub(crate) fn strategies() -> Vec<Arc<dyn Strategy>> {
    let gadget = Gadget(Resource::new("", "v1", "Gadget", "gadgets", "gadget", Scope::Cluster));
    vec![Widget::strategy(), Arc::new(gadget)]
}

pub(crate) async fn memory(context: &Context) -> Arc<dyn Storage> {
    let clock = context.clock.clone();
    let now = Arc::new(move || u64::try_from(clock.now().as_millisecond()).unwrap());
    storage::open(Location::Memory, OpenOptions::new(now)).await.unwrap()
}

/// A registry of its own, and what it stands on.
pub(crate) async fn open(seed: u64) -> (Arc<Registry>, Arc<dyn Storage>, Context) {
    let context = Context::simulated(seed);
    let storage = memory(&context).await;
    let registry = Registry::open(Arc::clone(&storage), &context, strategies()).await.unwrap();
    (registry, storage, context)
}

pub(crate) fn widget(name: &str) -> Value {
    json!({"kind": "Widget", "apiVersion": "test.io/v1", "metadata": {"name": name}, "spec": {}})
}
