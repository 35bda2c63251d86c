//! `set selector`: of a Service.

use clap::Arg;
use serde_json::{Value, json};

use super::Set;
use crate::cli::{self, DryRun, value, values};
use crate::commands::create::policy::label_selector;
use crate::connection::MERGE_PATCH;
use crate::report::{Error, message};

pub(super) fn flags() -> Vec<Arg> {
    vec![cli::text(
        "resource-version",
        "If non-empty, the selectors update will only succeed if this is the current resource-version for the object. Only valid when specifying a single resource.",
    )]
}

pub(super) async fn run(set: &Set<'_>) -> Result<(), Error> {
    let mut resources = values(set.matches, "arguments");
    let Some(text) = resources.pop() else { return Err(message("one selector is required")) };
    let selector = label_selector(&text)?;
    let (found, mut errors) = set.objects(resources).await?;
    let version = value(set.matches, "resource-version");
    for selected in &found {
        if selected.object["kind"] != "Service" {
            errors.push(message("setting a selector is only supported for Services"));
            continue;
        }
        if !selector["matchExpressions"].is_null() {
            let shown = expressions(&selector["matchExpressions"]);
            errors.push(message(format!("match expression {shown} not supported on this object")));
            continue;
        }
        let wanted = selector["matchLabels"].as_object().cloned().unwrap_or_default();
        let mut changed = selected.object.clone();
        changed["spec"]["selector"] = wanted.clone().into();
        // What is there and is not wanted goes.
        let mut labels: serde_json::Map<String, Value> = wanted;
        for key in selected.object["spec"]["selector"].as_object().into_iter().flatten().map(|(key, _)| key) {
            labels.entry(key.clone()).or_insert(Value::Null);
        }
        let mut patch = json!({"spec": {"selector": labels}});
        if !version.is_empty() {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        let sent = if set.local || set.change.dry_run == DryRun::Client {
            Ok(changed)
        } else {
            set.change.patch(set.context, selected, MERGE_PATCH, &patch).await
        };
        match sent {
            Ok(mut object) => set.change.print(set.context, &mut object, "selector updated")?,
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}

/// Requirements as Go shows them: `[{a In [b]}]`.
fn expressions(all: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let one = |one: &Value| {
        let values: Vec<String> = one["values"].as_array().into_iter().flatten().map(text).collect();
        format!("{{{} {} [{}]}}", text(&one["key"]), text(&one["operator"]), values.join(" "))
    };
    format!("[{}]", all.as_array().into_iter().flatten().map(one).collect::<Vec<_>>().join(" "))
}
