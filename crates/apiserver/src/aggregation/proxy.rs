//! A request, passed on to the server of its group-version in the user's name.
//!
//! **Upstream**: `kube-aggregator/pkg/apiserver/handler_proxy.go`, `k8s.io/client-go/transport` (`SetAuthProxyHeaders`).

use super::Aggregator;
use super::remote::Remote;
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::outbound;
use crate::respond;
use crate::server::Server;
use crate::subresources::passing;
use api::status::Status;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::BodyExt;
use std::sync::Arc;

/// Passes an authorized request on.
pub(crate) async fn pass_on(
    server: &Arc<Server>,
    aggregator: &Aggregator,
    remote: &Remote,
    user: &UserInfo,
    mut request: Request,
) -> Result<Response, Status> {
    if !remote.available {
        return Ok(unavailable("service unavailable"));
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Ok(target) = remote.url(&path).parse::<Uri>() else {
        return Err(Status::bad_request("the path does not make a URL"));
    };
    introduce(request.headers_mut(), user);
    if passing::is_upgrade(request.headers()) {
        let tls = remote.tls(&aggregator.identity).map_err(|why| Status::internal(&why))?;
        let dialled = aggregator.services.dial(&remote.host(), remote.port).await;
        let stream = match dialled {
            Ok(stream) => outbound::secured(&tls, &remote.host(), stream).await,
            Err(why) => Err(why),
        };
        return match stream {
            Ok(stream) => {
                set_host(request.headers_mut(), &target);
                let origin = path.parse().map_err(|_| Status::bad_request("the path does not make a URL"))?;
                passing::upgrade(server, stream, request, origin).await
            }
            Err(why) => Ok(unavailable(&format!("error dialing backend: {why}"))),
        };
    }
    let client = match remote.client(&aggregator.identity, &aggregator.services) {
        Ok(client) => client,
        Err(why) => return Ok(respond::text(500, format!("{why}\n"))),
    };
    let (mut head, body) = request.into_parts();
    passing::remove_hop_by_hop(&mut head.headers);
    passing::append_forwarded_for(&mut head.headers, &head.extensions);
    head.headers.remove(header::HOST);
    let mut asked = http::Request::new(body);
    (*asked.method_mut(), *asked.uri_mut(), *asked.headers_mut()) = (head.method, target, head.headers);
    match client.request(asked).await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Ok(unavailable("the backend switched protocols without being asked"))
        }
        Ok(answer) => {
            let mut answer = answer.map(|body| body.map_err(Into::into).boxed_unsync());
            passing::remove_hop_by_hop(answer.headers_mut());
            Ok(answer)
        }
        Err(error) => {
            let why = outbound::in_gos_words(&outbound::Error::Connection(error.into()));
            tracing::debug!(name = remote.name, why, "an aggregated server did not answer");
            Ok(unavailable(&format!("error trying to reach service: {why}")))
        }
    }
}

fn unavailable(why: &str) -> Response {
    respond::text(503, format!("{why}\n"))
}

fn set_host(headers: &mut HeaderMap, target: &Uri) {
    if let Some(Ok(host)) = target.authority().map(|authority| HeaderValue::from_str(authority.as_str())) {
        headers.insert(header::HOST, host);
    }
}

/// Says who asks. What the client said of that has been taken out before.
pub(super) fn introduce(headers: &mut HeaderMap, user: &UserInfo) {
    let mine: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in mine {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        for value in values {
            add(&format!("x-remote-extra-{}", escaped(key)), value);
        }
    }
}

/// A key of extra information as part of a header's name.
fn escaped(key: &str) -> String {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(byte);
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        if legal(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02x}"));
        }
    }
    escaped
}
