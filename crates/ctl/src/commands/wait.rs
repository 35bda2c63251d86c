//! `wait`: until objects are there, gone, or have a condition or a value.
//!
//! **Contract.** A wait is a list and a watch of the one name; all objects share one deadline.
//! **Upstream.** `kubectl/pkg/cmd/wait` (behaviour).

use std::time::Duration;

use clap::ArgMatches;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, with_query};
use crate::duration;
use crate::manifests::Sources;
use crate::output::{jsonpath, name};
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "wait", build, run: |context, matches| Box::pin(run(context, matches)) };

/// What a negative timeout stands for.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Wait for a specific condition on one or many resources")
        .arg(cli::arguments("([-f FILENAME] | resource.group/resource.name | resource.group [(-l label | --all)])"))
        .args(cli::without(selection::flags(), &["kustomize"]))
        .arg(selection::local_flag("annotation"))
        .args(selection::print_flags())
        .arg(cli::text("for", "The condition to wait on: [create|delete|condition=condition-name[=condition-value]|jsonpath='{JSONPath expression}'=[JSONPath value]]"))
        .arg(cli::text("timeout", "The length of time to wait before giving up. Zero means check once and don't wait, negative means wait for a week").default_value("30s"))
}

/// What is waited for.
enum Condition {
    Created,
    Deleted,
    Status { name: String, wanted: String },
    Path { template: jsonpath::Template, wanted: Option<String> },
}

impl Condition {
    fn parse(text: &str) -> Result<Self, Error> {
        let lower = text.to_lowercase();
        if lower == "delete" {
            return Ok(Self::Deleted);
        }
        if lower == "create" {
            return Ok(Self::Created);
        }
        if let Some(rest) = text.strip_prefix("condition=") {
            let (name, wanted) = rest.split_once('=').unwrap_or((rest, "true"));
            return Ok(Self::Status { name: name.to_owned(), wanted: wanted.to_owned() });
        }
        let Some(rest) = text.strip_prefix("jsonpath=") else {
            return Err(message(match text {
                "" => "unrecognized condition: []".to_owned(),
                _ => format!("unrecognized condition: {text:?}"),
            }));
        };
        let quotes = ['\'', '"'];
        let (path, wanted) = match rest.rfind("}=").or_else(|| rest.rfind("}'=")) {
            Some(end) => (&rest[..=end], rest[end + 1..].split_once('=').map(|(_, wanted)| wanted)),
            None => (rest, None),
        };
        let path = path.trim_matches(quotes);
        let wanted = wanted.map(|wanted| wanted.trim_matches(quotes).to_owned());
        if wanted.as_deref() == Some("") {
            return Err(message("jsonpath wait value cannot be empty"));
        }
        let path = if path.starts_with('{') { path.to_owned() } else { format!("{{{path}}}") };
        let template = jsonpath::Template::parse(&path)
            .map_err(|error| message(format!("error parsing jsonpath {path}, {error}")))?;
        Ok(Self::Path { template, wanted })
    }

    /// Whether an object is as it should be.
    fn met(&self, object: Option<&Value>) -> bool {
        match (self, object) {
            (Self::Created, object) => object.is_some(),
            (Self::Deleted, object) => object.is_none(),
            (_, None) => false,
            (Self::Status { name, wanted }, Some(object)) => {
                let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                conditions
                    .filter(|one| one["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(name)))
                    .any(|one| {
                        // What was observed of an older generation says nothing of this one.
                        let observed = one["observedGeneration"]
                            .as_i64()
                            .or(object["status"]["observedGeneration"].as_i64());
                        let stale = matches!((observed, object["metadata"]["generation"].as_i64()),
                            (Some(observed), Some(generation)) if observed < generation);
                        !stale
                            && one["status"]
                                .as_str()
                                .is_some_and(|status| status.eq_ignore_ascii_case(wanted))
                    })
            }
            (Self::Path { template, wanted }, Some(object)) => {
                let text = template.clone().allow_missing_keys(true).render(object).unwrap_or_default();
                match wanted {
                    Some(wanted) => text == *wanted,
                    None => !text.is_empty(),
                }
            }
        }
    }
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let condition = Condition::parse(value(matches, "for"))?;
    let timeout = value(matches, "timeout");
    let limit = match timeout.strip_prefix('-') {
        Some(rest) if duration::parse(rest).is_some() => WEEK,
        _ => duration::parse(timeout).ok_or_else(|| {
            message(format!(
                "invalid argument {timeout:?} for \"--timeout\" flag: time: invalid duration {timeout:?}\nSee 'kctl wait --help' for usage."
            ))
        })?,
    };
    let change = Change::of_output(matches)?;
    if matches.get_flag("local") {
        return on_file(context, matches, &condition, &change).await;
    }
    let (targets, mut errors) = selection::targets(context, matches, values(matches, "arguments")).await?;
    let mut waiting = Vec::new();
    for target in targets {
        if target.name.is_some() {
            waiting.push(target);
            continue;
        }
        let (labels, fields) = (value(matches, "selector"), value(matches, "field-selector"));
        waiting.extend(
            selection::list(context, &target, labels, fields).await?.into_iter().map(|one| one.target),
        );
    }
    if waiting.is_empty() && errors.is_empty() {
        return match condition {
            Condition::Deleted => Ok(()),
            _ => Err(message("no matching resources found")),
        };
    }
    // One limit for all of them.
    let mut expiry = std::pin::pin!(tokio::time::sleep(limit));
    for target in &waiting {
        let subject = format!("{}/{}", target.resource.name, target.name.as_deref().unwrap_or(""));
        let waited = wait(context, target, &condition, limit.is_zero());
        let result = if limit.is_zero() {
            waited.await
        } else {
            tokio::select! {
                biased;
                result = waited => result,
                () = &mut expiry => Err(message(format!("timed out waiting for the condition on {subject}"))),
            }
        };
        match result {
            Ok(Some(mut object)) => change.print_bare(context, &mut object, "condition met")?,
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}

/// The objects of files as they are written: nothing about them will ever change.
async fn on_file(
    context: &Context,
    matches: &ArgMatches,
    condition: &Condition,
    change: &Change,
) -> Result<(), Error> {
    if !values(matches, "arguments").is_empty() {
        return Err(message(selection::LOCAL_WITHOUT_FILES));
    }
    if !Sources::given(matches) {
        return Err(message(selection::NOTHING_NAMED));
    }
    let (found, mut errors) = selection::local(context, matches).await?;
    for mut selected in found {
        if condition.met(Some(&selected.object)) {
            change.print_bare(context, &mut selected.object, "condition met")?;
        } else {
            let kind = name::of(&selected.object);
            errors.push(message(format!("condition not met for {kind}")));
        }
    }
    Error::from_many(errors)
}

/// Asks whether something about an object is `done`, now and whenever the object changes, until it is.
pub(super) async fn until<'a>(
    context: &Context,
    target: &Target,
    done: impl Fn() -> BoxFuture<'a, Result<bool, Error>>,
) -> Result<(), Error> {
    let connection = context.connection().await?;
    let collection = Target { name: None, ..target.clone() }.path();
    let selector = format!("metadata.name={}", target.name.as_deref().unwrap_or(""));
    loop {
        let list = with_query(&collection, &[("fieldSelector", selector.clone())]);
        let list = connection.get(&list, JSON).await?;
        if done().await? {
            return Ok(());
        }
        let Some(mut stream) = connection.changes_since(&list, &collection, &selector).await? else {
            continue;
        };
        while let Ok(Some(_)) = stream.event().await {
            if done().await? {
                return Ok(());
            }
        }
    }
}

/// Waits for one object and gives it as it was last seen; none where it never was.
async fn wait(
    context: &Context,
    target: &Target,
    condition: &Condition,
    once: bool,
) -> Result<Option<Value>, Error> {
    let connection = context.connection().await?;
    let collection = Target { name: None, ..target.clone() }.path();
    let name = target.name.as_deref().unwrap_or("");
    let selector = format!("metadata.name={name}");
    let mut last: Option<Value> = None;
    let needs_object = matches!(condition, Condition::Status { .. } | Condition::Path { .. });
    if needs_object {
        // A name that does not exist is an error, not something to wait for.
        connection.get(&target.path(), JSON).await?;
    }
    loop {
        let list =
            connection.get(&with_query(&collection, &[("fieldSelector", selector.clone())]), JSON).await?;
        let found = super::flatten(list.clone(), &target.resource).into_iter().next();
        if condition.met(found.as_ref()) {
            return Ok(found.or(last));
        }
        if once {
            return Err(message(format!("condition not met for {}/{name}", target.resource.name)));
        }
        if let Some(object) = found {
            last = Some(object);
        } else if needs_object {
            connection.get(&target.path(), JSON).await?;
        }
        let Some(mut stream) = connection.changes_since(&list, &collection, &selector).await? else {
            continue;
        };
        while let Ok(Some((kind, object))) = stream.event().await {
            if kind == "BOOKMARK" {
                continue;
            }
            let there = (kind != "DELETED").then_some(&object);
            if condition.met(there) {
                return Ok(Some(object));
            }
            if kind == "DELETED" && needs_object {
                return Err(connection
                    .get(&target.path(), JSON)
                    .await
                    .err()
                    .unwrap_or_else(|| message(format!("{}/{name} was replaced", target.resource.name))));
            }
            last = Some(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_are_met_by_the_current_generation() {
        let pod = json!({
            "metadata": {"generation": 2},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 2},
                {"type": "Old", "status": "True", "observedGeneration": 1},
            ]},
        });
        for (text, met) in [
            ("condition=Ready", true),
            ("condition=ready=TRUE", true),
            ("condition=Ready=false", false),
            ("condition=Old", false),
            ("condition=Nope", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Failed", false),
            ("jsonpath={.status.phase}", true),
            ("jsonpath={.status.podIP}", false),
            ("create", true),
            ("delete", false),
        ] {
            assert_eq!(Condition::parse(text).unwrap().met(Some(&pod)), met, "{text}");
        }
        assert!(Condition::parse("delete").unwrap().met(None));
        assert!(Condition::parse("x").is_err());
    }
}
