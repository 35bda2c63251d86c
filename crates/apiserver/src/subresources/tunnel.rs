//! Upgrades: a client's connection and a backend's, joined byte for byte.
//!
//! **Contract**: what the backend answers instead of an upgrade goes to the client as it is. Once joined, the end of
//! either side is the end of both.
//! **Upstream**: `k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go` (`tryUpgrade`).

use super::kubelet::{self, NodeStream};
use crate::body::{self, Request, Response};
use crate::server::Server;
use api::status::Status;
use http::{HeaderMap, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Whether a request asks for another protocol on its connection.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    values.filter_map(|v| v.to_str().ok()).any(|v| v.to_ascii_lowercase().contains("upgrade"))
}

/// Passes a request to upgrade on to a backend, at this path and query, and joins the connections if it agrees.
pub(crate) async fn open(
    server: &Server,
    backend: Box<dyn NodeStream>,
    mut request: Request,
    target: Uri,
) -> Result<Response, Status> {
    let client = hyper::upgrade::on(&mut request);
    *request.uri_mut() = target;
    *request.version_mut() = http::Version::HTTP_11;
    // The body of a request to upgrade is the protocol's own, and comes after the answer.
    let (mut head, _) = request.into_parts();
    kubelet::append_forwarded_for(&mut head.headers, &head.extensions);
    let mut asked = http::Request::new(body::empty());
    (*asked.method_mut(), *asked.uri_mut(), *asked.headers_mut()) = (head.method, head.uri, head.headers);
    let answer = kubelet::send(server, backend, asked).await;
    let mut answer = answer.map_err(|error| failed(&format!("error sending request: {error}")))?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            let backend = hyper::upgrade::on(&mut answer);
            server.context.shutdown.spawn(async move {
                match tokio::try_join!(client, backend) {
                    Ok((client, backend)) => join(client, backend).await,
                    Err(error) => tracing::debug!(%error, "an upgrade came to nothing"),
                }
            });
            let (head, _) = answer.into_parts();
            Ok(Response::from_parts(head, body::empty()))
        }
        code if code.as_u16() < 400 => {
            Err(failed(&format!("invalid upgrade response: status code {}", code.as_u16())))
        }
        _ => {
            let mut answer = answer.map(|body| body.map_err(Into::into).boxed_unsync());
            for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                answer.headers_mut().remove(name);
            }
            Ok(answer)
        }
    }
}

/// 500 without a reason, as upstream reports what it has no words for.
pub(super) fn failed(why: &str) -> Status {
    Status::new(500, "", why)
}

/// Copies in both directions until one of them ends.
async fn join(client: Upgraded, backend: Upgraded) {
    let (client_reads, client_writes) = tokio::io::split(TokioIo::new(client));
    let (backend_reads, backend_writes) = tokio::io::split(TokioIo::new(backend));
    tokio::select! {
        () = copy(client_reads, backend_writes) => {}
        () = copy(backend_reads, client_writes) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
        tracing::trace!(%error, "a tunnel broke");
    }
    let _ = to.shutdown().await;
}
