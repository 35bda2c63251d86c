//! `pods/log`: asks the kubelet of the pod's node, and streams what it answers.
//!
//! **Contract**: nothing is gathered; the kubelet's request ends when the client goes away.
//! **Upstream**: `pkg/registry/core/pod/strategy.go` (`LogLocation`), `validation.ValidatePodLogOptions`.

use super::log_options::LogOptions;
use super::{Facts, NodeTarget, Subresource};
use crate::auth::UserInfo;
use crate::body::{self, Body, Request, Response};
use crate::decode::text;
use crate::request::RequestInfo;
use crate::server::Server;
use api::kind::GroupVersionKind;
use api::status::Status;
use async_trait::async_trait;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::Arc;

/// `status.daemonEndpoints.kubeletEndpoint.Port` of a node that has reported none.
const KUBELET_PORT: u16 = 10250;
/// Bytes of a kubelet's refusal that are passed on. **Upstream**: `maxErrorBody`.
const MAX_REFUSAL: usize = 10 << 10;

/// The subresource.
pub(super) struct Log;

#[async_trait]
impl Subresource for Log {
    fn facts(&self) -> Facts {
        Facts {
            group: "",
            version: "v1",
            plural: "pods",
            name: "log",
            namespaced: true,
            kind: GroupVersionKind::new("", "v1", "Pod"),
            verbs: &["get"],
        }
    }

    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        _: &UserInfo,
        _: Request,
    ) -> Result<Response, Status> {
        let options = LogOptions::parse(&info.name, &info.query)?;
        let pod = super::store(server, "", "pods")?.get(&info.namespace, &info.name).await?.to_value();
        let container = container(&pod, &info.name, &options.container)?;
        let node = text(&pod["spec"]["nodeName"]);
        if node.is_empty() {
            let mut response = Response::new(body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return Ok(response);
        }
        let path = format!(
            "/containerLogs/{}/{}/{container}?{}",
            info.namespace,
            info.name,
            options.query(server.context.clock.now())
        );
        let target = target(server, node).await?;
        let answer = ask(server, &target, &path).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        let mut response = Response::new(answer.into_body());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }
}

/// The container whose log is meant.
fn container(pod: &Value, pod_name: &str, wanted: &str) -> Result<String, Status> {
    let names = |field: &str| -> Vec<String> {
        let list = pod["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|c| text(&c["name"]).to_owned()).collect()
    };
    let (main, init, debug) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if !wanted.is_empty() {
        return if [&main, &init, &debug].iter().any(|list| list.iter().any(|name| name == wanted)) {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod_name}")))
        };
    }
    if let [only] = main.as_slice() {
        return Ok(only.clone());
    }
    let mut why = format!("a container name must be specified for pod {pod_name}");
    if !main.is_empty() {
        why += &format!(", choose one of: [{}]", main.join(" "));
        if !init.is_empty() {
            why += &format!(" or one of the init containers: [{}]", init.join(" "));
        }
        if !debug.is_empty() {
            why += &format!(" or one of the ephemeral containers: [{}]", debug.join(" "));
        }
    }
    Err(Status::bad_request(why))
}

/// Where the node's kubelet listens.
async fn target(server: &Server, node: &str) -> Result<NodeTarget, Status> {
    let object = super::store(server, "", "nodes")?.get("", node).await?.to_value();
    let addresses = object["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_type = |wanted: &str| {
        let found = addresses.iter().find(|a| a["type"] == wanted)?;
        found["address"].as_str().map(str::to_owned)
    };
    // Upstream's default order is Hostname first; here a host name need not resolve.
    let address = ["InternalIP", "Hostname", "ExternalIP"].into_iter().find_map(of_type);
    let port = object["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(KUBELET_PORT);
    Ok(NodeTarget { name: node.to_owned(), address, port })
}

/// Sends a GET to a kubelet.
async fn ask(server: &Server, target: &NodeTarget, path: &str) -> Result<http::Response<Body>, Status> {
    let host = format!("{}:{}", target.address.as_deref().unwrap_or(&target.name), target.port);
    let failed = |error: &dyn std::fmt::Display| {
        Status::new(500, "InternalError", format!("Get \"https://{host}{path}\": {error}"))
    };
    let stream = server.nodes.dial(target).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    server.context.shutdown.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a kubelet broke");
        }
    });
    let request = http::Request::get(path)
        .header(header::HOST, &host)
        .body(body::empty())
        .map_err(|_| Status::bad_request("the names in the request do not make a URL"))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// What a kubelet's refusal says, as a Status.
async fn refusal(answer: http::Response<Body>) -> Status {
    let code = answer.status().as_u16();
    let bytes = body::read(answer.into_body(), MAX_REFUSAL).await.unwrap_or_default();
    let message = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        400 => Status::bad_request(message),
        404 => Status::new(404, "NotFound", message),
        _ => Status::internal(&message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chooses_the_only_container_or_asks_for_one() {
        let pod = |containers: &[&str], init: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|n| json!({ "name": n })).collect::<Vec<_>>();
            json!({ "spec": { "containers": list(containers), "initContainers": list(init) } })
        };
        assert_eq!(container(&pod(&["a"], &["i"]), "p", "").unwrap(), "a");
        assert_eq!(container(&pod(&["a", "b"], &["i"]), "p", "i").unwrap(), "i");
        for (pod, wanted, why) in [
            (pod(&["a", "b"], &[]), "", "a container name must be specified for pod p, choose one of: [a b]"),
            (
                pod(&["a", "b"], &["i"]),
                "",
                "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]",
            ),
            (pod(&["a"], &[]), "x", "container x is not valid for pod p"),
        ] {
            let status = container(&pod, "p", wanted).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (400, why));
        }
    }
}
