//! Streams to a kubelet that echoes, through a whole server.

use super::*;
use crate::server::testing::{Answer, call, root, start_with};
use crate::subresources::{NodeDialer, NodeStream, NodeTarget};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{Empty, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A kubelet that agrees to every upgrade, says what was asked, and then echoes; but has no pod called `gone`.
struct Echo;

async fn answer(mut request: http::Request<hyper::body::Incoming>) -> http::Response<Full<Bytes>> {
    let target = request.uri().to_string();
    if target.contains("gone") {
        let mut refused = http::Response::new(Full::new(Bytes::from("pod does not exist")));
        *refused.status_mut() = StatusCode::NOT_FOUND;
        return refused;
    }
    let protocol = request.headers().get("upgrade").cloned();
    let Some(protocol) = protocol else { return http::Response::new(Full::new(Bytes::from(target))) };
    tokio::spawn(async move {
        let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
        io.write_all(target.as_bytes()).await.unwrap();
        let (mut reads, mut writes) = tokio::io::split(io);
        tokio::io::copy(&mut reads, &mut writes).await.unwrap();
    });
    let mut agreed = http::Response::new(Full::default());
    *agreed.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    agreed.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    agreed.headers_mut().insert("upgrade", protocol);
    agreed
}

#[async_trait]
impl NodeDialer for Echo {
    async fn dial(&self, _: &NodeTarget) -> std::io::Result<Box<dyn NodeStream>> {
        let (near, far) = tokio::io::duplex(4096);
        let service = hyper::service::service_fn(|request| async {
            Ok::<_, std::convert::Infallible>(answer(request).await)
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
        tokio::spawn(connection.with_upgrades());
        Ok(Box::new(near))
    }
}

async fn server_with_pods() -> Arc<Server> {
    let server = start_with(Arc::new(Echo)).await;
    let account = json!({"metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(call(&server, root(), Method::POST, accounts, &[], account).await.code, 201);
    let node = json!({"metadata": {"name": "w"}});
    assert_eq!(call(&server, root(), Method::POST, "/api/v1/nodes", &[], node).await.code, 201);
    for (name, node) in [("p", "w"), ("unbound", ""), ("gone", "w")] {
        let mut pod = json!({"metadata": {"name": name},
            "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}});
        if !node.is_empty() {
            pod["spec"]["nodeName"] = json!(node);
        }
        let made = call(&server, root(), Method::POST, PODS, &[], pod).await;
        assert_eq!(made.code, 201, "{}", made.text);
    }
    server
}

/// Asks to upgrade; what the kubelet says first and echoes, or the refusal.
async fn upgraded(
    server: &Arc<Server>,
    user: UserInfo,
    method: Method,
    path: &str,
    protocol: &str,
) -> (u16, String) {
    let stream = server.connect(user);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", protocol)
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let code = response.status().as_u16();
    if code != 101 {
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        return (code, String::from_utf8(body.to_vec()).unwrap());
    }
    assert_eq!(response.headers()["upgrade"], protocol);
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    io.write_all(b" and back").await.unwrap();
    let mut said = String::new();
    while !said.ends_with(" and back") {
        let mut bytes = [0; 256];
        let read = io.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{said}");
        said.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    (code, said)
}

#[tokio::test]
async fn streams_reach_the_kubelet_byte_for_byte() {
    let server = server_with_pods().await;
    for (method, path, protocol, asked) in [
        (
            Method::POST,
            "exec?command=sh&command=-c&command=a%20%26%20b&container=b&stdin=true&stdout=true&tty=true",
            "SPDY/3.1",
            "/exec/default/p/b?command=sh&command=-c&command=a+%26+b&input=1&output=1&tty=1",
        ),
        (
            Method::GET,
            "exec?command=ls&container=a&stderr=1",
            "websocket",
            "/exec/default/p/a?command=ls&error=1",
        ),
        (Method::GET, "attach?container=a&stdout=true", "websocket", "/attach/default/p/a?output=1"),
        (Method::GET, "portforward?ports=80&ports=81", "websocket", "/portForward/default/p?port=80%2C81"),
        (Method::POST, "portforward", "SPDY/3.1", "/portForward/default/p?"),
    ] {
        let path = format!("{PODS}/p/{path}");
        let (code, said) = upgraded(&server, root(), method, &path, protocol).await;
        assert_eq!((code, said), (101, format!("{asked} and back")), "{path}");
    }
}

#[tokio::test]
async fn refusals_are_in_upstreams_words() {
    let server = server_with_pods().await;
    for (path, code, why) in [
        ("p/exec?command=ls", 400, "a container name must be specified for pod p, choose one of: [a b]"),
        ("p/exec?command=ls&container=x", 400, "container x is not valid for pod p"),
        ("unbound/attach?container=a", 400, "pod unbound does not have a host assigned"),
        ("nobody/exec?container=a", 404, "pods \"nobody\" not found"),
        ("p/portforward?ports=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
    ] {
        let (got, said) =
            upgraded(&server, root(), Method::POST, &format!("{PODS}/{path}"), "SPDY/3.1").await;
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((got, &said["message"]), (code, &json!(why)));
    }
    // What the kubelet refuses is passed on.
    let path = format!("{PODS}/gone/exec?command=ls&container=a");
    let refused = upgraded(&server, root(), Method::POST, &path, "SPDY/3.1").await;
    assert_eq!(refused, (404, "pod does not exist".to_owned()));
    let plain: Answer =
        call(&server, root(), Method::POST, &format!("{PODS}/p/exec?container=a"), &[], Value::Null).await;
    assert_eq!((plain.code, plain.message().as_str()), (400, "Upgrade request required"));
    let other = call(&server, root(), Method::PUT, &format!("{PODS}/p/exec"), &[], Value::Null).await;
    assert_eq!(other.code, 405);
}

#[tokio::test]
async fn a_websocket_needs_the_right_to_create() {
    let server = server_with_pods().await;
    let role = json!({"metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]});
    let base = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    assert_eq!(call(&server, root(), Method::POST, &format!("{base}/roles"), &[], role).await.code, 201);
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}});
    assert_eq!(
        call(&server, root(), Method::POST, &format!("{base}/rolebindings"), &[], binding).await.code,
        201
    );
    let jane = || UserInfo::authenticated("jane", []);
    let path = format!("{PODS}/p/exec?command=ls&container=a");
    for method in [Method::GET, Method::POST] {
        let (code, said) = upgraded(&server, jane(), method, &path, "websocket").await;
        assert_eq!(code, 403, "{said}");
        assert!(said.contains("cannot create resource \\\"pods/exec\\\""), "{said}");
    }
}

#[tokio::test]
async fn a_log_comes_in_messages_too() {
    let server = server_with_pods().await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server.connect(root()))).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = http::Request::get(format!("{PODS}/p/log?container=a"))
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "binary.k8s.io")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "binary.k8s.io");
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let log = b"/containerLogs/default/p/a?";
    // An empty binary message, the log as another, and the end.
    let expected = [&[0x82, 0, 0x82, log.len() as u8][..], log, &[0x88]].concat();
    let mut got = vec![0; expected.len()];
    io.read_exact(&mut got).await.unwrap();
    assert_eq!(got, expected);
}
