//! Makes sure that a container's image is there, by its pull policy.
//!
//! **Contract**: returns the image's id, or why the container waits. Failed pulls are held back per image.
//! **Upstream**: `pkg/kubelet/images/image_manager.go`, reasons and texts included.

use crate::backoff::Backoff;
use crate::pod_status::Waiting;
use api::k8s_openapi::api::core::v1::Container;
use component_base::Clock;
use jiff::{SignedDuration, Timestamp};
use runtime::{Error, ImageService};
use std::sync::Mutex;

/// How long a pod shows the pull's error before it shows that it is held back.
const SHOW_ERROR: SignedDuration = SignedDuration::from_secs(2);

/// Shared by all pods of a node: the image service and who is held back.
pub(crate) struct Images {
    service: std::sync::Arc<dyn ImageService>,
    backoff: Mutex<Backoff>,
    clock: Clock,
}

/// An event about an image, for the pod's recorder.
pub(crate) type Tell<'a> = &'a (dyn Fn(EventKind, &str, &str) + Send + Sync);

/// Whether an event is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Normal,
    Warning,
}

/// Why there is no image, and when to try again.
#[derive(Debug)]
pub(crate) struct Unavailable {
    pub(crate) waiting: Waiting,
    pub(crate) retry_at: Option<Timestamp>,
}

/// What a pull policy and the presence of the image ask for.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Pull,
    Never,
}

fn need(policy: &str, present: bool) -> Need {
    match (policy, present) {
        ("Always", _) | ("IfNotPresent", false) => Need::Pull,
        ("Never", false) => Need::Never,
        _ => Need::Nothing,
    }
}

impl Images {
    pub(crate) fn new(service: std::sync::Arc<dyn ImageService>, clock: Clock) -> Self {
        Self { service, backoff: Mutex::new(Backoff::kubelet()), clock }
    }

    /// The id of the container's image; pulls it if the policy wants that.
    pub(crate) async fn ensure(
        &self,
        pod_uid: &str,
        container: &Container,
        tell: Tell<'_>,
    ) -> Result<String, Unavailable> {
        let image = container.image.as_deref().unwrap_or_default();
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let fail =
            |reason, message: String| Unavailable { waiting: Waiting { reason, message }, retry_at: None };
        let present = match self.service.image_status(image).await {
            Ok(present) => present,
            Err(error @ Error::InvalidImageName { .. }) => {
                let message = format!("Failed to apply default image tag {image:?}: {error}");
                tell(EventKind::Warning, "InspectFailed", &message);
                tell(EventKind::Warning, "Failed", "Error: InvalidImageName");
                return Err(fail("InvalidImageName", message));
            }
            Err(error) => {
                let message = format!("Failed to inspect image {image:?}: {error}");
                tell(EventKind::Warning, "Failed", &message);
                return Err(fail("ImageInspectError", message));
            }
        };
        match need(policy, present.is_some()) {
            Need::Nothing => {
                let message = format!("Container image {image:?} already present on machine");
                tell(EventKind::Normal, "Pulled", &message);
                return Ok(present.map(|i| i.id.to_string()).unwrap_or_default());
            }
            Need::Never => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                tell(EventKind::Warning, "ErrImageNeverPull", &message);
                return Err(fail("ErrImageNeverPull", message));
            }
            Need::Pull => {}
        }
        self.pull(pod_uid, image, tell).await
    }

    async fn pull(&self, pod_uid: &str, image: &str, tell: Tell<'_>) -> Result<String, Unavailable> {
        let key = format!("{pod_uid}_{image}");
        let now = self.clock.now();
        let held = self.locked().held_until(&key, now);
        if let Some(until) = held {
            let message = format!("Back-off pulling image {image:?}");
            tell(EventKind::Normal, "BackOff", &message);
            tell(EventKind::Warning, "Failed", "Error: ImagePullBackOff");
            return Err(Unavailable {
                waiting: Waiting { reason: "ImagePullBackOff", message },
                retry_at: Some(until),
            });
        }
        tell(EventKind::Normal, "Pulling", &format!("Pulling image {image:?}"));
        let started = self.clock.instant();
        let pulled = self.service.pull_image(image, None).await;
        match pulled {
            Ok(id) => {
                self.locked().reset(&key);
                let size = match self.service.image_status(id.as_str()).await {
                    Ok(Some(image)) => image.size,
                    _ => 0,
                };
                let took = format!("{}ms", started.elapsed().as_millis());
                let message = format!(
                    "Successfully pulled image {image:?} in {took} ({took} including waiting). \
                     Image size: {size} bytes."
                );
                tell(EventKind::Normal, "Pulled", &message);
                Ok(id.to_string())
            }
            Err(error) => {
                let now = self.clock.now();
                self.locked().next(&key, now, now);
                let retry_at = Some(now + SHOW_ERROR);
                let reason = match error {
                    Error::RegistryUnavailable { .. } => "RegistryUnavailable",
                    Error::InvalidImageName { .. } => "InvalidImageName",
                    _ => "ErrImagePull",
                };
                let message = error.to_string();
                tell(EventKind::Warning, "Failed", &format!("Failed to pull image {image:?}: {message}"));
                tell(EventKind::Warning, "Failed", &format!("Error: {reason}"));
                Err(Unavailable { waiting: Waiting { reason, message }, retry_at })
            }
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_decide_as_documented() {
        for (policy, present, expected) in [
            ("Always", true, Need::Pull),
            ("Always", false, Need::Pull),
            ("IfNotPresent", true, Need::Nothing),
            ("IfNotPresent", false, Need::Pull),
            ("Never", true, Need::Nothing),
            ("Never", false, Need::Never),
        ] {
            assert_eq!(need(policy, present), expected, "{policy} {present}");
        }
    }
}
