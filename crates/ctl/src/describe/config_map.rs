//! The description of a config map: its values in full.

use serde_json::Value;

use super::{Describe, annotations, decoded_length, events, labels, text};
use crate::output::json::sorted;
use crate::report::Error;

/// The config map's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let metadata = &object["metadata"];
    let mut out = format!("Name:\t{}\nNamespace:\t{}\n", text(metadata, "name"), text(metadata, "namespace"));
    out += &labels("Labels", &metadata["labels"]);
    out += &annotations(&metadata["annotations"]);
    out += "\nData\n====\n";
    for (key, value) in object["data"].as_object().map(sorted).unwrap_or_default() {
        out += &format!("{key}:\n----\n{}\n\n", value.as_str().unwrap_or(""));
    }
    out += "\nBinaryData\n====\n";
    for (key, value) in object["binaryData"].as_object().map(sorted).unwrap_or_default() {
        out += &format!("{key}: {} bytes\n", decoded_length(value.as_str().unwrap_or("")));
    }
    out.push('\n');
    out += &events::section(describe, object, &[text(metadata, "uid")]).await;
    Ok(out)
}
