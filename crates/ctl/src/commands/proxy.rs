//! `proxy`: the API server, without credentials, on this machine.
//!
//! **Contract.** Answers are streamed and upgrades tunnelled; the body of a request is read before it is passed on.
//! **Upstream.** `kubectl/pkg/cmd/proxy`, `kubectl/pkg/proxy` (behaviour).

mod files;
mod filter;

use std::convert::Infallible;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use bytes::Bytes;
use clap::ArgMatches;
use files::Found;
use filter::{Filter, Way};
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use streaming::BoxDuplex;
use tokio::net::{TcpListener, UnixListener};

use super::{Command, Context};
use crate::cli::{self, value};
use crate::client_config::os_text;
use crate::duration;
use crate::report::{Error, message};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "proxy", build, run: |context, matches| Box::pin(run(context, matches)) };

/// Bytes of the longest body of a request that is passed on.
const MAX_BODY: usize = 256 << 20;

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Run a proxy to the Kubernetes API server")
        .arg(cli::arguments("").hide(true))
        .arg(cli::text("accept-hosts", "Regular expression for hosts that the proxy should accept.").default_value(r"^localhost$,^127\.0\.0\.1$,^\[::1\]$"))
        .arg(cli::text("accept-paths", "Regular expression for paths that the proxy should accept.").default_value("^.*"))
        .arg(cli::text("address", "The IP address on which to serve on.").default_value("127.0.0.1"))
        .arg(cli::text("api-prefix", "Prefix to serve the proxied API under.").default_value("/"))
        .arg(cli::flag("append-server-path", "If true, enables automatic path appending of the kube context server path to each request."))
        .arg(cli::flag("disable-filter", "If true, disable request filtering in the proxy. This is dangerous, and can leave you vulnerable to XSRF attacks, when used with an accessible port."))
        .arg(cli::text("keepalive", "keepalive specifies the keep-alive period for an active network connection. Set to 0 to disable keepalive.").default_value("0s"))
        .arg(cli::number("port", "The port on which to run the proxy. Set to 0 to pick a random port.").short('p').default_value("8001"))
        .arg(cli::text("reject-methods", "Regular expression for HTTP methods that the proxy should reject (example --reject-methods='POST,PUT,PATCH'). ").default_value("^$"))
        .arg(cli::text("reject-paths", "Regular expression for paths that the proxy should reject. Paths specified here will be rejected even accepted by --accept-paths.").default_value("^/api/.*/pods/.*/exec,^/api/.*/pods/.*/attach"))
        .arg(cli::text("unix-socket", "Unix socket on which to run the proxy.").short('u'))
        .arg(cli::text("www", "Also serve static files from the given directory under the specified prefix.").short('w'))
        .arg(cli::text("www-prefix", "Prefix to serve static files under, if static file directory is specified.").short('P').default_value("/static/"))
}

/// What is served.
struct Proxy<'a> {
    context: &'a Context,
    filter: Option<Filter>,
    api_prefix: String,
    files: Option<(String, &'a Path)>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    cli::no_arguments(matches, "unknown command", "proxy")?;
    let socket = value(matches, "unix-socket");
    let port = matches.get_one::<i64>("port").copied().unwrap_or(8001);
    if port != 8001 && !socket.is_empty() {
        return Err(message("cannot set --unix-socket and --port at the same time"));
    }
    if duration::parse(value(matches, "keepalive")).is_none_or(|period| !period.is_zero()) {
        return Err(message("--keepalive: only 0 is supported"));
    }
    let warn = |text: &str| context.terminal.err(&format!("Warning: {text}\n"));
    let filter = if matches.get_flag("disable-filter") {
        if socket.is_empty() {
            warn("Request filter disabled, your proxy is vulnerable to XSRF attacks, please be cautious");
        }
        None
    } else {
        if value(matches, "reject-paths").is_empty() || value(matches, "reject-methods").is_empty() {
            warn(
                "Request filter has been relaxed, your proxy may be vulnerable to attacks, please be cautious",
            );
        }
        let list = |flag: &str| filter::expressions(value(matches, flag)).map_err(message);
        Some(Filter {
            accept_paths: list("accept-paths")?,
            reject_paths: list("reject-paths")?,
            accept_hosts: list("accept-hosts")?,
            reject_methods: list("reject-methods")?,
        })
    };
    let folder = value(matches, "www");
    if !folder.is_empty() && !Path::new(folder).is_dir() {
        warn(&format!("Static file directory {folder} is not a directory"));
    }
    let with_slash = |text: &str| if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    let proxy = Proxy {
        context,
        filter,
        api_prefix: with_slash(value(matches, "api-prefix")),
        files: (!folder.is_empty()).then(|| (with_slash(value(matches, "www-prefix")), Path::new(folder))),
    };
    // The server is looked for before the user is told that all is well.
    context.connection().await?;
    let serving = |at: &str| context.terminal.out(&format!("Starting to serve on {at}\n"));
    if !socket.is_empty() {
        let listener = Listener::Unix(unix(socket)?);
        serving(socket)?;
        return proxy.accept(&listener).await;
    }
    let address = value(matches, "address");
    let at = format!("{address}:{port}");
    let listener = TcpListener::bind(&at).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
            _ => os_text(&error),
        };
        message(format!("listen tcp {at}: {why}"))
    })?;
    serving(&listener.local_addr()?.to_string())?;
    proxy.accept(&Listener::Tcp(listener)).await
}

/// Where clients come from.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn next(&self) -> std::io::Result<BoxDuplex> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// A socket that only its owner may use; one that is left over is removed.
fn unix(path: &str) -> Result<UnixListener, Error> {
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)
        .map_err(|error| message(format!("listen unix {path}: bind: {}", os_text(&error))))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Proxy<'_> {
    async fn accept(&self, listener: &Listener) -> Result<(), Error> {
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                stream = listener.next() => connections.push(self.serve(stream?)),
                Some(()) = connections.next() => {}
            }
        }
    }

    async fn serve(&self, stream: BoxDuplex) {
        let service =
            service_fn(move |request| async move { Ok::<_, Infallible>(self.answer(request).await) });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A client that breaks off is its own business.
        let _ = connection.with_upgrades().await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let static_prefix = self.files.as_ref().map(|(prefix, _)| prefix.as_str());
        let path = request.uri().path().to_owned();
        match filter::way(&path, &self.api_prefix, static_prefix) {
            Way::Nowhere => text(StatusCode::NOT_FOUND, "404 page not found\n"),
            Way::File(file) => match &self.files {
                Some((_, folder)) => answer_file(folder, &path, file),
                None => text(StatusCode::NOT_FOUND, "404 page not found\n"),
            },
            Way::Api(path) => {
                let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
                let (method, host) = (request.method().as_str(), host.unwrap_or(""));
                if self.filter.as_ref().is_some_and(|filter| !filter.accepts(method, &path, host)) {
                    return text(StatusCode::FORBIDDEN, "Forbidden\n");
                }
                let passed = self.pass(request, &path).await;
                passed.unwrap_or_else(|error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
            }
        }
    }

    async fn pass(&self, mut request: Request<Incoming>, path: &str) -> Result<Answer, Error> {
        let client = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        let upgrades = head.headers.contains_key(header::UPGRADE);
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n"))),
        };
        let target = match head.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        head.uri = target.parse().map_err(|_| message("the path does not make a URL"))?;
        head.headers.remove(header::HOST);
        head.headers.remove(header::TRANSFER_ENCODING);
        if !upgrades {
            head.headers.remove(header::CONNECTION);
        }
        let request = Request::from_parts(head, Body::from(body));
        let mut answer = self.context.connection().await?.pass(request).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let server = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                if let Ok((client, server)) = tokio::try_join!(client, server) {
                    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                    // The end of either side ends both.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        } else {
            for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                answer.headers_mut().remove(name);
            }
        }
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}

fn answer_file(folder: &Path, path: &str, file: &str) -> Answer {
    match files::find(folder, file) {
        Found::Nothing => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Found::Folder => {
            let mut answer = text(StatusCode::MOVED_PERMANENTLY, "");
            if let Ok(location) = HeaderValue::from_str(&format!("{path}/")) {
                answer.headers_mut().insert(header::LOCATION, location);
            }
            answer
        }
        Found::File(bytes, media_type) => {
            let mut answer = text(StatusCode::OK, bytes);
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
            answer
        }
    }
}

fn text(code: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = code;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}
