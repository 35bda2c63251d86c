//! ComponentStatus: upstream's former way to show the health of components, to read only.
//!
//! **Contract**: found out when it is asked for, never stored; `/readyz` is where the server's own health is.
//! **Upstream**: `pkg/registry/core/componentstatus`, deprecated since 1.19.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::cells;
use crate::resources::edit::items;
use api::kind::{Resource, Scope};
use component_base::Health;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of ComponentStatuses.
pub(crate) struct ComponentStatus {
    resource: Resource,
    components: Health,
}

impl ComponentStatus {
    pub(crate) fn new(components: Health) -> Self {
        let (plural, singular) = ("componentstatuses", "componentstatus");
        let resource = Resource::new("", "v1", "ComponentStatus", plural, singular, Scope::Cluster);
        Self { resource: resource.short(&["cs"]), components }
    }
}

impl Strategy for ComponentStatus {
    fn resource(&self) -> &Resource {
        &self.resource
    }

    fn computed(&self) -> Option<Vec<Value>> {
        let status = |(name, result): (String, Result<(), String>)| {
            let (status, message) = match result {
                Ok(()) => ("True", "ok".to_owned()),
                Err(why) => ("False", why),
            };
            json!({
                "kind": "ComponentStatus", "apiVersion": "v1", "metadata": { "name": name },
                "conditions": [{ "type": "Healthy", "status": status, "message": message }],
            })
        };
        Some(self.components.results().into_iter().map(status).collect())
    }

    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 ComponentStatus is deprecated in v1.19+")
    }

    fn verbs(&self) -> &'static [&'static str] {
        &["get", "list"]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Status", "string").text("Status of the component conditions"),
                Column::new("Message", "string").text("Message of the component conditions"),
                Column::new("Error", "string").text("Error of the component conditions"),
            ]
        }
    }

    fn row(&self, object: &Value, _: Timestamp) -> Vec<Cell> {
        let healthy = items(object, "conditions").iter().find(|c| c["type"] == "Healthy");
        let (mut status, mut message, mut error) = ("Unknown", "", "");
        if let Some(condition) = healthy {
            status = if condition["status"] == "True" { "Healthy" } else { "Unhealthy" };
            message = condition["message"].as_str().unwrap_or("");
            error = condition["error"].as_str().unwrap_or("");
        }
        vec![cells::name(object), status.into(), message.into(), error.into()]
    }
}
