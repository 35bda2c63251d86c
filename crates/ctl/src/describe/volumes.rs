//! A pod's volumes.

use serde_json::Value;

use super::sources::{self, Of};
use super::{items, text};

/// `Volumes:`
pub(super) fn section(pod: &Value) -> String {
    let all = items(&pod["spec"], "volumes");
    if all.is_empty() {
        return "Volumes:\t<none>\n".to_owned();
    }
    let mut out = "Volumes:\n".to_owned();
    for volume in all {
        out += &format!("  {}:\n", text(volume, "name"));
        out += &sources::lines(volume, Of::Pod).unwrap_or_else(|| "  <unknown>\n".to_owned());
    }
    out
}
