//! watch: a stream of changes, one JSON object a line, or one protobuf message behind its length; or each in a WebSocket
//! message.
//!
//! **Contract**: every change after the revision asked for, in order, none twice; a bookmark tells a revision that
//! everything before it was delivered for. A watch that was not followed fast enough ends, and the client resumes.
//! **Upstream**: `handlers/watch.go`, `storage/cacher`.

use super::Call;
use super::options::ListOptions;
use super::respond::head;
use crate::body::{self, Body, Request, Response};
use crate::negotiate::{Encoding, Shape};
use crate::protobuf;
use crate::registry::{Object, Registry, Version, table};
use crate::respond;
use crate::watch_cache::{Change, ChangeType, Selection, Subscription};
use api::kind::Resource;
use api::status::Status;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use component_base::Clock;
use futures::StreamExt;
use futures::stream::{iter, unfold};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::BodyDataStream;
use serde_json::{Value, json};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use streaming::watch::Form;
use tokio::time::Instant;

/// The least time after which a watch ends if the client did not say. **Upstream**: `--min-request-timeout`.
const MIN_TIMEOUT: Duration = Duration::from_secs(1800);
/// Between bookmarks. **Upstream**: `bookmarkFrequency`.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before the end the last bookmark is sent.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Bytes after which a block is sent even if more is at hand.
const BLOCK: usize = 64 << 10;

pub(super) async fn watch(call: &Call<'_>, request: Request) -> Result<Response, Status> {
    let response = changes(call).await?;
    if streaming::watch::is_requested(request.headers()) {
        return Ok(over_websocket(call, request, response.into_body()));
    }
    Ok(response)
}

/// The same changes in messages.
fn over_websocket(call: &Call<'_>, mut request: Request, changes: Body) -> Response {
    let (response, accepted) = match streaming::watch::accept(&mut request) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let mut response = respond::text(refusal.status.as_u16(), refusal.message);
            response.headers_mut().extend(refusal.headers);
            return response;
        }
    };
    let (form, next): (_, fn(&mut Bytes) -> Option<Bytes>) = match call.negotiated.encoding {
        Encoding::Protobuf => (Form::Binary, next_message),
        _ => (Form::Text, next_line),
    };
    let blocks = BodyDataStream::new(changes).filter_map(|block| ready(block.ok()));
    let events = blocks.flat_map(move |mut block| iter(std::iter::from_fn(move || next(&mut block))));
    call.context.shutdown.spawn(async move {
        if let Err(error) = streaming::watch::send(accepted, form, events).await {
            tracing::debug!(%error, "a watch over WebSocket broke off");
        }
    });
    response.map(|()| body::empty())
}

/// Takes a line of JSON from a block, which has whole ones.
fn next_line(block: &mut Bytes) -> Option<Bytes> {
    let end = block.iter().position(|byte| *byte == b'\n')?;
    Some(block.split_to(end + 1))
}

/// Takes a message from a block, which has whole ones behind their lengths.
fn next_message(block: &mut Bytes) -> Option<Bytes> {
    let length = block.try_get_u32().ok().and_then(|length| usize::try_from(length).ok())?;
    (length <= block.len()).then(|| block.split_to(length))
}

/// The response to a watch over plain HTTP.
async fn changes(call: &Call<'_>) -> Result<Response, Status> {
    let options = ListOptions::parse(&call.info.query, true)?;
    let selection =
        Selection::parse(call.version, call.namespace, &options.label_selector, &options.field_selector)?
            .named(&call.info.name);
    let encoder = Encoder::new(call)?;
    let stream = match subscribe(call, &selection, &options).await {
        Ok((mut subscription, initial_end)) => {
            let clock = call.context.clock.clone();
            let timeout = options.timeout.unwrap_or_else(|| call.context.rng.jitter(MIN_TIMEOUT, 1.0));
            let now = clock.instant();
            let watch = Watch {
                registry: Arc::clone(call.registry),
                version: call.version.clone(),
                failed: false,
                shutdown: call.context.shutdown.clone(),
                initial: std::mem::take(&mut subscription.initial).into_iter(),
                initial_end,
                bookmark: options.bookmarks.then(|| next_bookmark(now, now + timeout)),
                end: now + timeout,
                subscription,
                encoder,
                clock,
                resting: None,
            };
            body::stream(unfold(watch, |mut watch| async move {
                let block = watch.next().await?;
                Some((Ok(block), watch))
            }))
        }
        // The request is answered; what is wrong is told in the stream.
        Err(status) if status.code == 410 => {
            let mut line = BytesMut::new();
            encoder.frame(&mut line, "ERROR", status.to_json().to_string().as_bytes());
            body::full(line.freeze())
        }
        Err(status) => return Err(status),
    };
    let mut response = head(&call.negotiated, StatusCode::OK, stream, None, false);
    if call.negotiated.encoding == Encoding::Protobuf {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(protobuf::STREAM_MEDIA_TYPE));
    }
    Ok(response)
}

/// Links the watcher; also tells whether the end of the initial state is to be marked.
async fn subscribe(
    call: &Call<'_>,
    selection: &Selection,
    options: &ListOptions,
) -> Result<(Subscription, bool), Status> {
    let store = call.store;
    let fresh = async || match options.resource_version {
        None => store.catch_up().await,
        Some(version) => store.wait_for(version).await,
    };
    match (options.send_initial_events, options.resource_version) {
        (Some(true), _) => {
            fresh().await?;
            Ok((store.subscribe_now(selection), options.bookmarks))
        }
        (Some(false), None | Some(0)) => {
            fresh().await?;
            let mut subscription = store.subscribe_now(selection);
            subscription.initial.clear();
            Ok((subscription, false))
        }
        (None, None | Some(0)) => {
            fresh().await?;
            Ok((store.subscribe_now(selection), false))
        }
        (_, Some(version)) => Ok((store.subscribe_since(selection, version).await?, false)),
    }
}

fn next_bookmark(now: Instant, end: Instant) -> Instant {
    let regular = now + BOOKMARK_EVERY;
    let last = end.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(end);
    if last > now { regular.min(last) } else { regular }
}

/// The next change, but not before the rest is over.
async fn next_after(subscription: &mut Subscription, resting: Option<Instant>) -> Option<Change> {
    if let Some(until) = resting {
        tokio::time::sleep_until(until).await;
    }
    subscription.next().await
}

struct Watch {
    registry: Arc<Registry>,
    version: Version,
    /// Whether an object could not be shown: the watch is over.
    failed: bool,
    shutdown: component_base::Shutdown,
    subscription: Subscription,
    encoder: Encoder,
    /// What is left of the state to begin with.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// Whether its end is yet to be marked.
    initial_end: bool,
    /// When the next bookmark is due.
    bookmark: Option<Instant>,
    end: Instant,
    clock: Clock,
    /// Until when changes may gather.
    resting: Option<Instant>,
}

impl Watch {
    /// The next block of the body, `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut block = BytesMut::new();
        while !self.failed
            && block.len() < BLOCK
            && let Some(object) = self.initial.next()
        {
            match self.version.show(&object).await {
                Ok(shown) => self.encoder.initial(&mut block, &object, &shown),
                Err(status) => self.fail(&mut block, &status),
            }
        }
        if self.failed {
            return (!block.is_empty()).then(|| block.freeze());
        }
        if self.initial.len() == 0 && std::mem::take(&mut self.initial_end) {
            self.encoder.bookmark(&mut block, self.subscription.revision, true);
        }
        if !block.is_empty() {
            return Some(block.freeze());
        }
        let bookmark = self.bookmark;
        let due = async {
            match bookmark {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.requested() => None,
            change = next_after(&mut self.subscription, self.resting) => {
                self.encode(&mut block, &change?).await;
                while block.len() < BLOCK
                    && let Some(change) = self.subscription.try_next()
                {
                    self.encode(&mut block, &change).await;
                }
                let rest = self.subscription.rest();
                self.resting = (!rest.is_zero()).then(|| self.clock.instant() + rest);
                Some(block.freeze())
            }
            () = tokio::time::sleep_until(self.end) => None,
            () = due => {
                // Whatever happened up to the published revision is in the channel already.
                let published = self.registry.revision();
                while let Some(change) = self.subscription.try_next() {
                    self.encode(&mut block, &change).await;
                }
                let revision = published.max(self.subscription.delivered());
                self.encoder.bookmark(&mut block, revision, false);
                self.bookmark = Some(next_bookmark(self.clock.instant(), self.end));
                Some(block.freeze())
            }
        }
    }

    async fn encode(&mut self, block: &mut BytesMut, change: &Change) {
        if self.failed {
            return;
        }
        self.encoder.now(&self.clock);
        match self.version.show(&change.object).await {
            Ok(shown) => self.encoder.change(block, change.change, &change.object, &shown),
            Err(status) => self.fail(block, &status),
        }
    }

    fn fail(&mut self, block: &mut BytesMut, status: &Status) {
        self.failed = true;
        self.encoder.frame(block, "ERROR", status.to_json().to_string().as_bytes());
    }
}

/// Writes changes in the form that was agreed on.
struct Encoder {
    kind: String,
    api_version: String,
    shape: Shape,
    table: Option<table::Writer>,
    encoding: Encoding,
    resource: Resource,
}

impl Encoder {
    fn new(call: &Call<'_>) -> Result<Self, Status> {
        let resource = call.version.resource();
        let table = match call.negotiated.shape {
            Shape::Table(version) => {
                let include = table::Include::parse(call.info.query.text("includeObject"))?;
                let now = call.context.clock.now();
                Some(table::Writer::new(call.version, version, include, now))
            }
            Shape::Object | Shape::Metadata(_) => None,
        };
        Ok(Self {
            kind: resource.kind.to_string(),
            api_version: resource.api_version(),
            shape: call.negotiated.shape,
            table,
            encoding: call.negotiated.encoding,
            resource: resource.clone(),
        })
    }

    fn now(&mut self, clock: &Clock) {
        if let Some(table) = &mut self.table {
            table.set_now(clock.now());
        }
    }

    /// An object of the state to begin with; nothing is kept of it, for there may be many.
    fn initial(&mut self, out: &mut BytesMut, stored: &Object, object: &Object) {
        match (self.encoding, self.shape) {
            (Encoding::Protobuf, Shape::Object) => {
                if let Some(object) = protobuf::stored(object, &self.resource) {
                    protobuf::frame(out, ChangeType::Added.as_str(), &object);
                }
            }
            _ => self.change(out, ChangeType::Added, stored, object),
        }
    }

    /// A change of an object, as it is stored and as the version shows it.
    fn change(&mut self, out: &mut BytesMut, change: ChangeType, stored: &Object, object: &Object) {
        match (self.shape, &mut self.table) {
            (Shape::Table(_), Some(table)) => {
                let table = table.whole(stored, object);
                self.frame(out, change.as_str(), &table);
            }
            (Shape::Metadata(version), _) => {
                self.frame(out, change.as_str(), &table::partial_metadata(object, version));
            }
            _ if self.encoding == Encoding::Protobuf => {
                if let Some(object) = protobuf::stored_and_kept(object, &self.resource) {
                    protobuf::frame(out, change.as_str(), &object);
                }
            }
            _ => self.frame(out, change.as_str(), &object.json()),
        }
    }

    fn bookmark(&mut self, out: &mut BytesMut, revision: u64, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object: Value = match (self.shape, &mut self.table) {
            (Shape::Table(_), Some(table)) => {
                let table = table.bookmark(&metadata);
                return self.frame(out, "BOOKMARK", &table);
            }
            (Shape::Metadata(version), _) => json!({"kind": "PartialObjectMetadata",
                "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata}),
            _ => json!({"kind": self.kind, "apiVersion": self.api_version, "metadata": metadata}),
        };
        self.frame(out, "BOOKMARK", object.to_string().as_bytes());
    }

    /// A frame about an object that is JSON.
    fn frame(&self, out: &mut BytesMut, change: &str, object: &[u8]) {
        match self.encoding {
            Encoding::Protobuf => {
                if let Some(object) = protobuf::from_json(object) {
                    protobuf::frame(out, change, &object);
                }
            }
            Encoding::Json | Encoding::Yaml => frame(out, change, object),
        }
    }
}

fn frame(out: &mut BytesMut, change: &str, object: &[u8]) {
    out.reserve(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(change.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}

#[cfg(test)]
mod tests;
