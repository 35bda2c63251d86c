//! Runs the plugins in their order.

use super::{Attributes, Awaited, Lookup, Plugin};
use api::kind::Resource;
use api::status::Status;
use serde_json::Value;
use std::sync::Arc;

/// The plugins of one server, in order.
#[derive(Clone, Default)]
pub struct Chain(Vec<Arc<dyn Plugin>>);

impl Chain {
    /// A chain of these plugins.
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Self(plugins)
    }

    /// The names of the plugins, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|plugin| plugin.name()).collect()
    }

    /// What the object needs that is not there yet but soon will be.
    pub fn awaits(
        &self,
        lookup: &dyn Lookup,
        resource: &Resource,
        namespace: &str,
        object: &Value,
    ) -> Option<Awaited> {
        self.0.iter().find_map(|plugin| plugin.awaits(lookup, resource, namespace, object))
    }

    /// Lets every plugin change the object; the first refusal ends it.
    pub fn mutate(&self, attributes: &mut Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        self.0.iter().try_for_each(|plugin| plugin.mutate(attributes, object))
    }

    /// Asks every plugin to accept the final object (`None` for a deletion).
    pub fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        self.0.iter().try_for_each(|plugin| plugin.validate(attributes, object))
    }
}
