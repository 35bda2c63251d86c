//! One call of a webhook.
//!
//! **Upstream**: `callHook` and `callAttrMutatingHook`; what can go wrong is told in the words of Go's HTTP client.

use super::hook::Hook;
use super::review::{self, Answer, Question};
use crate::admission::Attributes;
use crate::admission::request::AdmissionRequest;
use crate::audit;
use crate::outbound::{self, Dial};
use api::status::Status;
use bytes::Bytes;
use http::header;
use serde_json::Value;
use std::sync::Arc;

/// Why a call did not end in a yes.
#[derive(Debug)]
pub(super) enum CallError {
    /// There was no answer, or none that makes sense.
    Failed(String),
    /// The webhook, or a rule about webhooks, says no.
    Refused(Status),
}

/// What a webhook is asked about.
pub(super) struct Subject<'a> {
    pub(super) request: AdmissionRequest<'a>,
    pub(super) uid: &'a str,
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
    pub(super) dry_run: bool,
    pub(super) mutating: bool,
}

impl Hook {
    /// Asks, and returns what was answered if it was a yes; warnings count in either case.
    pub(super) async fn call(
        &self,
        subject: &Subject<'_>,
        services: &Arc<dyn Dial>,
        warnings: &mut Vec<String>,
    ) -> Result<Answer, CallError> {
        if subject.dry_run && !self.allows_dry_run {
            return Err(CallError::Refused(review::no_dry_run(&self.name)));
        }
        let mut answer = self.ask(subject, services).await.map_err(CallError::Failed)?;
        for (key, value) in std::mem::take(&mut answer.annotations) {
            audit::annotate(&format!("{}/{key}", self.name), value);
        }
        warnings.append(&mut answer.warnings);
        if answer.allowed {
            Ok(answer)
        } else {
            Err(CallError::Refused(review::refusal(&self.name, &answer.status)))
        }
    }

    async fn ask(&self, subject: &Subject<'_>, services: &Arc<dyn Dial>) -> Result<Answer, String> {
        let version = self.review.ok_or(
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
        )?;
        let client = self.client(services).map_err(|why| format!("could not get REST client: {why}"))?;
        let question = Question::new(version, &subject.request, subject.object, subject.old);
        let body = serde_json::to_vec(&question)
            .map_err(|error| format!("could not create admission objects: {error}"))?;
        let url = format!("{}?timeout={}s", self.url, self.timeout.as_secs());
        let request = http::Request::post(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission");
        let answer = client.send(request, Bytes::from(body), self.timeout).await;
        let answer = answer.map_err(|error| {
            format!("failed to call webhook: Post {url:?}: {}", outbound::in_gos_words(&error))
        })?;
        if !(200..=206).contains(&answer.code) {
            return Err(format!("failed to call webhook: {}", answer.failure()));
        }
        review::read(&answer.body, version, subject.uid, subject.mutating)
    }
}

/// Tells the audit record that a webhook was not heard.
pub(super) fn annotate_failed_open(phase: &str, round: usize, index: usize, hook: &Hook) {
    let key = format!("failed-open.{phase}.webhook.admission.k8s.io/round_{round}_index_{index}");
    audit::annotate(&key, hook.name.clone());
}

/// The name of a request as it is told to others.
pub(super) fn uid(attributes: &Attributes<'_>) -> String {
    attributes.rng.uuid()
}
