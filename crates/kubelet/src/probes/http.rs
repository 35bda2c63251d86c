//! `httpGet`: an answer from 200 to 399 is a success.
//!
//! **Contract**: certificates are not verified; redirects are followed on the same host, one to another host is a success
//! with a warning; 10 KiB of a body are read. Lifecycle hooks ask through [`get`], too.
//! **Upstream**: `pkg/probe/http`, `pkg/kubelet/lifecycle`.

use super::ask::Said;
use super::tcp::{dial_error, join};
use api::k8s_openapi::api::core::v1::HTTPGetAction;
use bytes::Bytes;
use http::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// `maxRespBodyLength`.
const MAX_BODY: usize = 10 * 1024;
/// As Go's client.
const MAX_REDIRECTS: usize = 10;

pub(super) async fn ask(action: &HTTPGetAction, host: &str, port: u16, timeout: Duration) -> Said {
    let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let path = action.path.as_deref().unwrap_or("/");
    let first = format!("{scheme}://{}{}", join(host, port), slashed(path));
    let follow = async {
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = get(&url, action).await.map_err(|error| format!("Get {first:?}: {error}"))?;
            let Some(next) = answer.redirect(&url) else { return Ok(judge(&answer)) };
            if host_of(&next) != host_of(&url) {
                return Ok(Said::Warning(format!(
                    "Probe terminated redirects, Response body: {}",
                    answer.body
                )));
            }
            url = next;
        }
        Err(format!("Get {first:?}: stopped after {MAX_REDIRECTS} redirects"))
    };
    match tokio::time::timeout(timeout, follow).await {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => Said::Failure(error),
        Err(_) => Said::Failure(format!(
            "Get {first:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

fn judge(answer: &Answer) -> Said {
    match answer.status.as_u16() {
        200..400 => Said::Success,
        code => Said::Failure(format!("HTTP probe failed with statuscode: {code}")),
    }
}

fn slashed(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn host_of(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: String,
}

impl Answer {
    /// Where it sends on to, seen from this URL.
    fn redirect(&self, from: &str) -> Option<String> {
        let location = self.location.as_deref().filter(|_| self.status.is_redirection())?;
        if location.contains("://") {
            return Some(location.to_owned());
        }
        let base: Uri = from.parse().ok()?;
        let authority = base.authority()?;
        Some(format!("{}://{authority}{}", base.scheme_str()?, slashed(location)))
    }
}

/// Asks once, following nothing.
pub(crate) async fn get(url: &str, action: &HTTPGetAction) -> Result<Answer, String> {
    let uri: Uri = url.parse().map_err(|_| format!("parse {url:?}: invalid URL"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let address = join(&host, port);
    let request = request(&uri, action)?;
    let stream = TcpStream::connect(&address).await.map_err(|error| dial_error(&address, &error))?;
    if !secure {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let tls = component_base::tls::unverified().map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    exchange(stream, request).await
}

fn request(uri: &Uri, action: &HTTPGetAction) -> Result<Request<Empty<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).body(Empty::new()).map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
    headers.insert(HOST, HeaderValue::from_str(authority).map_err(|error| error.to_string())?);
    headers.insert(USER_AGENT, HeaderValue::from_static("kube-probe/1.36"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    let mut own: Vec<HeaderName> = Vec::new();
    for header in action.http_headers.iter().flatten() {
        let name = HeaderName::try_from(&header.name).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_str(&header.value).map_err(|error| error.to_string())?;
        // The first of a name replaces ours, the others stand beside it; an empty one takes it away.
        if !own.contains(&name) {
            headers.remove(&name);
            own.push(name.clone());
        }
        if !value.is_empty() {
            headers.append(name, value);
        }
    }
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, String> {
    let said = |error: hyper::Error| match std::error::Error::source(&error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(said)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(said)?;
        let status = response.status();
        let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
        // A body that is too long is none of the question.
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map(|b| b.to_bytes()).unwrap_or_default();
        Ok(Answer { status, location, body: String::from_utf8_lossy(&body).into_owned() })
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(said(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that gives one answer a connection, in order; says what it was asked last.
    async fn serve(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            let mut last = String::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut buffer = vec![0; 4096];
                let n = stream.read(&mut buffer).await.expect("a request");
                last = String::from_utf8_lossy(&buffer[..n]).into_owned();
                stream.write_all(answer.as_bytes()).await.expect("sent");
            }
            last
        });
        (port, task)
    }

    fn action(value: serde_json::Value) -> HTTPGetAction {
        let mut value = value;
        value["port"] = 1.into();
        serde_json::from_value(value).expect("an action")
    }

    /// Who is there answers sooner, on a busy machine too.
    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn statuses_decide() {
        for (status, expected) in [
            ("200 OK", Said::Success),
            ("399 Odd", Said::Success),
            ("404 Not Found", Said::Failure("HTTP probe failed with statuscode: 404".to_owned())),
        ] {
            let (port, asked) =
                serve(vec![format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok")]).await;
            let action = action(json!({"path": "x?y", "httpHeaders": [{"name": "Host", "value": "me"}]}));
            assert_eq!(super::ask(&action, "127.0.0.1", port, LIMIT).await, expected);
            let asked = asked.await.expect("it was asked").to_lowercase();
            assert!(asked.starts_with("get /x?y http/1.1\r\n") && asked.contains("host: me\r\n"), "{asked}");
            assert!(asked.contains("user-agent: kube-probe/1.36\r\n"), "{asked}");
        }
    }

    #[tokio::test]
    async fn redirects_are_followed_on_the_same_host_only() {
        let redirect =
            |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let bad = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned();
        let (port, _) = serve(vec![redirect("/next"), bad]).await;
        let said = super::ask(&action(json!({})), "127.0.0.1", port, LIMIT).await;
        assert_eq!(said, Said::Failure("HTTP probe failed with statuscode: 500".to_owned()));
        let (port, _) = serve(vec![redirect("http://elsewhere.example/")]).await;
        let said = super::ask(&action(json!({})), "127.0.0.1", port, LIMIT).await;
        assert!(matches!(said, Said::Warning(_)), "{said:?}");
    }

    #[tokio::test]
    async fn certificates_are_not_verified() {
        let made =
            rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).expect("a certificate");
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = acceptor.accept(stream).await.expect("a handshake");
            let mut buffer = vec![0; 4096];
            let read = stream.read(&mut buffer).await.expect("a request");
            assert_ne!(read, 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("sent");
            stream.shutdown().await.expect("ended");
        });
        let said = super::ask(&action(json!({"scheme": "HTTPS"})), "127.0.0.1", port, LIMIT).await;
        assert_eq!(said, Said::Success);
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let said = super::ask(&action(json!({})), "127.0.0.1", port, LIMIT).await;
        let expected = format!(
            "Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        );
        assert_eq!(said, Said::Failure(expected));
    }
}
