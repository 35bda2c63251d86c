//! Those that may only refuse: all are asked at once, and the first no counts.

use super::call::{self, Subject};
use super::hook::Hook;
use super::{Asking, Means, Verdict};
use crate::admission::configured::Configured;
use crate::admission::form::show;
use crate::admission::metrics::Hooks;
use crate::admission::request::AdmissionRequest;
use crate::admission::{Attributes, Outsider};
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The plugin.
pub(super) struct Validating {
    pub(super) configured: Configured<Vec<Hook>>,
    pub(super) means: Means,
}

#[async_trait]
impl Outsider for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn is_idle(&self) -> bool {
        self.configured.get().is_empty()
    }

    async fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(mut asking) = Asking::about(attributes) else { return Ok(()) };
        let configured = self.configured.get();
        let mut shown: HashMap<usize, (Option<Value>, Option<Value>)> = HashMap::new();
        let mut asked = Vec::new();
        for hook in configured.iter().flat_map(|(_, hooks)| hooks.iter()) {
            let Some(form) = hook.criteria.matches(attributes, object, &asking.forms)? else { continue };
            if let Entry::Vacant(entry) = shown.entry(form) {
                let new = match object {
                    Some(object) => Some(show(attributes, form, object).await?),
                    None => None,
                };
                entry.insert((new, asking.old(attributes, form).await?));
            }
            let (new, old) = &shown[&form];
            let seen = asking.seen(form, new.as_ref(), old.as_ref());
            if !hook.is_wanted(attributes, &seen, &self.means.authorizer)? {
                continue;
            }
            asked.push((hook, form));
        }
        let uids: Vec<String> = asked.iter().map(|_| call::uid(attributes)).collect();
        let operation = attributes.operation;
        let calls = asked.iter().zip(&uids).map(|((hook, form), uid)| {
            let (new, old) = &shown[form];
            let subject = Subject {
                request: AdmissionRequest::new(attributes, &asking.forms[0], &asking.forms[*form], uid),
                uid,
                object: new.as_ref(),
                old: old.as_ref(),
                dry_run: attributes.dry_run,
                mutating: false,
            };
            async move {
                let mut warnings = Vec::new();
                let start = self.means.metrics.start();
                let result = hook.call(&subject, &self.means.services, &mut warnings).await;
                let outcome = hook.outcome(&result);
                self.means.metrics.called(&hook.name, Hooks::Validating, operation, outcome, start);
                (result, warnings)
            }
        });
        let answers = futures::future::join_all(calls).await;
        let mut refusal = None;
        for (index, ((result, warnings), (hook, _))) in answers.into_iter().zip(&asked).enumerate() {
            attributes.outcome.warnings.extend(warnings);
            match result.map_err(|error| hook.judge(error)) {
                Ok(_) => {}
                Err(Verdict::FailedOpen) => call::annotate_failed_open("validating", 0, index, hook),
                Err(Verdict::Refused(status)) => drop(refusal.get_or_insert(status)),
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}
