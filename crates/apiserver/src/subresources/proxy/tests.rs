//! Requests to pods, services and kubelets through a whole server; the network is the test's.

use super::*;
use crate::server::testing::{Answer, call, root, start_with};
use crate::subresources::NodeDialer;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;

const CORE: &str = "/api/v1/namespaces/default";

/// Everything at `10.0.0.1:8080` and every kubelet answers; nobody else.
struct Network;

async fn answer(who: String, request: http::Request<hyper::body::Incoming>) -> http::Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let path = head.uri.path().to_owned();
    let mut response = match path.as_str() {
        "/moved" => http::Response::builder().status(302).header("location", "/there"),
        "/page" => http::Response::builder().header("content-type", "text/html; charset=utf-8"),
        "/asked" => http::Response::builder().header("content-type", "text/html").header("content-length", 7),
        _ => http::Response::builder().header("access-control-allow-origin", "*"),
    };
    response = response.header("keep-alive", "timeout=5");
    let header = |name: &str| head.headers.get(name).map_or("-", |v| v.to_str().unwrap()).to_owned();
    let text = match path.as_str() {
        "/page" => "<a href=\"/next\">next</a>".to_owned(),
        "/asked" => "<p>text".to_owned(),
        _ => format!(
            "{who} {} {} {} {} {body}",
            head.method,
            head.uri,
            header("x-forwarded-uri"),
            header("x-one")
        ),
    };
    response.body(Full::new(Bytes::from(text))).unwrap()
}

fn serve(who: String) -> Box<dyn NodeStream> {
    let (near, far) = tokio::io::duplex(4096);
    let service = hyper::service::service_fn(move |request| {
        let who = who.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(who, request).await) }
    });
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service));
    Box::new(near)
}

#[async_trait]
impl NodeDialer for Network {
    async fn dial(&self, node: &NodeTarget) -> io::Result<Box<dyn NodeStream>> {
        Ok(serve(node.name.clone()))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn NodeStream>> {
        match (host, port) {
            ("10.0.0.1", 8080) => Ok(serve("pod".to_owned())),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

async fn make(server: &Arc<Server>, path: &str, object: Value) {
    let made = call(server, root(), Method::POST, path, &[], object).await;
    assert_eq!(made.code, 201, "{}", made.text);
}

async fn cluster() -> Arc<Server> {
    let server = start_with(Arc::new(Network)).await;
    make(&server, &format!("{CORE}/serviceaccounts"), json!({"metadata": {"name": "default"}})).await;
    make(&server, "/api/v1/nodes", json!({"metadata": {"name": "w"}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "w",
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 8080}]}]}});
    make(&server, &format!("{CORE}/pods"), pod).await;
    let status = json!({"status": {"podIPs": [{"ip": "10.0.0.1"}]}});
    let merge = [("content-type", "application/merge-patch+json")];
    let path = format!("{CORE}/pods/p/status");
    assert_eq!(call(&server, root(), Method::PATCH, &path, &merge, status).await.code, 200);
    for name in ["s", "empty"] {
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"name": "web", "port": 80}]}});
        make(&server, &format!("{CORE}/services"), service).await;
    }
    let slice = json!({"metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}], "endpoints": [
            {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "namespace": "default", "name": "p"}}]});
    make(&server, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await;
    server
}

async fn get(server: &Arc<Server>, path: &str) -> Answer {
    call(server, root(), Method::GET, path, &[], Value::Null).await
}

#[tokio::test]
async fn requests_reach_pods_services_and_kubelets() {
    let server = cluster().await;
    for (path, said) in [
        ("pods/p/proxy/a/b?x=1", "pod GET /a/b?x=1 /api/v1/namespaces/default/pods/p/proxy/a/b - "),
        ("pods/http:p:8080/proxy/", "pod GET / /api/v1/namespaces/default/pods/http:p:8080/proxy/ - "),
        ("services/s:web/proxy/x/", "pod GET /x/ /api/v1/namespaces/default/services/s:web/proxy/x/ - "),
        ("services/s:80/proxy/../x", "pod GET /x /api/v1/namespaces/default/services/s:80/proxy/x - "),
    ] {
        let got = get(&server, &format!("{CORE}/{path}")).await;
        assert_eq!((got.code, got.text.as_str()), (200, said));
        assert!(got.headers.get("access-control-allow-origin").is_none());
        assert!(got.headers.get("keep-alive").is_none());
    }
    let healthz = get(&server, "/api/v1/nodes/w:10250/proxy/healthz").await;
    assert_eq!(healthz.text, "w GET /healthz /api/v1/nodes/w:10250/proxy/healthz - ");
    let path = format!("{CORE}/pods/p/proxy/x");
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let headers = [("x-one", "1"), ("x-two", "2"), ("connection", "x-two")];
        let got = call(&server, root(), method.clone(), &path, &headers, json!("body")).await;
        assert_eq!((got.code, got.text), (200, format!("pod {method} /x {path} 1 \"body\"")));
    }
}

#[tokio::test]
async fn redirects_and_links_lead_through_the_proxy() {
    let server = cluster().await;
    let proxy = format!("{CORE}/services/s:web/proxy");
    let bare = get(&server, &format!("{proxy}?x=1")).await;
    assert_eq!((bare.code, bare.headers["location"].to_str().unwrap()), (301, &*format!("{proxy}/?x=1")));
    let moved = get(&server, &format!("{proxy}/moved")).await;
    assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (302, &*format!("{proxy}/there")));
    let page = get(&server, &format!("{proxy}/page")).await;
    assert_eq!(page.text, format!("<a href=\"{proxy}/next\">next</a>"));
    let head = call(&server, root(), Method::HEAD, &format!("{proxy}/asked"), &[], Value::Null).await;
    assert_eq!(
        (head.code, head.headers["content-length"].to_str().unwrap(), head.text.as_str()),
        (200, "7", "")
    );
}

#[tokio::test]
async fn who_cannot_be_reached_is_told() {
    let server = cluster().await;
    for (path, code, why) in [
        (format!("{CORE}/services/empty:web/proxy/"), 503, "no endpoints available for service \"empty\""),
        (format!("{CORE}/services/s/proxy/"), 503, "no endpoints available for service \"s\""),
        (format!("{CORE}/services/s:81/proxy/"), 503, "no service port 81 found for service \"s\""),
        (format!("{CORE}/services/nobody/proxy/"), 404, "services \"nobody\" not found"),
        (format!("{CORE}/services/ftp:s:1/proxy/"), 400, "invalid service request \"ftp:s:1\""),
        (
            format!("{CORE}/pods/p:81/proxy/"),
            503,
            "error trying to reach service: dial tcp 10.0.0.1:81: connect: connection refused",
        ),
        (
            format!("{CORE}/pods/https:p:8080/proxy/"),
            503,
            "error trying to reach service: http: server gave HTTP response to HTTPS client",
        ),
        ("/api/v1/nodes/a:b:c:d/proxy/".to_owned(), 400, "invalid node request \"a:b:c:d\""),
    ] {
        let got = get(&server, &path).await;
        assert_eq!((got.code, got.message().as_str()), (code, why), "{path}");
    }
}

#[test]
fn paths_are_split_after_proxy() {
    for (path, prefix, rest) in [
        ("/api/v1/nodes/n/proxy", "/api/v1/nodes/n/proxy", ""),
        ("/api/v1/nodes/n/proxy/", "/api/v1/nodes/n/proxy", "/"),
        ("/api/v1/nodes/n/proxy/a%20b/", "/api/v1/nodes/n/proxy", "/a%20b/"),
        ("/api/v1/nodes/n/proxy/a%2Fb%2f", "/api/v1/nodes/n/proxy", "/a/b/"),
        ("/api/v1/nodes/n/proxy/x%2F..%2F%2e%2e%2Fy", "/api/v1/nodes/n/proxy", "/y"),
        ("/api/v1/nodes/n/proxy/%41%3f%25%ff(!)", "/api/v1/nodes/n/proxy", "/A%3F%25%FF%28%21%29"),
        ("/api/v1/namespaces/x/pods/p/proxy/../..", "/api/v1/namespaces/x/pods/p/proxy", "/"),
    ] {
        assert_eq!(split_path(path), (prefix.to_owned(), rest.to_owned()));
    }
    let loopback = "127.0.0.1 169.254.1.1 0.0.0.0 ::1 fe80::1 224.0.0.1";
    assert!(!loopback.split(' ').any(|ip| is_global_unicast(ip.parse().unwrap())));
    assert!(is_global_unicast("10.0.0.1".parse().unwrap()) && is_global_unicast("fd00::1".parse().unwrap()));
}
