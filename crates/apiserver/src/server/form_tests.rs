//! The form of answers, whichever part of a whole server gives them.

use super::testing::{call, root, start};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

/// In HTTP/2 a body would break the stream.
#[tokio::test]
async fn the_answer_to_a_head_has_a_length_and_no_body() {
    let server = start().await;
    let stream = TokioIo::new(server.connect(root()));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    for (path, code) in [
        ("/api/v1/pods", 405),
        ("/apis", 200),
        ("/openapi/v3", 200),
        ("/version", 405),
        ("/api/v1/nonsense", 404),
        ("/nonsense", 404),
    ] {
        let request = http::Request::head(format!("http://localhost{path}"));
        let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), code, "{path}");
        let length = response.headers()["content-length"].to_str().unwrap().to_owned();
        assert_ne!(length, "0", "{path}");
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn failures_and_documents_are_indented_for_people() {
    let server = start().await;
    let get = async |path: &str, agent: &str| {
        call(&server, root(), Method::GET, path, &[("user-agent", agent)], Value::Null).await.text
    };
    for path in ["/api/v1/namespaces/none", "/api/v1/namespaces/default", "/apis/apps", "/api/v2"] {
        let text = get(path, "curl/8.0").await;
        assert!(text.starts_with("{\n  \"kind\": ") && text.ends_with('}'), "{text}");
        let text = get(path, "kubectl/v1.36.0").await;
        assert!(text.starts_with("{\"kind\":") && text.ends_with("}\n"), "{text}");
    }
    for path in ["/", "/version"] {
        assert!(get(path, "kubectl/v1.36.0").await.starts_with("{\n  \""), "{path}");
    }
}
