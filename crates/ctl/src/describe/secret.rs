//! The description of a secret: the sizes of its values, never the values (but for a service account's token).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
        let value = value.as_str().unwrap_or("");
        out += &match token(object, key, value) {
            Some(token) => format!("{key}:\t{token}\n"),
            None => format!("{key}:\t{} bytes\n", decoded_length(value)),
        };
    }
    Ok(out)
}

/// A service account's token, which is what such a secret is looked at for.
fn token(object: &Value, key: &str, value: &str) -> Option<String> {
    let is_token = key == "token" && text(object, "type") == "kubernetes.io/service-account-token";
    let token = is_token.then(|| STANDARD.decode(value).ok())??;
    Some(String::from_utf8_lossy(&token).into_owned())
}
