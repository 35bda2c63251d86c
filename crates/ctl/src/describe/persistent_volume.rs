//! The description of a persistent volume.

use serde_json::Value;

use super::sources::{self, Of};
use super::storage::{class_of, list, modes, phase, terms};
use super::workloads::{described, recorded};
use super::{Describe, items, text};
use crate::report::Error;

/// The volume's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let mut out = format!("Name:\t{}\n{}", text(metadata, "name"), described(object));
    out += &format!("Finalizers:\t{}\n", list(&metadata["finalizers"]));
    out += &format!("StorageClass:\t{}\n", class_of(object));
    out += &phase(describe, object);
    let claim = &spec["claimRef"];
    out += &match claim.is_object() {
        true => format!("Claim:\t{}/{}\n", text(claim, "namespace"), text(claim, "name")),
        false => "Claim:\t\n".to_owned(),
    };
    out += &format!("Reclaim Policy:\t{}\n", text(spec, "persistentVolumeReclaimPolicy"));
    out += &format!("Access Modes:\t{}\n", modes(&spec["accessModes"]));
    if let Some(mode) = spec["volumeMode"].as_str() {
        out += &format!("VolumeMode:\t{mode}\n");
    }
    out += &format!("Capacity:\t{}\n", spec["capacity"]["storage"].as_str().unwrap_or("0"));
    out += &affinity(&spec["nodeAffinity"]["required"]);
    out += &format!("Message:\t{}\nSource:\n", text(status, "message"));
    out += &sources::lines(spec, Of::Volume).unwrap_or_else(|| "  <unknown>\n".to_owned());
    Ok(out + &recorded(describe, object).await)
}

/// The nodes that a volume can be used on.
fn affinity(required: &Value) -> String {
    if !required.is_object() {
        return "Node Affinity:\t<none>\n".to_owned();
    }
    let all = items(required, "nodeSelectorTerms");
    if all.is_empty() {
        return "Node Affinity:\t\n  Required Terms:\t<none>\n".to_owned();
    }
    format!("Node Affinity:\t\n  Required Terms:\t\n{}", terms(all, "matchExpressions", "    "))
}
