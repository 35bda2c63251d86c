//! `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`: servers that are asked before something is written.
//!
//! **Contract**: in the order of the configurations' names, and within one in its order. Mutating ones are asked one by
//! one, each with what the others made of the object; validating ones all at once. Without configurations a request costs
//! a comparison; with them, those that a webhook matches cost its round trip, over connections that are kept.
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/webhook/{mutating,validating,generic}`.

mod call;
mod hook;
mod mutating;
mod review;
#[cfg(test)]
mod tests;
mod validating;

pub(crate) use hook::url as webhook_url;

use super::configured::Configured;
use super::form::{Form, show};
use super::metrics::Outcome;
use super::variables::Seen;
use super::{AdmissionMetrics, Attributes, Outsider, matching};
use crate::auth::Authorizer;
use crate::outbound::Dial;
use crate::registry::Registry;
use api::status::Status;
use call::CallError;
use hook::Hook;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

const GROUP: &str = "admissionregistration.k8s.io";

/// The two plugins: mutating, validating.
pub(crate) fn webhooks(
    registry: &Registry,
    services: &Arc<dyn Dial>,
    authorizer: &Arc<dyn Authorizer>,
    metrics: &Arc<AdmissionMetrics>,
) -> Option<[Arc<dyn Outsider>; 2]> {
    let configured = |plural: &str| Some(Configured::new(&registry.store(GROUP, plural)?, Hook::list));
    let means = Means {
        services: Arc::clone(services),
        authorizer: Arc::clone(authorizer),
        metrics: Arc::clone(metrics),
    };
    let mutating = configured("mutatingwebhookconfigurations")?;
    let validating = configured("validatingwebhookconfigurations")?;
    Some([
        Arc::new(mutating::Mutating { configured: mutating, means: means.clone() }),
        Arc::new(validating::Validating { configured: validating, means }),
    ])
}

/// What both need to ask.
#[derive(Clone)]
struct Means {
    services: Arc<dyn Dial>,
    authorizer: Arc<dyn Authorizer>,
    metrics: Arc<AdmissionMetrics>,
}

/// One request on its way through the webhooks.
struct Asking {
    forms: Vec<Form>,
    /// The object before the change, by form.
    old: HashMap<usize, Value>,
}

impl Asking {
    /// `None`: webhooks have no say in this.
    fn about(attributes: &Attributes<'_>) -> Option<Self> {
        (!matching::is_exempt(attributes))
            .then(|| Self { forms: attributes.forms.all(), old: HashMap::new() })
    }

    /// The object as one that looks at it in this form sees it.
    fn seen<'a>(&'a self, form: usize, object: Option<&'a Value>, old: Option<&'a Value>) -> Seen<'a> {
        Seen { requested: &self.forms[0], form: &self.forms[form], object, old }
    }

    /// The object before the change as this form has it.
    async fn old(&mut self, attributes: &Attributes<'_>, form: usize) -> Result<Option<Value>, Status> {
        let Some(old) = attributes.old else { return Ok(None) };
        if let Some(shown) = self.old.get(&form) {
            return Ok(Some(shown.clone()));
        }
        let shown = show(attributes, form, old).await?;
        self.old.insert(form, shown.clone());
        Ok(Some(shown))
    }
}

/// What becomes of a request after a call that did not end in a yes.
enum Verdict {
    /// Nobody minds.
    FailedOpen,
    Refused(Status),
}

impl Hook {
    /// How a call ended, as it is counted.
    fn outcome<T>(&self, result: &Result<T, CallError>) -> Outcome {
        match result {
            Ok(_) => Outcome::Allowed,
            Err(CallError::Refused(status)) => Outcome::Denied(status.code),
            Err(CallError::Failed(_)) => Outcome::Failed { open: self.ignores_failures },
        }
    }

    fn judge(&self, error: CallError) -> Verdict {
        match error {
            CallError::Refused(status) => Verdict::Refused(status),
            CallError::Failed(why) if self.ignores_failures => {
                tracing::warn!(webhook = self.name, why, "failed calling webhook, failing open");
                Verdict::FailedOpen
            }
            CallError::Failed(why) => {
                tracing::warn!(webhook = self.name, why, "failed calling webhook, failing closed");
                let name = &self.name;
                Verdict::Refused(Status::internal(&format!("failed calling webhook {name:?}: {why}")))
            }
        }
    }
}
