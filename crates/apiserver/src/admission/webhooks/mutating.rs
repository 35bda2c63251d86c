//! Those that may change the object: one after the other, and those before a change again if they want to.

use super::call::{self, Subject};
use super::hook::Hook;
use super::{Asking, Means, Verdict};
use crate::admission::configured::Configured;
use crate::admission::form::show;
use crate::admission::metrics::Hooks;
use crate::admission::request::AdmissionRequest;
use crate::admission::{Attributes, Outsider};
use crate::audit;
use crate::patch::json;
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json as object};

const NAME: &str = "MutatingAdmissionWebhook";

/// The plugin.
pub(super) struct Mutating {
    pub(super) configured: Configured<Vec<Hook>>,
    pub(super) means: Means,
}

#[async_trait]
impl Outsider for Mutating {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_idle(&self) -> bool {
        self.configured.get().is_empty()
    }

    async fn mutate(
        &self,
        attributes: &mut Attributes<'_>,
        object: Option<&mut Value>,
    ) -> Result<(), Status> {
        let Some(asking) = Asking::about(attributes) else { return Ok(()) };
        attributes.reinvocation.enter(NAME, object.as_deref());
        let mut object = object;
        self.ask_all(attributes, asking, &mut object).await?;
        attributes.reinvocation.leave(NAME, object.as_deref());
        Ok(())
    }
}

impl Mutating {
    async fn ask_all(
        &self,
        attributes: &mut Attributes<'_>,
        mut asking: Asking,
        object: &mut Option<&mut Value>,
    ) -> Result<(), Status> {
        let configured = self.configured.get();
        for (index, hook) in configured.iter().flat_map(|(_, hooks)| hooks.iter()).enumerate() {
            let matched = hook.criteria.matches(attributes, object.as_deref(), &asking.forms)?;
            let Some(form) = matched.filter(|_| attributes.reinvocation.is_asked(NAME, &hook.id)) else {
                continue;
            };
            let old = asking.old(attributes, form).await?;
            let new = match object.as_deref() {
                Some(object) => Some(show(attributes, form, object).await?),
                None => None,
            };
            let seen = asking.seen(form, new.as_ref(), old.as_ref());
            if !hook.is_wanted(attributes, &seen, &self.means.authorizer)? {
                continue;
            }
            let changed = self.ask(attributes, &asking, (index, hook), form, (new, old), object).await?;
            if changed {
                attributes.reinvocation.changed(NAME);
            }
            if hook.wants_reinvocation {
                attributes.reinvocation.wait(NAME, &hook.id);
            }
        }
        Ok(())
    }

    /// Asks one; tells whether it has changed the object.
    async fn ask(
        &self,
        attributes: &mut Attributes<'_>,
        asking: &Asking,
        (index, hook): (usize, &Hook),
        form: usize,
        (new, old): (Option<Value>, Option<Value>),
        object: &mut Option<&mut Value>,
    ) -> Result<bool, Status> {
        let round = attributes.reinvocation.round();
        let mut warnings = Vec::new();
        let result = {
            let uid = call::uid(attributes);
            let subject = Subject {
                request: AdmissionRequest::new(attributes, &asking.forms[0], &asking.forms[form], &uid),
                uid: &uid,
                object: new.as_ref(),
                old: old.as_ref(),
                dry_run: attributes.dry_run,
                mutating: true,
            };
            let start = self.means.metrics.start();
            let result = hook.call(&subject, &self.means.services, &mut warnings).await;
            let outcome = hook.outcome(&result);
            self.means.metrics.called(&hook.name, Hooks::Mutating, attributes.operation, outcome, start);
            result
        };
        attributes.outcome.warnings.append(&mut warnings);
        let place = format!("round_{round}_index_{index}");
        let answer = match result.map_err(|error| hook.judge(error)) {
            Ok(answer) => answer,
            Err(Verdict::Refused(status)) => {
                annotate(&place, hook, false);
                return Err(status);
            }
            Err(Verdict::FailedOpen) => {
                annotate(&place, hook, false);
                call::annotate_failed_open("mutation", round, index, hook);
                return Ok(false);
            }
        };
        let changed = match (new, object.as_deref_mut()) {
            _ if answer.patch.is_empty() => false,
            (Some(before), Some(object)) => {
                let patched = patched(hook, &before, &answer.patch, &answer.patch_type)?;
                audit_patch(&place, hook, &answer.patch);
                let after = attributes.forms.take(form, patched, object).await;
                let after = after.map_err(|status| Status::internal(&status.message))?;
                let changed = after != *object;
                *object = after;
                changed
            }
            _ if answer.patch.trim_ascii() == b"[]" => false,
            _ => {
                let name = &hook.name;
                return Err(Status::internal(&format!(
                    "admission webhook {name:?} attempted to modify the object, which is not supported for this operation"
                )));
            }
        };
        annotate(&place, hook, changed);
        Ok(changed)
    }
}

/// The object that a webhook's patch makes.
fn patched(hook: &Hook, before: &Value, patch: &[u8], patch_type: &str) -> Result<Value, Status> {
    if patch_type != "JSONPatch" {
        let why = format!("unsupported patch type {patch_type:?}");
        return Err(Status::internal(&format!("failed calling webhook {:?}: {why}", hook.name)));
    }
    let operations = json::parse(patch).map_err(|status| Status::internal(&status.message))?;
    let mut object = before.clone();
    json::apply_telling(&operations, &mut object).map_err(|why| Status::internal(&why))?;
    Ok(object)
}

fn annotate(place: &str, hook: &Hook, mutated: bool) {
    let value = object!({"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated});
    audit::annotate(&format!("mutation.webhook.admission.k8s.io/{place}"), value.to_string());
}

/// What exactly changed is told where bodies of requests are.
fn audit_patch(place: &str, hook: &Hook, patch: &[u8]) {
    let patch: Value = serde_json::from_slice(patch).unwrap_or_default();
    let value = object!({
        "configuration": hook.configuration, "webhook": hook.name, "patch": patch, "patchType": "JSONPatch",
    });
    audit::annotate_bodies(&format!("patch.webhook.admission.k8s.io/{place}"), value.to_string());
}
