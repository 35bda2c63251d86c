//! What controllers of pods share: whose pods they are, making and deleting them, when they are available, revisions.
//!
//! **Contract**: after its writes a controller waits until its informer shows them ([`client::Informer::caught_up`]);
//! so the next look at the same key never decides on a state that it has changed itself. That takes the place of
//! upstream's expectations.
//! **Not here**: what a controller decides (`controllers/<name>/plan.rs`).
//! **Upstream**: `pkg/controller/controller_utils.go`, `controller_ref_manager.go`, `history`.

pub(crate) mod availability;
pub(crate) mod fit;
pub(crate) mod hash;
pub(crate) mod owned;
pub(crate) mod pod_control;
pub(crate) mod revisions;
pub(crate) mod scaled;

use crate::error::code;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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

/// `metav1.Time` has whole seconds.
pub(crate) fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
