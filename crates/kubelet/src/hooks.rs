//! Lifecycle hooks: what a container wants done after its start and before its stop.
//!
//! **Contract**: a hook has no time limit of its own; the caller has. An HTTP hook succeeds with any answer.
//! **Upstream**: `pkg/kubelet/lifecycle/handlers.go`.

use crate::pod_worker::Node;
use crate::probes::http;
use crate::probes::port;
use crate::sync_pod::full_name;
use api::k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use runtime::ContainerId;
use std::time::Duration;

/// Runs a hook. `Err`: what went wrong, in upstream's words. It may hold secrets: no event tells it.
pub(crate) async fn run(
    node: &Node,
    handler: &LifecycleHandler,
    pod: &Pod,
    container: &Container,
    id: &ContainerId,
    pod_ip: Option<&str>,
) -> Result<(), String> {
    let failed = |what: String, error: &str| {
        let (container, pod) = (&container.name, full_name(pod));
        format!("{what} for Container {container:?} in Pod {pod:?} failed - error: {error}")
    };
    if let Some(action) = &handler.exec {
        let command = action.command.as_deref().unwrap_or_default();
        let (error, output) = match node.runtime.exec_sync(id, command, Duration::ZERO).await {
            Ok(result) if result.exit_code == 0 => return Ok(()),
            Ok(result) => {
                let error = format!(
                    "command '{}' exited with {}: {}",
                    command.join(" "),
                    result.exit_code,
                    String::from_utf8_lossy(&result.stderr)
                );
                (error, [&result.stdout[..], &result.stderr[..]].concat())
            }
            Err(error) => (error.to_string(), Vec::new()),
        };
        let what = failed(format!("Exec lifecycle hook ([{}])", command.join(" ")), &error);
        return Err(format!("{what}, message: {:?}", String::from_utf8_lossy(&output)));
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
        let failed = |error: String| failed(format!("HTTP lifecycle hook ({path})"), &error);
        let port = port(container, &action.port).map_err(failed)?;
        let url = format!("{scheme}://{host}:{port}{slash}{path}");
        let answer = http::get(&url, action).await;
        return answer.map(|_| ()).map_err(|error| failed(format!("Get {url:?}: {error}")));
    }
    if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        node.context.clock.sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".to_owned())
}
