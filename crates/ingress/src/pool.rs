//! HTTP/1.1 to endpoints over connections that are kept while they are useful.
//!
//! **Contract**: a connection is driven by the request that is on it, in that request's task: it needs no task of its own,
//! and nothing is handed from one to another on the way. It goes back to the pool when its answer has been read to the end; one
//! whose request is given up is closed. A single task sees idle ones end.
//! **Not here**: HTTP/2, whose connections have many requests at a time ([`crate::clients`]).

use crate::body::{BoxError, Lent};
use bytes::Bytes;
use component_base::Context;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::Service as _;

/// **Upstream**: ingress-nginx, `upstream-keepalive-timeout`.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// **Upstream**: ingress-nginx, `upstream-keepalive-connections`.
pub(crate) const IDLE_CONNECTIONS: usize = 320;

/// How connections are made; plain and over TLS.
pub(crate) type Connector = HttpsConnector<HttpConnector>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no connection: nothing was sent.
    #[error("cannot connect")]
    Connect(#[source] BoxError),
    /// The connection failed.
    #[error("no answer")]
    Broken(#[source] BoxError),
}

/// Where a connection leads, and whether it speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

/// A connection, on which there is one request at most.
struct Connection {
    requests: SendRequest<Lent>,
    /// What reads and writes; none once it has ended.
    driver: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
}

impl Connection {
    /// Gets on as far as it can now; whether it lives.
    fn drive(&mut self, task: &mut task::Context<'_>) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        if let Poll::Ready(result) = driver.as_mut().poll(task) {
            self.driver = None;
            if let Err(error) = result {
                tracing::trace!(%error, "connection to an endpoint ended");
            }
        }
        self.driver.is_some()
    }

    /// The same for one that should be idle.
    fn is_idle(&mut self, task: &mut task::Context<'_>) -> bool {
        self.drive(task) && self.requests.is_ready()
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// Tells that something happened on an idle connection.
#[derive(Default)]
struct Stirred(Notify);

impl Wake for Stirred {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// All connections for HTTP/1.1; cloning shares them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    connector: Connector,
    context: Context,
    /// By their places, the last used one last.
    idle: Mutex<HashMap<Place, Vec<Idle>>>,
    stirred: Arc<Stirred>,
    /// The same, as what connections wake.
    waker: Waker,
}

impl Pool {
    pub(crate) fn new(connector: Connector, context: &Context) -> Self {
        let stirred = Arc::new(Stirred::default());
        let waker = Waker::from(stirred.clone());
        let shared = Shared { connector, context: context.clone(), idle: Mutex::default(), stirred, waker };
        let pool = Self(Arc::new(shared));
        let watching = pool.clone();
        context.shutdown.spawn(async move { watching.0.watch().await });
        pool
    }

    /// Asks there; the request's URI is its path alone.
    pub(crate) async fn ask(
        &self,
        place: Place,
        mut request: Request<Lent>,
    ) -> Result<Response<Answer>, Error> {
        loop {
            let known = self.0.take(&place);
            let is_new = known.is_none();
            let mut connection = match known {
                Some(connection) => connection,
                // Seldom: not a part of what each request carries with it.
                None => Box::pin(self.0.connect(&place)).await?,
            };
            let mut asked = std::pin::pin!(connection.requests.try_send_request(request));
            let answer = poll_fn(|task| {
                connection.drive(task);
                asked.as_mut().poll(task)
            });
            match answer.await {
                Ok(response) => return Ok(self.answer(response, connection, place)),
                Err(mut error) => match error.take_message().filter(|_| !is_new) {
                    // It had ended unnoticed; nothing was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(Error::Broken(error.into_error().into())),
                },
            }
        }
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        mut connection: Connection,
        place: Place,
    ) -> Response<Answer> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // It is handed over by what drives it.
            if let Some(driver) = connection.driver.take() {
                self.0.context.shutdown.spawn(async move { drop(driver.await) });
            }
            return response.map(Answer::from);
        }
        response.map(|body| {
            let used = Some(Used { connection, place, pool: self.0.clone() });
            let mut answer = Answer { body, used };
            if answer.is_end_stream() {
                answer.give_back();
            }
            answer
        })
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, HashMap<Place, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection to this place, the one that was used last.
    fn take(&self, place: &Place) -> Option<Connection> {
        loop {
            let mut connection = self.idle().get_mut(place)?.pop()?.connection;
            // From now on nobody else is to be told of what happens to it, the next request first of all.
            if connection.is_idle(&mut task::Context::from_waker(Waker::noop())) {
                return Some(connection);
            }
        }
    }

    fn put(&self, place: Place, mut connection: Connection) {
        if !connection.is_idle(&mut task::Context::from_waker(&self.waker)) {
            return;
        }
        let idle = Idle { connection, since: self.context.clock.instant() };
        let mut all = self.idle();
        let is_first = all.is_empty();
        let here = all.entry(place).or_default();
        if here.len() < IDLE_CONNECTIONS {
            here.push(idle);
        }
        drop(all);
        if is_first {
            // Now there is a time to wait for.
            self.stirred.0.notify_one();
        }
    }

    async fn connect(&self, place: &Place) -> Result<Connection, Error> {
        let Place { scheme, authority } = place.clone();
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
        let uri = uri.map_err(|error| Error::Connect(error.into()))?;
        let stream = self.connector.clone().call(uri).await.map_err(Error::Connect)?;
        let (requests, driver) =
            http1::handshake(stream).await.map_err(|error| Error::Connect(error.into()))?;
        Ok(Connection { requests, driver: Some(Box::pin(driver.with_upgrades())) })
    }

    /// Lets go of idle connections that end, or that have been idle for long.
    async fn watch(&self) {
        loop {
            match self.sweep(self.context.clock.instant()) {
                Some(next) => {
                    // Whichever comes first.
                    let _ = tokio::time::timeout_at(next, self.stirred.0.notified()).await;
                }
                None => self.stirred.0.notified().await,
            }
        }
    }

    /// When the next one will have been idle for long.
    fn sweep(&self, now: Instant) -> Option<Instant> {
        let mut task = task::Context::from_waker(&self.waker);
        let mut next: Option<Instant> = None;
        self.idle().retain(|_, here| {
            here.retain_mut(|idle| idle.since + IDLE_TIMEOUT > now && idle.connection.is_idle(&mut task));
            // The last used one is the last.
            if let Some(first) = here.first() {
                let until = first.since + IDLE_TIMEOUT;
                next = Some(next.map_or(until, |next| next.min(until)));
            }
            !here.is_empty()
        });
        next
    }
}

/// The body of an answer, with the connection that it comes over.
pub(crate) struct Answer {
    body: Incoming,
    /// None once the body has ended, and if somebody else drives the connection.
    used: Option<Used>,
}

struct Used {
    connection: Connection,
    place: Place,
    pool: Arc<Shared>,
}

impl From<Incoming> for Answer {
    /// A body whose connection is driven elsewhere.
    fn from(body: Incoming) -> Self {
        Self { body, used: None }
    }
}

impl Answer {
    fn give_back(&mut self) {
        if let Some(Used { connection, place, pool }) = self.used.take() {
            pool.put(place, connection);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.body).poll_frame(task);
        if polled.is_pending()
            && let Some(used) = &mut this.used
        {
            // What it has read by now is only there when it is asked for.
            used.connection.drive(task);
            polled = Pin::new(&mut this.body).poll_frame(task);
        }
        let frame = ready!(polled);
        if frame.is_none() || this.body.is_end_stream() {
            this.give_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Lender;
    use http_body_util::BodyExt as _;
    use hyper_rustls::HttpsConnectorBuilder;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    fn pool() -> Pool {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(component_base::tls::unverified().unwrap())
            .https_or_http()
            .enable_http1()
            .build();
        Pool::new(connector, &Context::system())
    }

    /// An endpoint, and where it is.
    async fn endpoint() -> (TcpListener, Uri) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        (listener, uri)
    }

    async fn ask(pool: &Pool, uri: &Uri) -> Result<Response<Answer>, Error> {
        let uri = uri.clone().into_parts();
        let place = Place { scheme: uri.scheme.unwrap(), authority: uri.authority.unwrap() };
        pool.ask(place, Request::new(Lender::empty().lend())).await
    }

    async fn text(response: Result<Response<Answer>, Error>) -> Bytes {
        response.unwrap().into_body().collect().await.unwrap().to_bytes()
    }

    /// Reads a request and answers it.
    async fn reply(stream: &mut TcpStream, answer: &str) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Asks and answers over a new connection, which is at the endpoint now.
    async fn over_new(
        pool: &Pool,
        listener: &TcpListener,
        uri: &Uri,
        answer: &str,
    ) -> (Result<Response<Answer>, Error>, TcpStream) {
        tokio::join!(ask(pool, uri), async {
            let mut stream = listener.accept().await.unwrap().0;
            reply(&mut stream, answer).await;
            stream
        })
    }

    /// Longer than anything takes on a busy machine.
    const DEADLINE: Duration = Duration::from_secs(60);
    const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    const NOTHING: &str = "HTTP/1.1 204 No Content\r\n\r\n";

    #[tokio::test]
    async fn a_connection_is_used_until_it_ends() {
        let (pool, (listener, uri)) = (pool(), endpoint().await);
        let (first, mut stream) = over_new(&pool, &listener, &uri, LONG).await;
        assert_eq!(text(first).await, "ok");
        for (answer, expected) in [(CHUNKED, "ok"), (NOTHING, ""), (LONG, "ok")] {
            let (answered, ()) = tokio::join!(ask(&pool, &uri), reply(&mut stream, answer));
            assert_eq!(text(answered).await, expected, "{answer}");
        }
        drop(stream);
        // The watching task sees it, and nobody else asks.
        let forgotten = async {
            while !pool.0.idle().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, forgotten).await.expect("an ended connection is forgotten");
        let (again, _stream) = over_new(&pool, &listener, &uri, LONG).await;
        assert_eq!(text(again).await, "ok");
    }

    #[tokio::test]
    async fn an_answer_that_is_given_up_closes_its_connection() {
        let (pool, (listener, uri)) = (pool(), endpoint().await);
        let part = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok";
        let (answer, mut stream) = over_new(&pool, &listener, &uri, part).await;
        drop(answer);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(pool.0.idle().is_empty());
    }

    #[tokio::test]
    async fn a_connection_that_was_idle_for_long_is_closed() {
        let (pool, (listener, uri)) = (pool(), endpoint().await);
        let (answer, mut stream) = over_new(&pool, &listener, &uri, LONG).await;
        text(answer).await;
        let now = pool.0.context.clock.instant();
        assert!(pool.0.sweep(now).is_some());
        assert_eq!(pool.0.sweep(now + IDLE_TIMEOUT), None);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn tells_whether_something_was_sent() {
        let (pool, (listener, uri)) = (pool(), endpoint().await);
        let (answer, ()) = tokio::join!(ask(&pool, &uri), async { drop(listener.accept().await) });
        assert!(matches!(answer, Err(Error::Broken(_))), "{:?}", answer.err());
        drop(listener);
        let answer = ask(&pool, &uri).await;
        assert!(matches!(answer, Err(Error::Connect(_))), "{:?}", answer.err());
    }
}
