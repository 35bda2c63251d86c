//! The loop that lists, watches, resumes and lists again.
//!
//! **Upstream**: `client-go/tools/cache/reflector.go`.

use super::sent::{Event, Sent};
use super::store::Shared;
use super::{Selection, Watched};
use crate::Backoff;
use component_base::{Context, logging};
use futures::AsyncBufReadExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{ListParams, WatchParams};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// How long the server keeps one watch; kube's limit, just under common proxies' five minutes.
const WATCH_SECONDS: u32 = 290;

/// A watch that ended this soon without an event was refused in disguise (upstream: `VeryShortWatchError`).
const VERY_SHORT_WATCH: Duration = Duration::from_secs(1);

/// What is listed and watched.
pub(super) struct Target {
    /// The path of the collection.
    pub(super) path: String,
    /// Only metadata is asked for.
    pub(super) metadata: bool,
    pub(super) selection: Selection,
}

/// Lists and watches one selection of one kind.
pub(super) struct Reflector<K> {
    client: kube::Client,
    context: Context,
    selection: Selection,
    metadata: bool,
    request: kube::core::Request,
    shared: Arc<Shared<K>>,
}

/// Only what is needed of a list.
#[derive(Deserialize)]
struct List<'a> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

/// Why a watch is over.
enum Ended {
    /// Its time was up or the connection broke: resume.
    Resume,
    /// The server does not serve it now: resume later.
    Later(kube::Error),
    /// Its revision is too old, or worse: list again (after a delay if there is an error).
    Relist(Option<kube::Error>),
}

impl<K: Watched> Reflector<K> {
    pub(super) fn new(
        client: kube::Client,
        context: &Context,
        target: Target,
        shared: Arc<Shared<K>>,
    ) -> Self {
        let Target { path, metadata, selection } = target;
        let request = kube::core::Request::new(path);
        Self { client, context: context.clone(), selection, metadata, request, shared }
    }

    /// Lists, then watches from there, for ever.
    pub(super) async fn run(self) {
        // Subscriptions end with this task, however it ends.
        let _close = Close(self.shared.clone());
        let mut backoff = Backoff::reflector();
        let mut from_cache = true;
        loop {
            let mut revision = match self.list(from_cache).await {
                Ok(revision) => revision,
                Err(error) => {
                    from_cache = from_cache && !is_expired(&error);
                    self.wait(&mut backoff, "list", &error).await;
                    continue;
                }
            };
            from_cache = loop {
                match self.watch(&mut revision, &mut backoff).await {
                    Ended::Resume => {}
                    Ended::Later(error) => self.wait(&mut backoff, "watch", &error).await,
                    // A revision that is gone from the history may be gone from a lagging cache, too: list for real.
                    Ended::Relist(None) => break false,
                    Ended::Relist(Some(error)) => {
                        self.wait(&mut backoff, "watch", &error).await;
                        break true;
                    }
                }
            };
        }
    }

    async fn wait(&self, backoff: &mut Backoff, verb: &str, error: &kube::Error) {
        let delay = backoff.next(self.context.clock.instant(), &self.context.rng);
        tracing::warn!(
            resource = %self.request.url_path, ?delay, error = %logging::Chain(error), "failed to {verb}, will retry"
        );
        self.context.clock.sleep(delay).await;
    }

    async fn list(&self, from_cache: bool) -> kube::Result<String> {
        let params = ListParams {
            label_selector: self.selection.labels.clone(),
            field_selector: self.selection.fields.clone(),
            resource_version: from_cache.then(|| "0".to_owned()),
            ..ListParams::default()
        };
        let request =
            if self.metadata { self.request.list_metadata(&params) } else { self.request.list(&params) };
        let text = self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        let List { metadata, items } = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        let revision = metadata.resource_version.unwrap_or_default();
        let taken = items.into_iter().map(Sent::parse).collect::<Result<Vec<_>, _>>();
        taken.and_then(|items| self.shared.replace(&items)).map_err(kube::Error::SerdeError)?;
        self.shared.reached(&revision);
        Ok(revision)
    }

    /// Follows one watch to its end; `revision` is always the one to resume from.
    async fn watch(&self, revision: &mut String, backoff: &mut Backoff) -> Ended {
        let started = self.context.clock.instant();
        let params = WatchParams {
            label_selector: self.selection.labels.clone(),
            field_selector: self.selection.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = if self.metadata {
            self.request.watch_metadata(&params, revision)
        } else {
            self.request.watch(&params, revision)
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return Ended::Relist(Some(kube::Error::BuildRequest(error))),
        };
        let mut lines = match self.client.request_stream(request).await {
            Ok(lines) => Box::pin(lines),
            Err(error) => return ended_by(error),
        };
        let mut seen = false;
        loop {
            // One that waits has no buffer.
            let mut line = Vec::new();
            match lines.read_until(b'\n', &mut line).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return ended_by(kube::Error::ReadEvents(error)),
            }
            match self.take(&line, revision) {
                Ok(()) => {}
                // The connection broke in the middle of a line.
                Err(kube::Error::SerdeError(error)) if error.is_eof() => break,
                // What cannot be decoded may have hidden a change.
                Err(error @ kube::Error::SerdeError(_)) => return Ended::Relist(Some(error)),
                Err(error) => return ended_by(error),
            }
            if !seen {
                seen = true;
                backoff.reset();
            }
        }
        if !seen && self.context.clock.instant().duration_since(started) < VERY_SHORT_WATCH {
            let error =
                std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "very short watch without an event");
            return Ended::Later(kube::Error::ReadEvents(error));
        }
        Ended::Resume
    }

    /// Takes an event, and the revision that it leaves.
    fn take(&self, line: &[u8], revision: &mut String) -> kube::Result<()> {
        let (sent, taken) = match Event::parse(line).map_err(kube::Error::SerdeError)? {
            Event::Present(sent) => {
                let taken = self.shared.apply(&sent);
                (sent, taken)
            }
            Event::Gone(sent) => {
                let taken = self.shared.delete(&sent);
                (sent, taken)
            }
            Event::Bookmark(sent) => (sent, Ok(())),
            Event::Error(status) => return Err(kube::Error::Api(status)),
        };
        taken.map_err(kube::Error::SerdeError)?;
        if let Some(version) = sent.resource_version() {
            version.clone_into(revision);
        }
        self.shared.reached(revision);
        Ok(())
    }
}

struct Close<K>(Arc<Shared<K>>);

impl<K> Drop for Close<K> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// `410 Gone`, reason `Expired` or (from old servers) `Gone`.
fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

fn ended_by(error: kube::Error) -> Ended {
    match &error {
        _ if is_expired(&error) => Ended::Relist(None),
        // Overload, restart, or a connection that broke: nothing was missed that the history does not have.
        kube::Error::Api(status) if status.code == 429 || status.code >= 500 => Ended::Later(error),
        kube::Error::Api(_) => Ended::Relist(Some(error)),
        _ => Ended::Later(error),
    }
}
