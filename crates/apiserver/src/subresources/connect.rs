//! `pods/exec`, `pods/attach`, `pods/portforward`: streams to a pod's kubelet, one row each.
//!
//! **Contract**: the protocol (SPDY or WebSocket, whichever the client speaks) is between client and kubelet; here it
//! is decided who may, and where to. A GET, which is how WebSocket begins, needs the right to create as well.
//! **Upstream**: `pkg/registry/core/pod/rest/subresources.go`, `pod.ExecLocation` and its kin.

use super::container::container;
use super::{Facts, Subresource, admit, kubelet, tunnel};
use crate::admission::Operation;
use crate::auth::{UserInfo, forbidden};
use crate::body::{Request, Response};
use crate::chain;
use crate::decode::text;
use crate::request::{Query, RequestInfo};
use crate::server::Server;
use api::golang;
use api::kind::GroupVersionKind;
use api::status::Status;
use async_trait::async_trait;
use http::Uri;
use serde_json::{Value, json};
use std::sync::Arc;

/// One of the three.
pub(super) struct Connect {
    name: &'static str,
    kind: &'static str,
    /// The kubelet's path, and whether it names a container.
    path: &'static str,
    in_container: bool,
    options: fn(&Query) -> Result<Value, Status>,
}

impl Connect {
    pub(super) const EXEC: Self = Self {
        name: "exec",
        kind: "PodExecOptions",
        path: "exec",
        in_container: true,
        options: |query| Ok(streams(query)),
    };
    pub(super) const ATTACH: Self =
        Self { name: "attach", kind: "PodAttachOptions", path: "attach", ..Self::EXEC };
    pub(super) const PORT_FORWARD: Self = Self {
        name: "portforward",
        kind: "PodPortForwardOptions",
        path: "portForward",
        in_container: false,
        options: ports,
    };
}

#[async_trait]
impl Subresource for Connect {
    fn facts(&self) -> Facts {
        Facts {
            group: "",
            version: "v1",
            plural: "pods",
            name: self.name,
            namespaced: true,
            kind: GroupVersionKind::new("", "v1", self.kind),
            verbs: &["create", "get"],
        }
    }

    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        user: &UserInfo,
        request: Request,
    ) -> Result<Response, Status> {
        let mut options = (self.options)(&info.query)?;
        options["kind"] = self.kind.into();
        options["apiVersion"] = "v1".into();
        admit(server, info, user, Operation::Connect, false, &mut options).await?;
        may_create(server, info, user)?;
        let pod = super::store(server, "", "pods")?.get(&info.namespace, &info.name).await?.to_value();
        let mut path = format!("/{}/{}/{}", self.path, info.namespace, info.name);
        if self.in_container {
            path = format!("{path}/{}", container(&pod, &info.name, text(&options["container"]))?);
        }
        let node = text(&pod["spec"]["nodeName"]);
        if node.is_empty() {
            return Err(Status::bad_request(format!("pod {} does not have a host assigned", info.name)));
        }
        let target = kubelet::target(server, node).await?;
        if !tunnel::is_upgrade(request.headers()) {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let uri: Uri = format!("{path}?{}", query(&options))
            .parse()
            .map_err(|_| Status::bad_request("the names in the request do not make a URL"))?;
        let dialled = server.nodes.dial(&target).await;
        let stream = dialled.map_err(|error| tunnel::failed(&format!("error dialing backend: {error}")))?;
        tunnel::open(server, stream, request, uri).await
    }
}

/// Asks again, as for the POST that other clients send.
fn may_create(server: &Server, info: &RequestInfo, user: &UserInfo) -> Result<(), Status> {
    let mut action = chain::action(info, user);
    if action.verb == "create" {
        return Ok(());
    }
    action.verb = "create";
    let decision = server.authorizer.authorize(&action);
    if decision.allowed { Ok(()) } else { Err(forbidden(&action, &decision.reason)) }
}

/// `PodExecOptions` and `PodAttachOptions`, which differ in the command.
fn streams(query: &Query) -> Value {
    let mut options = json!({});
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if query.flag(flag) {
            options[flag] = true.into();
        }
    }
    if !query.text("container").is_empty() {
        options["container"] = query.text("container").into();
    }
    let command: Vec<&str> = query.all("command").collect();
    if !command.is_empty() {
        options["command"] = command.into();
    }
    options
}

/// `PodPortForwardOptions`.
fn ports(query: &Query) -> Result<Value, Status> {
    let mut ports = Vec::new();
    for text in query.all("ports").flat_map(|list| list.split(',')) {
        ports.push(golang::parse_int::<i32>(text).map_err(Status::bad_request)?);
    }
    Ok(if ports.is_empty() { json!({}) } else { json!({ "ports": ports }) })
}

/// The same options in the kubelet's words.
fn query(options: &Value) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for command in options["command"].as_array().into_iter().flatten() {
        pairs.append_pair("command", text(command));
    }
    for (ours, kubelets) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if options[ours] == true {
            pairs.append_pair(kubelets, "1");
        }
    }
    let ports: Vec<String> =
        options["ports"].as_array().into_iter().flatten().map(Value::to_string).collect();
    if !ports.is_empty() {
        pairs.append_pair("port", &ports.join(","));
    }
    pairs.finish()
}

#[cfg(test)]
mod tests;
