//! One question to a container, of whichever kind.
//!
//! **Contract**: on a node on paper, nothing listens anywhere: there the runtime answers network probes, as a command whose
//! first word is `probe`.
//! **Upstream**: `runProbe` of `pkg/kubelet/prober/prober.go`.

use super::{Target, exec, grpc, http, tcp};
use crate::pod_worker::Node;
use api::k8s_openapi::api::core::v1::{Container, Probe};
use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;

/// What a question needs.
pub(super) struct Ask<'a> {
    pub(super) node: &'a Node,
    pub(super) target: &'a Target,
    pub(super) timeout: Duration,
}

/// An answer, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Success,
    /// A success that somebody should look at.
    Warning(String),
    Failure(String),
    /// The question could not be put.
    Error(String),
}

/// Puts a probe's question.
pub(super) async fn ask(ask: &Ask<'_>, probe: &Probe) -> Said {
    if let Some(action) = &probe.exec {
        return exec::ask(ask, action.command.as_deref().unwrap_or_default()).await;
    }
    let container = &ask.target.container;
    let (kind, port, host) = match (&probe.http_get, &probe.tcp_socket, &probe.grpc) {
        (Some(action), ..) => ("http", port(container, &action.port), action.host.clone()),
        (_, Some(action), _) => ("tcp", port(container, &action.port), action.host.clone()),
        (.., Some(action)) => ("grpc", u16::try_from(action.port).map_err(|e| e.to_string()), None),
        _ => return Said::Error(format!("missing probe handler for {}", container.name)),
    };
    let port = match port {
        Ok(port) => port,
        Err(error) => return Said::Error(error),
    };
    if ask.node.pods_dir.is_none() {
        let command = ["probe".to_owned(), kind.to_owned(), port.to_string()];
        return exec::ask(ask, &command).await;
    }
    let host = host.filter(|host| !host.is_empty()).or_else(|| ask.target.pod_ip.clone()).unwrap_or_default();
    match (&probe.http_get, &probe.tcp_socket, &probe.grpc) {
        (Some(action), ..) => http::ask(action, &host, port, ask.timeout).await,
        (_, Some(_), _) => tcp::ask(&host, port, ask.timeout).await,
        (.., Some(action)) => {
            grpc::ask(&host, port, action.service.as_deref().unwrap_or_default(), ask.timeout).await
        }
        _ => Said::Success,
    }
}

/// A port by number, or by its name in the container.
pub(crate) fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    number
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("couldn't find port: {port:?} in container {}", container.name))
}
