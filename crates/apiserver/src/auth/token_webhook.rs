//! Asking a remote service whose a token is, with a TokenReview.
//!
//! **Upstream**: `k8s.io/apiserver/plugin/pkg/authenticator/token/webhook`, with its cache.

use super::UserInfo;
use super::authenticator::Identified;
use super::webhook::{Answers, Webhook};
use crate::decode::{strings, text};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::Instant;

/// The service.
pub(crate) struct TokenWebhook {
    webhook: Webhook,
    lifetime: Duration,
    answers: Answers<Option<Identified>>,
}

impl TokenWebhook {
    pub(super) fn new(webhook: Webhook, lifetime: Duration) -> Self {
        Self { webhook, lifetime, answers: Answers::default() }
    }

    /// Whose the token is, and for which of these audiences.
    pub(super) async fn identity(
        &self,
        token: &str,
        audiences: &[String],
        own: &str,
        now: Instant,
    ) -> Result<Option<Identified>, String> {
        // The token itself is not kept.
        let key = format!("{:x?} {audiences:?}", Sha256::digest(token));
        if let Some(known) = self.answers.get(&key, now) {
            return Ok(known);
        }
        let review = json!({
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {},
            "spec": { "token": token, "audiences": audiences },
        });
        let answer = self.webhook.ask(&review).await.map_err(|why| format!("token webhook: {why}"))?;
        let found = found(&answer["status"], audiences, own)?;
        self.answers.put(key, found.clone(), now, self.lifetime);
        Ok(found)
    }
}

fn found(status: &Value, audiences: &[String], own: &str) -> Result<Option<Identified>, String> {
    if status["authenticated"] != true {
        return match text(&status["error"]) {
            "" => Ok(None),
            error => Err(error.to_owned()),
        };
    }
    let fitting = match strings(&status["audiences"]) {
        // A service that knows of no audiences speaks for this server only.
        none if none.is_empty() => vec![own.to_owned()],
        told => told,
    };
    let fitting: Vec<String> = fitting.into_iter().filter(|audience| audiences.contains(audience)).collect();
    if fitting.is_empty() {
        return Ok(None);
    }
    let user = &status["user"];
    let extra = user["extra"].as_object().into_iter().flatten();
    let found = UserInfo {
        uid: text(&user["uid"]).to_owned(),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
        ..UserInfo::authenticated(text(&user["username"]), strings(&user["groups"]))
    };
    Ok(Some((found, fitting)))
}
