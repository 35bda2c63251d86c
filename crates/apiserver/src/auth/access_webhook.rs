//! Asking a remote service whether somebody may do something, with a SubjectAccessReview.
//!
//! **Contract**: a service that does not answer has no opinion, or refuses, as configured. A question within a request
//! that is under way is answered from memory only. It is asked about what its conditions hold for.
//! **Upstream**: `k8s.io/apiserver/plugin/pkg/authorizer/webhook`.

use super::rbac::PolicyRule;
use super::selector::requirements;
use super::webhook::{Answers, Webhook};
use super::{Action, Authorizer, Decision, UserInfo};
use crate::cel::{self, Conditions};
use crate::decode::text;
use component_base::Clock;
use futures::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer questions are not remembered. **Upstream**: `maxControlledAttrCacheSize`.
const REMEMBERED_BYTES: usize = 10_000;

/// How answers are remembered, and what their absence means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) authorized: Duration,
    pub(super) unauthorized: Duration,
    /// `failurePolicy: Deny`
    pub(super) denies_on_failure: bool,
}

/// The service.
pub(super) struct AccessWebhook {
    webhook: Webhook,
    manner: Manner,
    /// Expressions about `request`: the spec of the review.
    conditions: Conditions,
    clock: Clock,
    answers: Answers<Decision>,
}

impl AccessWebhook {
    pub(super) fn new(webhook: Webhook, manner: Manner, conditions: Conditions, clock: Clock) -> Self {
        Self { webhook, manner, conditions, clock, answers: Answers::default() }
    }

    /// What is said without asking: nothing where a condition does not hold.
    fn unasked(&self, spec: &Value) -> Option<Decision> {
        if self.conditions.is_empty() {
            return None;
        }
        let mut context = cel::context();
        context.add_variable_from_value("request", cel::from_json(spec));
        match self.conditions.hold(&context) {
            Ok(true) => None,
            Ok(false) => Some(Decision::default()),
            Err(why) => {
                tracing::error!(why, "a condition of the authorization webhook cannot be evaluated");
                Some(self.failed())
            }
        }
    }

    async fn ask(&self, spec: Value) -> Decision {
        if let Some(said) = self.unasked(&spec) {
            return said;
        }
        let now = self.clock.instant();
        let key = spec.to_string();
        if let Some(known) = self.answers.get(&key, now) {
            return known;
        }
        let review = json!({
            "kind": "SubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": spec,
        });
        let status = match self.webhook.ask(&review).await {
            Ok(review) => review["status"].clone(),
            Err(why) => {
                tracing::error!(why, "the authorization webhook does not answer");
                return self.failed();
            }
        };
        let reason = text(&status["reason"]);
        let decision = match (status["denied"] == true, status["allowed"] == true) {
            (true, true) => {
                tracing::error!("the authorization webhook allows and denies at once");
                return self.failed();
            }
            (true, false) => Decision::deny(reason),
            (false, true) => Decision::allow(reason),
            (false, false) => Decision::no_opinion(reason),
        };
        let lifetime = if decision.allowed { self.manner.authorized } else { self.manner.unauthorized };
        if key.len() <= REMEMBERED_BYTES {
            self.answers.put(key, decision.clone(), now, lifetime);
        }
        decision
    }

    fn failed(&self) -> Decision {
        if self.manner.denies_on_failure { Decision::deny("") } else { Decision::default() }
    }
}

impl Authorizer for AccessWebhook {
    fn authorize(&self, action: &Action<'_>) -> Decision {
        let spec = spec(action);
        let known = || self.answers.get(&spec.to_string(), self.clock.instant());
        self.unasked(&spec).or_else(known).unwrap_or_default()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn decide<'a>(&'a self, action: &'a Action<'a>) -> BoxFuture<'a, Decision> {
        self.ask(spec(action)).boxed()
    }

    fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<PolicyRule> {
        Vec::new()
    }

    fn untold_rules(&self, _: &UserInfo) -> Option<String> {
        Some("webhook authorizer does not support user rule resolution".to_owned())
    }
}

/// The question.
fn spec(action: &Action<'_>) -> Value {
    let user = action.user;
    let mut spec = json!({});
    let set = |object: &mut Value, key: &str, text: &str| {
        if !text.is_empty() {
            object[key] = json!(text);
        }
    };
    if action.is_resource {
        let mut about = json!({});
        for (key, text) in [
            ("namespace", action.namespace),
            ("verb", action.verb),
            ("group", action.group),
            ("version", action.version),
            ("resource", action.resource),
            ("subresource", action.subresource),
            ("name", action.name),
        ] {
            set(&mut about, key, text);
        }
        for (key, selector) in
            [("fieldSelector", action.field_selector), ("labelSelector", action.label_selector)]
        {
            let requirements = requirements(selector);
            if !requirements.is_empty() {
                about[key] = json!({ "requirements": requirements });
            }
        }
        spec["resourceAttributes"] = about;
    } else {
        spec["nonResourceAttributes"] = json!({ "path": action.path, "verb": action.verb });
    }
    set(&mut spec, "user", &user.name);
    if !user.groups.is_empty() {
        spec["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    set(&mut spec, "uid", &user.uid);
    spec
}
