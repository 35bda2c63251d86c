//! Services get no new `externalIPs`: whoever sets them takes over others' traffic. Off by default.
//!
//! **Upstream**: `plugin/pkg/admission/denyserviceexternalips`.

use super::refusal::{forbidden, is_about};
use super::{Attributes, Operation, Plugin};
use api::status::Status;
use serde_json::Value;

/// The plugin.
pub(super) struct DenyServiceExternalIPs;

impl Plugin for DenyServiceExternalIPs {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, service: Option<&Value>) -> Result<(), Status> {
        let Some(service) = service.filter(|_| is_about(attributes, "", "services")) else { return Ok(()) };
        let old = attributes.old.filter(|_| attributes.operation == Operation::Update);
        let known = old.and_then(|old| old["spec"]["externalIPs"].as_array());
        let mut addresses = service["spec"]["externalIPs"].as_array().into_iter().flatten();
        if addresses.all(|address| known.is_some_and(|known| known.contains(address))) {
            return Ok(());
        }
        Err(forbidden(attributes, Some(service), "Use of external IPs is denied by admission control"))
    }
}
