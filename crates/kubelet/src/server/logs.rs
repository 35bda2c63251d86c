//! Logs of containers, as an answer's body or over WebSocket.
//!
//! **Upstream**: `getContainerLogs` of `pkg/kubelet/server`, `GetKubeletContainerLogs`.

use super::request::Query;
use super::{Answer, Refusal, Request, Server, body, with_type};
use api::k8s_openapi::api::core::v1::Pod;
use futures::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use runtime::{ContainerState, ContainerStatus, LogOptions};

impl Server {
    pub(super) async fn container_log(
        &self,
        namespace: &str,
        pod_name: &str,
        container: &str,
        query: &Query,
        request: &mut Request,
    ) -> Answer {
        let Asked { previous, options } = parse(query)?;
        let not_found = format!("pod {pod_name:?} not found");
        let pod =
            self.containers.pod(namespace, pod_name, None).ok_or_else(|| Refusal::not_found(not_found))?;
        let attempts = self.containers.attempts(&pod, container).await?;
        let chosen = if previous {
            let message =
                format!("previous terminated container {container:?} in pod {pod_name:?} not found");
            choose_previous(&attempts).ok_or_else(|| Refusal::bad_request(message))?
        } else {
            let waiting = waiting_reason(&pod, container);
            let message =
                format!("container {container:?} in pod {pod_name:?} is waiting to start: {waiting}");
            choose_current(&attempts).ok_or_else(|| Refusal::bad_request(message))?
        };
        let lines = self.containers.runtime.container_logs(&chosen.id, &options).await;
        let lines = lines.map_err(Refusal::internal)?.map_ok(|line| line.bytes);
        if streaming::logs::is_requested(request.headers()) {
            let (response, accepted) = streaming::logs::accept(request)?;
            tokio::spawn(async move {
                if let Err(error) = streaming::logs::send(accepted, lines.boxed()).await {
                    tracing::debug!("log over WebSocket: {error}");
                }
            });
            return Ok(response.map(|()| body("")));
        }
        let frames = lines.map_ok(Frame::data).boxed();
        Ok(with_type(StreamBody::new(frames).boxed_unsync(), "text/plain"))
    }
}

fn choose_current(attempts: &[ContainerStatus]) -> Option<&ContainerStatus> {
    attempts.iter().find(|a| a.state != ContainerState::Created)
}

/// The attempt before the running one, or the last that ended if none runs.
fn choose_previous(attempts: &[ContainerStatus]) -> Option<&ContainerStatus> {
    let latest = attempts.first()?;
    let skip = usize::from(latest.state != ContainerState::Exited || attempts.len() > 1);
    attempts.iter().skip(skip).find(|a| a.state == ContainerState::Exited)
}

/// Why there is no log yet, in upstream's words.
fn waiting_reason(pod: &Pod, container: &str) -> String {
    let status = pod.status.iter();
    let all = status.flat_map(|s| {
        s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten())
    });
    let waiting =
        all.filter(|s| s.name == container).find_map(|s| s.state.as_ref()?.waiting.as_ref()?.reason.clone());
    match waiting.as_deref() {
        Some("ErrImagePull") => "image can't be pulled".to_owned(),
        Some("ImagePullBackOff") => "trying and failing to pull image".to_owned(),
        Some(reason) => reason.to_owned(),
        None => "ContainerCreating".to_owned(),
    }
}

/// The query of a log request, as the API server passes it on (already validated there).
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    previous: bool,
    options: LogOptions,
}

fn parse(query: &Query) -> Result<Asked, Refusal> {
    let invalid = |name: &str| Refusal::bad_request(format!("unable to parse the value of {name:?}"));
    let number = |name: &str| match query.get(name) {
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| invalid(name)),
        None => Ok(None),
    };
    let since = match query.get("sinceTime") {
        Some(text) => Some(text.parse::<Timestamp>().map_err(|_| invalid("sinceTime"))?),
        None => None,
    };
    Ok(Asked {
        previous: query.flag("previous"),
        options: LogOptions {
            follow: query.flag("follow"),
            tail_lines: number("tailLines")?,
            since,
            timestamps: query.flag("timestamps"),
            limit_bytes: number("limitBytes")?,
            stream: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_log_request() {
        let parse = |text| parse(&Query::parse(text));
        let got =
            parse("follow=true&tailLines=5&timestamps=true&limitBytes=9&sinceTime=2026-01-01T00%3A00%3A00Z");
        let expected = LogOptions {
            follow: true,
            tail_lines: Some(5),
            since: Some("2026-01-01T00:00:00Z".parse().expect("a time")),
            timestamps: true,
            limit_bytes: Some(9),
            stream: None,
        };
        assert_eq!(got, Ok(Asked { previous: false, options: expected }));
        assert!(parse("tailLines=x").is_err());
    }

    #[test]
    fn says_why_there_is_no_log() {
        for (reason, said) in [
            ("ContainerCreating", "ContainerCreating"),
            ("ErrImagePull", "image can't be pulled"),
            ("ImagePullBackOff", "trying and failing to pull image"),
            ("CreateContainerConfigError", "CreateContainerConfigError"),
        ] {
            let pod: Pod = serde_json::from_value(serde_json::json!({"status": {"containerStatuses": [
                {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": reason}}}]}}))
            .expect("a pod");
            assert_eq!(waiting_reason(&pod, "c"), said);
        }
    }
}
