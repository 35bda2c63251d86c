//! The description of a priority class.

use serde_json::Value;

use super::{Describe, events, text};
use crate::output::table::format_labels;
use crate::report::Error;

/// The priority class's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let metadata = &object["metadata"];
    let mut out = format!("Name:\t{}\n", text(metadata, "name"));
    out += &format!("Value:\t{}\n", object["value"].as_i64().unwrap_or(0));
    out += &format!("GlobalDefault:\t{}\n", object["globalDefault"].as_bool().unwrap_or(false));
    out += &format!("PreemptionPolicy:\t{}\n", text(object, "preemptionPolicy"));
    out += &format!("Description:\t{}\n", text(object, "description"));
    out += &format!("Annotations:\t{}\n", format_labels(&metadata["annotations"]));
    out += &events::section(describe, object, &[text(metadata, "uid")]).await;
    Ok(out)
}
