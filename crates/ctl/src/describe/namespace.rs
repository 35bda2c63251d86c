//! The description of a namespace without quotas and limits; one with them is described as any other object.

use serde_json::Value;

use super::{Describe, annotations, generic, labels, text};
use crate::connection::JSON;
use crate::report::Error;

/// The namespace's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let metadata = &object["metadata"];
    let name = text(metadata, "name");
    let connection = describe.context.connection().await?;
    let mut none = String::new();
    for (collection, line) in
        [("resourcequotas", "\nNo resource quota.\n"), ("limitranges", "\nNo LimitRange resource.\n")]
    {
        let path = format!("/api/v1/namespaces/{name}/{collection}?limit=500");
        let empty = match connection.get(&path, JSON).await {
            Ok(list) => {
                none += line;
                list["items"].as_array().is_none_or(Vec::is_empty)
            }
            // Nothing is said of a kind that the server does not have.
            Err(error) if error.is_not_found() => true,
            Err(error) => return Err(error),
        };
        if !empty {
            return generic::describe(describe, object).await;
        }
    }
    let mut out = format!("Name:\t{name}\n");
    out += &labels("Labels", &metadata["labels"]);
    out += &annotations(&metadata["annotations"]);
    out += &format!("Status:\t{}\n", text(&object["status"], "phase"));
    Ok(out + &none)
}
