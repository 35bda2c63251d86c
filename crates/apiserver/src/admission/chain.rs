//! Runs the plugins in their order.
//!
//! **Contract**: if a webhook or policy changes an object that others have seen before, everybody is asked once more; who
//! of the webhooks and policies answers again is told by [`super::Reinvocation`].
//! **Upstream**: `k8s.io/apiserver/pkg/admission/chain.go`, `reinvocation.go`.

use super::{Attributes, Awaited, Lookup, Outsider, Plugin};
use crate::registry::managed_fields;
use api::kind::Resource;
use api::status::Status;
use serde_json::Value;
use std::sync::Arc;

/// One place in the order.
#[derive(Clone)]
pub(super) enum Step {
    Plugin(Arc<dyn Plugin>),
    Outsider(Arc<dyn Outsider>),
}

impl Step {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Plugin(plugin) => plugin.name(),
            Self::Outsider(outsider) => outsider.name(),
        }
    }
}

/// Who is asked about a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// Everybody.
    #[default]
    All,
    /// Plugins only: webhooks and policies are asked about something else, of which this write follows.
    Plugins,
    /// Webhooks and policies only.
    Outsiders,
}

/// Takes back what a webhook or policy made of the record of who owns what, if that makes no sense.
fn keep_owners(attributes: &mut Attributes<'_>, object: &mut Value, owned: Value) {
    if object["metadata"]["managedFields"] == owned {
        return;
    }
    let Some(why) = managed_fields::fault(object) else { return };
    attributes.outcome.warnings.push(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating \
         admission controller; please fix your requests: {why}"
    ));
    if let Some(metadata) = object["metadata"].as_object_mut() {
        match owned {
            Value::Null => drop(metadata.shift_remove("managedFields")),
            owned => drop(metadata.insert("managedFields".to_owned(), owned)),
        }
    }
}

/// The plugins of one server, in order.
#[derive(Clone, Default)]
pub struct Chain(Vec<Step>);

impl Chain {
    /// A chain of these plugins.
    pub(super) fn new(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// The names of the plugins, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(Step::name).collect()
    }

    /// What the object needs that is not there yet but soon will be.
    pub fn awaits(
        &self,
        lookup: &dyn Lookup,
        resource: &Resource,
        namespace: &str,
        object: &Value,
    ) -> Option<Awaited> {
        self.0.iter().find_map(|step| match step {
            Step::Plugin(plugin) => plugin.awaits(lookup, resource, namespace, object),
            Step::Outsider(_) => None,
        })
    }

    /// Lets every plugin change the object (`None` for a deletion); the first refusal ends it.
    pub async fn mutate(
        &self,
        part: Part,
        attributes: &mut Attributes<'_>,
        mut object: Option<&mut Value>,
    ) -> Result<(), Status> {
        let mut owned = None;
        self.mutate_once(part, attributes, object.as_deref_mut(), &mut owned).await?;
        if attributes.reinvocation.begin_again() {
            self.mutate_once(part, attributes, object.as_deref_mut(), &mut owned).await?;
        }
        if let (Some(object), Some(owned)) = (object, owned) {
            keep_owners(attributes, object, owned);
        }
        Ok(())
    }

    /// Asks once. `owned` becomes the record of who owns what as the first webhook or policy found it; plugins leave it alone.
    async fn mutate_once(
        &self,
        part: Part,
        attributes: &mut Attributes<'_>,
        mut object: Option<&mut Value>,
        owned: &mut Option<Value>,
    ) -> Result<(), Status> {
        for step in &self.0 {
            match step {
                Step::Plugin(plugin) if part != Part::Outsiders => {
                    if let Some(object) = object.as_deref_mut() {
                        plugin.mutate(attributes, object)?;
                    }
                }
                Step::Outsider(outsider) if part != Part::Plugins && !outsider.is_idle() => {
                    if let Some(object) = object.as_deref() {
                        owned.get_or_insert_with(|| object["metadata"]["managedFields"].clone());
                    }
                    outsider.mutate(attributes, object.as_deref_mut()).await?;
                }
                Step::Plugin(_) | Step::Outsider(_) => {}
            }
        }
        Ok(())
    }

    /// Asks every plugin to accept the final object (`None` for a deletion).
    pub async fn validate(
        &self,
        part: Part,
        attributes: &mut Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        for step in &self.0 {
            match step {
                Step::Plugin(plugin) if part != Part::Outsiders => plugin.validate(attributes, object)?,
                Step::Outsider(outsider) if part != Part::Plugins && !outsider.is_idle() => {
                    outsider.validate(attributes, object).await?;
                }
                Step::Plugin(_) | Step::Outsider(_) => {}
            }
        }
        Ok(())
    }
}
