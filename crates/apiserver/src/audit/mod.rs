//! The audit log: who asked what, when, and what came of it.
//!
//! **Contract**: off, it costs a look at an option. On, a record of a request follows it through the chain: it is begun
//! when the user is known (or known not to be), and written at each stage that the policy does not omit. What is secret
//! in headers never gets here; what is in bodies does, if the policy asks for bodies.
//! Code far from the chain adds to the request's record with [`annotate`].
//! **Upstream**: `k8s.io/apiserver/pkg/audit`, `pkg/endpoints/filters/audit.go`.

mod log;
mod policy;
mod policy_file;
mod record;
#[cfg(test)]
mod tests;
mod webhook;

use crate::auth::Action;
use crate::config::Options;
use crate::error::Error;
use crate::options::AuditMode;
use component_base::{Clock, Context};
use log::Log;
use policy::{Level, Policy};
pub(crate) use record::{Origin, Record};
use serde_json::{Map, Value};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

/// What the record of a request is annotated with.
pub(crate) type Annotations = Arc<Mutex<Map<String, Value>>>;

tokio::task_local! {
    /// Those of the request that this task serves.
    static ANNOTATIONS: Annotations;
}

/// Adds to the audit record of the request that is being served; nothing happens if none is kept.
pub fn annotate(key: &str, value: impl Into<String>) {
    // Outside of a recorded request there is nothing to add to.
    let _ = ANNOTATIONS.try_with(|annotations| {
        let mut annotations = annotations.lock().unwrap_or_else(PoisonError::into_inner);
        if annotations.contains_key(key) {
            tracing::warn!(key, "an audit annotation is set twice; the first counts");
            return;
        }
        annotations.insert(key.to_owned(), Value::String(value.into()));
    });
}

/// The same, for what repeats the body of the request: it is kept only where bodies are.
pub fn annotate_bodies(key: &str, value: impl Into<String>) {
    let _ = ANNOTATIONS.try_with(|annotations| {
        let mut annotations = annotations.lock().unwrap_or_else(PoisonError::into_inner);
        annotations.insert(format!("{BODIES}{key}"), Value::String(value.into()));
    });
}

/// Marks annotations that repeat bodies, until they are written.
pub(super) const BODIES: &str = "\0";

/// A record that had to be kept was not.
#[derive(Debug)]
pub(crate) struct Lost;

/// The audit log of a server.
pub(crate) struct Audit {
    policy: Policy,
    log: Option<Log>,
    log_mode: AuditMode,
    webhook: Option<webhook::Sender>,
    clock: Clock,
}

impl Audit {
    /// As the options say; `None`: nothing is recorded.
    pub(crate) fn open(options: &Options, context: &Context) -> Result<Option<Arc<Self>>, Error> {
        let (audit, clock) = (&options.audit, &context.clock);
        let Some(file) = audit.policy_file.as_ref().filter(|_| audit.has_backend()) else { return Ok(None) };
        let text = std::fs::read_to_string(file).map_err(|error| Error::File(file.clone(), error))?;
        let (policy, unknown) = policy_file::read(&text).map_err(|why| {
            Error::Configuration(format!("loading audit policy file: {why}: from file {}", file.display()))
        })?;
        if !unknown.is_empty() {
            tracing::warn!(fields = unknown.join(", "), "the audit policy has fields that mean nothing");
        }
        let log = audit.log_path.as_ref().map(|path| {
            Log::open(path, audit, clock.clone()).map_err(|error| Error::File(path.clone(), error))
        });
        let webhook =
            audit.webhook.file.as_ref().map(|file| {
                webhook::Sender::start(file, &audit.webhook, context).map_err(Error::Configuration)
            });
        let (log, webhook) = (log.transpose()?, webhook.transpose()?);
        let log_mode = audit.log_mode;
        Ok(Some(Arc::new(Self { policy, log, log_mode, webhook, clock: clock.clone() })))
    }

    /// The record of a request, if the policy wants one.
    pub(crate) fn begin(
        self: &Arc<Self>,
        action: &Action<'_>,
        origin: Origin<'_>,
        annotations: &Annotations,
    ) -> Option<Record> {
        let verdict = self.policy.verdict(action);
        (verdict.level != Level::None)
            .then(|| Record::new(Arc::clone(self), verdict, action, origin, Arc::clone(annotations)))
    }

    /// Hands a record to whoever keeps them, without waiting for anybody.
    fn write(&self, record: Value) {
        self.log(&record);
        if let Some(webhook) = &self.webhook {
            webhook.push(record);
        }
    }

    /// The same, waiting where requests are to wait. `Err`: it was not kept by who must have it.
    async fn keep(&self, record: Value) -> Result<(), Lost> {
        let logged = self.log(&record) || self.log_mode != AuditMode::BlockingStrict;
        let sent = match &self.webhook {
            Some(webhook) => webhook.deliver(record).await,
            None => true,
        };
        if logged && sent { Ok(()) } else { Err(Lost) }
    }

    fn log(&self, record: &Value) -> bool {
        self.log.as_ref().is_none_or(|log| log.write(format!("{record}\n").as_bytes()))
    }
}

/// Runs a part of the request's work so that it can annotate its record.
pub(crate) async fn annotating<F: Future>(annotations: Option<&Annotations>, work: F) -> F::Output {
    match annotations {
        Some(annotations) => ANNOTATIONS.scope(Arc::clone(annotations), work).await,
        None => work.await,
    }
}
