//! A scripted API server for this crate's tests: one reply a request.

use crate::InMemory;
use crate::connection::{Answer, Call, Dial};
use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc};
use tower::BoxError;

/// What the server answers.
pub(crate) enum Reply {
    /// A status code and a body.
    Json(u16, Value),
    /// A watch: lines as they are sent, to the end of the channel.
    Watch(mpsc::UnboundedReceiver<Value>),
    /// The connection breaks.
    Break,
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) body: Value,
}

#[derive(Clone, Default)]
pub(crate) struct Fake {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    changed: Arc<Notify>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Fake {
    pub(crate) fn then(&self, reply: Reply) -> &Self {
        self.replies.lock().unwrap().push_back(reply);
        self.changed.notify_waiters();
        self
    }

    /// A watch to feed; dropping the sender ends it.
    pub(crate) fn then_watch(&self) -> mpsc::UnboundedSender<Value> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.then(Reply::Watch(receiver));
        sender
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for the request of this number (from 1).
    pub(crate) async fn request(&self, number: usize) -> Seen {
        loop {
            let changed = self.changed.notified();
            if let Some(seen) = self.seen().get(number - 1) {
                return seen.clone();
            }
            changed.await;
        }
    }

    pub(crate) fn client(&self) -> kube::Client {
        crate::connection::in_memory(self.server(), "default")
    }

    /// The ways to it.
    pub(crate) fn server(&self) -> InMemory {
        let fake = self.clone();
        let call: Call = Arc::new(move |request| Box::pin(fake.clone().serve(request)));
        InMemory { call, dial: self.dial() }
    }

    /// Opens connections to it, for echoes only.
    fn dial(&self) -> Dial {
        let fake = self.clone();
        Arc::new(move || {
            let (near, far) = tokio::io::duplex(64 * 1024);
            fake.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let service = service_fn(|request| async { Ok::<_, Infallible>(echo(request)) });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service);
                let _ = connection.with_upgrades().await;
            });
            Box::pin(async move { Ok(near) })
        })
    }

    async fn serve(self, request: Request<Bytes>) -> Result<Answer, BoxError> {
        let (head, body) = request.into_parts();
        self.seen.lock().unwrap().push(Seen {
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        });
        self.changed.notify_waiters();
        let reply = loop {
            let changed = self.changed.notified();
            if let Some(reply) = self.replies.lock().unwrap().pop_front() {
                break reply;
            }
            changed.await;
        };
        Ok(match reply {
            Reply::Json(code, body) => Response::builder()
                .status(code)
                .header("retry-after", "1")
                .body(full(body.to_string()))
                .unwrap(),
            Reply::Watch(receiver) => {
                let lines = stream::unfold(receiver, |mut receiver| async {
                    let line = receiver.recv().await?;
                    Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), receiver))
                });
                Response::new(BodyExt::boxed_unsync(StreamBody::new(lines)))
            }
            Reply::Break => return Err("broken on purpose".into()),
        })
    }
}

fn full(text: String) -> UnsyncBoxBody<Bytes, BoxError> {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// Upgrades and sends back what it gets.
fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    Response::builder()
        .status(101)
        .header("upgrade", "echo")
        .header("connection", "upgrade")
        .body(Full::new(Bytes::new()))
        .unwrap()
}

/// A config map in wire form.
pub(crate) fn object(name: &str, uid: &str, revision: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": revision.to_string()},
    })
}

pub(crate) fn list(revision: u32, items: &[Value]) -> Reply {
    let list = json!({
        "apiVersion": "v1", "kind": "ConfigMapList",
        "metadata": {"resourceVersion": revision.to_string()}, "items": items,
    });
    Reply::Json(200, list)
}

pub(crate) fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

pub(crate) fn status(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "as the test wants it", "reason": reason, "code": code,
    })
}
