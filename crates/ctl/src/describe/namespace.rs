//! The description of a namespace, with its quotas and limits.

use serde_json::Value;

use super::workloads::described;
use super::{Describe, conditions, items, limits, text};
use crate::report::Error;

/// The namespace's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let name = text(&object["metadata"], "name");
    let mut out = format!("Name:\t{name}\n{}", described(object));
    out += &format!("Status:\t{}\n", text(&object["status"], "phase"));
    out += &conditions(describe, &object["status"]);
    for collection in ["resourcequotas", "limitranges"] {
        let path = format!("/api/v1/namespaces/{name}/{collection}");
        match describe.context.connection().await?.pages(&path, "", "", "500").await {
            Ok(pages) => {
                let all: Vec<Value> = pages.iter().flat_map(|page| items(page, "items")).cloned().collect();
                let shown = match collection {
                    "limitranges" => limits::limit_ranges(&all),
                    _ => limits::quotas(&all),
                };
                out += &format!("\n{shown}");
            }
            // Nothing is said of a kind that the server does not have.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(out)
}
