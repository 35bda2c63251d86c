//! Audit records sent to a service, some at a time, or each while its request waits.
//!
//! **Contract**: in batches, no request waits for the service; records that it cannot take in time are told in the log
//! and dropped, and what waits at shutdown is sent. Otherwise [`Sender::deliver`] returns when the service has the
//! record, or has not taken it; what is only pushed, at the end of a stream, nobody waits for.
//! **Upstream**: `k8s.io/apiserver/plugin/pkg/audit/{webhook,buffered}`.

use crate::auth::webhook::Webhook;
use crate::options::{AuditMode, AuditWebhookOptions};
use component_base::Context;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// **Upstream**: `DefaultRequestTimeout` of webhooks.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How records get to the service.
pub(super) enum Sender {
    /// They wait to be sent.
    Batches(mpsc::Sender<Value>),
    /// Each is sent at once.
    Single(Arc<Single>),
}

pub(super) struct Single {
    webhook: Webhook,
    context: Context,
    is_strict: bool,
}

impl Sender {
    /// Reads where the service is, and starts to send.
    pub(super) fn start(
        file: &Path,
        options: &AuditWebhookOptions,
        context: &Context,
    ) -> Result<Self, String> {
        let webhook = Webhook::open(file, TIMEOUT, context.clock.clone())?;
        let webhook = webhook.first_pause(options.initial_backoff);
        if options.mode != AuditMode::Batch {
            let is_strict = options.mode == AuditMode::BlockingStrict;
            return Ok(Self::Single(Arc::new(Single { webhook, context: context.clone(), is_strict })));
        }
        let (sender, records) = mpsc::channel(options.buffer.max(1));
        let throttle = options.throttle.then(|| Throttle::new(options, context.clock.instant()));
        let batches = Batches { records, most: options.most.max(1), wait: options.wait, throttle };
        context.shutdown.spawn_graceful(batches.send(webhook, context.clone()));
        Ok(Self::Batches(sender))
    }

    /// Adds a record.
    pub(super) fn push(&self, record: Value) {
        match self {
            Self::Batches(sender) => {
                if sender.try_send(item(record)).is_err() {
                    tracing::error!("audit buffer queue blocked: a record is dropped");
                }
            }
            Self::Single(single) => {
                let sender = Arc::clone(single);
                single.context.shutdown.spawn(async move {
                    sender.send(record).await;
                });
            }
        }
    }

    /// Adds a record, and waits until the service has it if requests are to wait; tells whether they may go on.
    pub(super) async fn deliver(&self, record: Value) -> bool {
        match self {
            Self::Batches(_) => {
                self.push(record);
                true
            }
            Self::Single(single) => single.send(record).await || !single.is_strict,
        }
    }
}

impl Single {
    async fn send(&self, record: Value) -> bool {
        let sent = self.webhook.send(&list(vec![item(record)])).await;
        if let Err(why) = &sent {
            tracing::error!(why, "the audit webhook did not take a record");
        }
        sent.is_ok()
    }
}

/// A record as one of a list, which says for all what they are.
fn item(mut record: Value) -> Value {
    if let Some(fields) = record.as_object_mut() {
        fields.shift_remove("kind");
        fields.shift_remove("apiVersion");
    }
    record
}

fn list(items: Vec<Value>) -> Value {
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items})
}

struct Batches {
    records: mpsc::Receiver<Value>,
    most: usize,
    wait: Duration,
    throttle: Option<Throttle>,
}

impl Batches {
    async fn send(mut self, webhook: Webhook, context: Context) {
        loop {
            let (items, more) = self.next(&context).await;
            if !items.is_empty() {
                if let Some(throttle) = &mut self.throttle {
                    context.clock.sleep(throttle.take(context.clock.instant())).await;
                }
                let count = items.len();
                let list = list(items);
                let sent = webhook.send(&list);
                let sent = tokio::select! {
                    biased;
                    sent = sent => sent.map(drop),
                    // A service that does not answer must not hold up the end.
                    () = ended(&context) => Err("the server ends".to_owned()),
                };
                if let Err(why) = sent {
                    tracing::error!(why, count, "the audit webhook did not take records");
                }
            }
            if !more {
                return;
            }
        }
    }

    /// The next records, and whether there will be more.
    async fn next(&mut self, context: &Context) -> (Vec<Value>, bool) {
        let mut items = Vec::new();
        let mut due: Option<Instant> = None;
        while items.len() < self.most {
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                record = self.records.recv() => match record {
                    Some(record) => items.push(record),
                    None => return (items, false),
                },
                () = context.shutdown.requested() => return (items, false),
                () = wait => break,
            }
            due = due.or_else(|| Some(context.clock.instant() + self.wait));
        }
        (items, true)
    }
}

/// A while after the shutdown was asked for.
async fn ended(context: &Context) {
    context.shutdown.requested().await;
    context.clock.sleep(Duration::from_secs(2)).await;
}

/// So many batches a second, and a few more at once.
struct Throttle {
    per_second: f64,
    burst: f64,
    tokens: f64,
    seen: Instant,
}

impl Throttle {
    fn new(options: &AuditWebhookOptions, now: Instant) -> Self {
        let burst = f64::from(options.throttle_burst.max(1));
        Self { per_second: options.throttle_qps.max(f64::MIN_POSITIVE), burst, tokens: burst, seen: now }
    }

    /// How long to wait before the next one.
    fn take(&mut self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.seen).as_secs_f64();
        self.seen = now;
        self.tokens = (self.tokens + since * self.per_second).min(self.burst) - 1.0;
        let missing = (-self.tokens).max(0.0) / self.per_second;
        Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_throttled_after_a_burst() {
        let start = component_base::Clock::system().instant();
        let options =
            AuditWebhookOptions { throttle_qps: 2.0, throttle_burst: 2, ..AuditWebhookOptions::default() };
        let mut throttle = Throttle::new(&options, start);
        let waits = [0, 0, 500, 1000].map(Duration::from_millis);
        assert_eq!([(); 4].map(|()| throttle.take(start)), waits);
        assert_eq!(throttle.take(start + Duration::from_secs(60)), Duration::ZERO);
    }
}
