//! Lifecycle hooks: what a container wants done after its start and before its stop.
//!
//! **Contract**: a hook has no time limit of its own; the caller has. An HTTP hook succeeds with any answer.
//! **Upstream**: `pkg/kubelet/lifecycle/handlers.go`.

use crate::pod_worker::Node;
use crate::probes::http;
use crate::probes::port;
use api::k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use runtime::ContainerId;
use std::time::Duration;

/// Runs a hook. `Err`: what went wrong, for the event.
pub(crate) async fn run(
    node: &Node,
    handler: &LifecycleHandler,
    container: &Container,
    id: &ContainerId,
    pod_ip: Option<&str>,
) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        let command = action.command.as_deref().unwrap_or_default();
        let result = node.runtime.exec_sync(id, command, Duration::ZERO).await;
        let result = result.map_err(|error| error.to_string())?;
        if result.exit_code != 0 {
            let output = [&result.stdout[..], &result.stderr[..]].concat();
            return Err(format!(
                "command '{}' exited with {}: {}",
                command.join(" "),
                result.exit_code,
                String::from_utf8_lossy(&output)
            ));
        }
        return Ok(());
    }
    if let Some(action) = &handler.http_get {
        if node.pods_dir.is_none() {
            // Nothing listens on paper.
            return Ok(());
        }
        let host = action.host.as_deref().filter(|host| !host.is_empty()).or(pod_ip).unwrap_or_default();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
        let path = action.path.as_deref().unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("{scheme}://{host}:{}{slash}{path}", port(container, &action.port)?);
        return http::get(&url, action).await.map(|_| ()).map_err(|error| format!("Get {url:?}: {error}"));
    }
    if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        node.context.clock.sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    Err("invalid handler".to_owned())
}
