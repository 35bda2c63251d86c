//! What controllers of pods share: whose pods they are, making and deleting them, when they are available, revisions.
//!
//! **Contract**: after its writes a controller waits until its informer shows them ([`client::Informer::caught_up`]);
//! so the next look at the same key never decides on a state that it has changed itself. That takes the place of
//! upstream's expectations.
//! **Not here**: what a controller decides (`controllers/<name>/plan.rs`).
//! **Upstream**: `pkg/controller/controller_utils.go`, `controller_ref_manager.go`, `history`.

pub(crate) mod availability;
pub(crate) mod hash;
pub(crate) mod owned;
pub(crate) mod pod_control;
pub(crate) mod revisions;
pub(crate) mod scaled;

use crate::error::code;
use crate::{Error, Manager};
use client::{Informer, Key, Watched};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::serde::Serialize;
use kube::Resource;
use kube::api::{Api, PostParams};

/// A request that lost against a newer version of its object: that version's event brings the key back.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    code(error) == 409
}

/// Whether a failed create met an object of that name.
pub(crate) fn already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

/// What the server said, or else what went wrong on the way to it.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => component_base::logging::chain(other),
    }
}

/// Writes an object's status, and waits until the cache has it. Whoever was faster, or deleted the object, brings the
/// key back by that event.
pub(crate) async fn write_status<K>(
    manager: &Manager,
    informer: &Informer<K>,
    object: &K,
) -> Result<(), Error>
where
    K: Watched + Serialize + Resource<Scope = NamespaceResourceScope>,
{
    let key = Key::of(object);
    let api = Api::<K>::namespaced(manager.client.clone(), &key.namespace);
    match api.replace_status(&key.name, &PostParams::default(), object).await {
        Ok(written) => {
            informer.caught_up(written.meta().resource_version.as_deref().unwrap_or_default()).await;
            Ok(())
        }
        Err(error) if is_conflict(&error) || code(&error) == 404 => Ok(()),
        Err(error) => Err(Error::request("update the status of", format!("{} {key}", K::plural(&())))(error)),
    }
}

/// `metav1.Time` has whole seconds.
pub(crate) fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
