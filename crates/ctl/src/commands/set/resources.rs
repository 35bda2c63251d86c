//! `set resources`

use clap::Arg;
use serde_json::json;

use super::Set;
use super::containers::{matching, pod_spec};
use crate::cli::{self, value, values};
use crate::commands::create::policy::amounts;
use crate::report::{Error, message};

pub(super) fn flags() -> Vec<Arg> {
    vec![
        cli::text("containers", "The names of containers in the selected pod templates to change, all containers are selected by default - may use wildcards")
            .short('c')
            .default_value("*"),
        cli::text("limits", "The resource requirement limits for this container.  For example, 'cpu=100m,memory=256Mi'."),
        cli::text("requests", "The resource requirement requests for this container.  For example, 'cpu=100m,memory=256Mi'."),
    ]
}

pub(super) async fn run(set: &Set<'_>) -> Result<(), Error> {
    let (limits, requests) = (value(set.matches, "limits"), value(set.matches, "requests"));
    let pattern = value(set.matches, "containers");
    let (found, errors) = set.objects(values(set.matches, "arguments")).await?;
    set.check()?;
    if limits.is_empty() && requests.is_empty() {
        return Err(message(
            "you must specify an update to requests or limits (in the form of --requests/--limits)",
        ));
    }
    let wanted = [("limits", amounts(limits)?), ("requests", amounts(requests)?)];
    set.apply(
        found,
        errors,
        "resource requirements updated",
        "failed to patch resources update to pod template ",
        |object, errors| {
            let mut containers = matching(pod_spec(object)?, pattern);
            if containers.is_empty() {
                errors.push(message(format!("error: unable to find container named {pattern}")));
            }
            for container in &mut containers {
                for (field, amounts) in &wanted {
                    for (name, amount) in amounts {
                        if !container["resources"].is_object() {
                            container["resources"] = json!({});
                        }
                        if !container["resources"][*field].is_object() {
                            container["resources"][*field] = json!({});
                        }
                        container["resources"][*field][name] = amount.clone();
                    }
                }
            }
            Ok(())
        },
    )
    .await
}
