//! The description of a service account.

use serde_json::Value;

use super::{Describe, annotations, column, events, items, labels, text};
use crate::report::Error;

/// The service account's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let metadata = &object["metadata"];
    let mut out = format!("Name:\t{}\nNamespace:\t{}\n", text(metadata, "name"), text(metadata, "namespace"));
    out += &labels("Labels", &metadata["labels"]);
    out += &annotations(&metadata["annotations"]);
    let secrets: Vec<String> =
        items(object, "imagePullSecrets").iter().map(|one| text(one, "name").to_owned()).collect();
    out += &column("Image pull secrets", &secrets);
    out += &events::section(describe, object, &[text(metadata, "uid")]).await;
    Ok(out)
}
