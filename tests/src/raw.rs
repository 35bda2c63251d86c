//! Requests in the API's own words, for what has no type.

use http::{Method, Request};
use kube::Client;
use serde_json::Value;

/// Sends a request and returns the object or, as `Err`, the `Status`.
pub async fn call(client: &Client, method: Method, path: &str, body: &Value) -> Result<Value, Value> {
    let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    send(client, method, path, media, body).await
}

/// The same with a media type.
///
/// # Panics
/// If the answer is neither.
pub async fn send(
    client: &Client,
    method: Method,
    path: &str,
    media: &str,
    body: &Value,
) -> Result<Value, Value> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("content-type", media);
    let request = request.body(body).expect("a request");
    match client.request::<Value>(request).await {
        Ok(value) if value["kind"] == "Status" && value["status"] == "Failure" => Err(value),
        Ok(value) => Ok(value),
        Err(kube::Error::Api(status)) => Err(serde_json::to_value(*status).expect("a status")),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Creates an object at a path.
pub async fn create(client: &Client, path: &str, object: &Value) -> Result<Value, Value> {
    call(client, Method::POST, path, object).await
}

/// Reads what is at a path.
pub async fn get(client: &Client, path: &str) -> Result<Value, Value> {
    call(client, Method::GET, path, &Value::Null).await
}

/// Reads what is at a path and no JSON.
///
/// # Panics
/// If that fails.
pub async fn text(client: &Client, path: &str) -> String {
    let request = Request::get(path).body(Vec::new()).expect("a request");
    client.request_text(request).await.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Deletes what is at a path.
pub async fn delete(client: &Client, path: &str) -> Result<Value, Value> {
    call(client, Method::DELETE, path, &Value::Null).await
}

/// Merges into the object at a path.
pub async fn merge(client: &Client, path: &str, patch: &Value) -> Result<Value, Value> {
    call(client, Method::PATCH, path, patch).await
}

/// The message of a failure.
///
/// # Panics
/// If there is none.
pub fn message(result: Result<Value, Value>) -> String {
    let status = result.expect_err("a failure");
    status["message"].as_str().expect("a message").to_owned()
}
