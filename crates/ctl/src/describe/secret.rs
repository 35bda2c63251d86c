//! The description of a secret: the sizes of its values, never the values.

use serde_json::Value;

use super::{Describe, annotations, decoded_length, labels, text};
use crate::output::json::sorted;
use crate::report::Error;

/// The secret's text.
pub(super) async fn describe(_: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let metadata = &object["metadata"];
    let mut out = format!("Name:\t{}\nNamespace:\t{}\n", text(metadata, "name"), text(metadata, "namespace"));
    out += &labels("Labels", &metadata["labels"]);
    out += &annotations(&metadata["annotations"]);
    out += &format!("\nType:\t{}\n\nData\n====\n", text(object, "type"));
    for (key, value) in object["data"].as_object().map(sorted).unwrap_or_default() {
        out += &format!("{key}:\t{} bytes\n", decoded_length(value.as_str().unwrap_or("")));
    }
    Ok(out)
}
