//! Makes sure that a container's image is there, by its pull policy.
//!
//! **Contract**: returns the image's id, or why the container waits. Failed pulls are held back per image.
//! **Upstream**: `pkg/kubelet/images/image_manager.go`, reasons and texts included.

use crate::backoff::{Backoff, go_duration};
use crate::ledger::{Ledger, PullSecret};
use crate::pod_status::Waiting;
use crate::pull_secrets::{Credential, credentials};
use api::k8s_openapi::api::core::v1::{Container, Secret};
use component_base::Clock;
use jiff::{SignedDuration, Timestamp};
use runtime::{Error, ImageId, ImageService};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// How long a pod shows the pull's error before it shows that it is held back.
const SHOW_ERROR: SignedDuration = SignedDuration::from_secs(2);

/// Shared by all pods of a node: the image service and who is held back.
pub(crate) struct Images {
    service: std::sync::Arc<dyn ImageService>,
    failures: Mutex<Failures>,
    clock: Clock,
    ledger: Ledger,
}

/// By pod and image.
struct Failures {
    backoff: Backoff,
    /// What the last failed pull said, with its reason.
    said: HashMap<String, String>,
}

/// An event about an image, for the pod's recorder.
pub(crate) type Tell<'a> = &'a (dyn Fn(EventKind, &str, &str) + Send + Sync);

/// Whether an event is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Normal,
    Warning,
}

/// An image and its pull policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) image: &'a str,
    pub(crate) policy: &'a str,
}

impl<'a> From<&'a Container> for Wanted<'a> {
    fn from(container: &'a Container) -> Self {
        Self {
            image: container.image.as_deref().unwrap_or_default(),
            policy: container.image_pull_policy.as_deref().unwrap_or("IfNotPresent"),
        }
    }
}

/// Why there is no image, and when to try again.
#[derive(Debug)]
pub(crate) struct Unavailable {
    pub(crate) waiting: Waiting,
    pub(crate) retry_at: Option<Timestamp>,
}

/// What a pull policy asks for, and whether the pod may use an image that is here. One that it may not use is as one that is
/// not here, so that nobody learns of it.
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
    pub(crate) fn new(service: std::sync::Arc<dyn ImageService>, clock: Clock, ledger: Ledger) -> Self {
        let failures = Failures { backoff: Backoff::kubelet(), said: HashMap::new() };
        Self { service, failures: Mutex::new(failures), clock, ledger }
    }

    /// What is known of an image that is present.
    pub(crate) async fn status(&self, image: &str) -> runtime::Result<Option<runtime::Image>> {
        self.service.image_status(image).await
    }

    /// The images that this node has pulled.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// All images of the engine.
    pub(crate) async fn list(&self) -> runtime::Result<Vec<runtime::Image>> {
        self.service.list_images().await
    }

    /// Writes the files of an image into a folder.
    pub(crate) async fn unpack(&self, image: &ImageId, into: &Path) -> runtime::Result<()> {
        self.service.unpack_image(image, into).await
    }

    /// Removes an image that nothing uses.
    pub(crate) async fn remove(&self, id: &str) -> runtime::Result<()> {
        self.service.remove_image(id).await
    }

    /// Forgets what failed for a pod that is gone.
    pub(crate) fn forget(&self, pod_uid: &str) {
        let mut failures = self.locked();
        failures.backoff.forget(pod_uid);
        failures.said.retain(|key, _| !key.starts_with(pod_uid));
    }

    /// The image's id; pulls it if the policy wants that.
    pub(crate) async fn ensure(
        &self,
        pod_uid: &str,
        wanted: Wanted<'_>,
        secrets: &[Arc<Secret>],
        tell: Tell<'_>,
    ) -> Result<String, Unavailable> {
        let image = self.present_or_pulled(pod_uid, wanted, secrets, tell).await;
        if let Ok(id) = &image {
            self.ledger.used(id, self.clock.now());
        }
        if let Err(Unavailable { waiting, .. }) = &image {
            tell(EventKind::Warning, "Failed", &format!("Error: {}", waiting.reason));
        }
        image
    }

    async fn present_or_pulled(
        &self,
        pod_uid: &str,
        Wanted { image, policy }: Wanted<'_>,
        secrets: &[Arc<Secret>],
        tell: Tell<'_>,
    ) -> Result<String, Unavailable> {
        let fail = |event: &str, reason, message: String| {
            tell(EventKind::Warning, event, &message);
            Err(Unavailable { waiting: Waiting { reason, message }, retry_at: None })
        };
        let present = match self.service.image_status(image).await {
            Ok(present) => present,
            Err(error @ Error::InvalidImageName { .. }) => {
                let message = format!("Failed to apply default image tag {image:?}: {error}");
                return fail("InspectFailed", "InvalidImageName", message);
            }
            Err(error) => {
                let message = format!("Failed to inspect image {image:?}: {error}");
                return fail("InspectFailed", "ImageInspectError", message);
            }
        };
        let credentials = credentials(image, secrets);
        let sources: Vec<PullSecret> =
            credentials.iter().map(|credential| credential.secret.clone()).collect();
        let present = present.filter(|present| self.ledger.is_for(present.id.as_str(), image, &sources));
        match need(policy, present.is_some()) {
            Need::Nothing => {
                let message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                tell(EventKind::Normal, "Pulled", &message);
                Ok(present.map(|i| i.id.to_string()).unwrap_or_default())
            }
            Need::Never => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                fail("ErrImageNeverPull", "ErrImageNeverPull", message)
            }
            Need::Pull => self.pull(pod_uid, image, &credentials, tell).await,
        }
    }

    async fn pull(
        &self,
        pod_uid: &str,
        image: &str,
        credentials: &[Credential],
        tell: Tell<'_>,
    ) -> Result<String, Unavailable> {
        let key = format!("{pod_uid}_{image}");
        let held = {
            let failures = self.locked();
            let said = failures.said.get(&key).cloned().unwrap_or_default();
            failures.backoff.held_until(&key, self.clock.now()).map(|until| (until, said))
        };
        if let Some((until, said)) = held {
            let message = format!("Back-off pulling image {image:?}");
            tell(EventKind::Normal, "BackOff", &message);
            let waiting = Waiting { reason: "ImagePullBackOff", message: format!("{message}: {said}") };
            return Err(Unavailable { waiting, retry_at: Some(until) });
        }
        tell(EventKind::Normal, "Pulling", &format!("Pulling image {image:?}"));
        let started = self.clock.instant();
        let under_way = self.ledger.begin(image);
        let pulled = self.pull_with(image, credentials).await;
        if let Ok((id, by)) = &pulled {
            self.ledger.pulled(id.as_str(), image, by.map(|credential| &credential.secret), self.clock.now());
        }
        drop(under_way);
        match pulled {
            Ok((id, _)) => {
                {
                    let mut failures = self.locked();
                    failures.backoff.reset(&key);
                    failures.said.remove(&key);
                }
                let size = match self.service.image_status(id.as_str()).await {
                    Ok(Some(image)) => image.size,
                    _ => 0,
                };
                let took = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
                let took = go_duration(SignedDuration::from_millis(took));
                let message = format!(
                    "Successfully pulled image {image:?} in {took} ({took} including waiting). \
                     Image size: {size} bytes."
                );
                tell(EventKind::Normal, "Pulled", &message);
                Ok(id.to_string())
            }
            Err(error) => {
                let now = self.clock.now();
                let reason = match error {
                    Error::RegistryUnavailable { .. } => "RegistryUnavailable",
                    Error::InvalidImageName { .. } => "InvalidImageName",
                    _ => "ErrImagePull",
                };
                let message = error.to_string();
                {
                    let mut failures = self.locked();
                    failures.backoff.next(&key, now, now);
                    failures.said.insert(key, format!("{reason}: {message}"));
                }
                tell(EventKind::Warning, "Failed", &format!("Failed to pull image {image:?}: {message}"));
                Err(Unavailable { waiting: Waiting { reason, message }, retry_at: Some(now + SHOW_ERROR) })
            }
        }
    }

    /// Pulls with the first credentials that the registry takes, and says which; without any, as nobody in particular.
    async fn pull_with<'a>(
        &self,
        image: &str,
        credentials: &'a [Credential],
    ) -> runtime::Result<(ImageId, Option<&'a Credential>)> {
        let with = async |credential: Option<&'a Credential>| {
            let auth = credential.map(|credential| &credential.auth);
            self.service.pull_image(image, auth).await.map(|id| (id, credential))
        };
        let Some((last, others)) = credentials.split_last() else { return with(None).await };
        for credential in others {
            if let Ok(pulled) = with(Some(credential)).await {
                return Ok(pulled);
            }
        }
        with(Some(last)).await
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
