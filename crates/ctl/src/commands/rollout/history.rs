//! `rollout history`: the revisions that are still there, and the template of one of them.

use api::selector::LabelSelector;
use clap::ArgMatches;
use serde_json::Value;

use super::super::Context;
use crate::describe::{self, Describe};
use crate::output::name;
use crate::output::tabwriter::TabWriter;
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::selection::{self, Change, Selected};
use crate::three_way;

const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// One revision.
pub(super) struct Revision {
    pub(super) number: i64,
    /// The ReplicaSet or ControllerRevision.
    pub(super) record: Value,
    /// The pod template of that time.
    pub(super) template: Value,
}

pub(super) async fn run(
    context: &Context,
    matches: &ArgMatches,
    change: &Change,
    found: Vec<Selected>,
    mut errors: Vec<Error>,
) -> Result<(), Error> {
    let wanted = matches.get_one::<i64>("revision").copied().unwrap_or(0);
    if wanted < 0 {
        return Err(message(format!("revision must be a positive integer: {wanted}")));
    }
    for selected in &found {
        if let Err(error) = show(context, change, selected, wanted).await {
            errors.push(error);
        }
    }
    Error::from_many(errors)
}

async fn show(context: &Context, change: &Change, selected: &Selected, wanted: i64) -> Result<(), Error> {
    let revisions = of(context, selected, "history viewer").await?;
    let one = revisions.iter().find(|revision| revision.number == wanted);
    if wanted > 0 && one.is_none() && !revisions.is_empty() {
        return Err(message("unable to find the specified revision"));
    }
    if !change.is_human() {
        for revision in revisions.iter().filter(|revision| wanted == 0 || revision.number == wanted) {
            change.print_bare(context, &mut revision.record.clone(), "")?;
        }
        return Ok(());
    }
    let text = match one {
        Some(revision) => template_text(context, selected, &revision.template),
        None if revisions.is_empty() => "No rollout history found.".to_owned(),
        None => {
            let mut table = "REVISION\tCHANGE-CAUSE\n".to_owned();
            for revision in &revisions {
                let cause = &revision.record["metadata"]["annotations"][CHANGE_CAUSE];
                let cause = cause.as_str().filter(|text| !text.is_empty()).unwrap_or("<none>");
                table += &format!("{}\t{cause}\n", revision.number);
            }
            TabWriter::describe().align(&table)
        }
    };
    let with = if wanted > 0 { format!("with revision #{wanted}") } else { String::new() };
    context.terminal.out(&format!("{} {with}\n{text}\n", name::of(&selected.object)))
}

/// A template as `describe` lays it out, with its tabs as they are.
pub(super) fn template_text(context: &Context, selected: &Selected, template: &Value) -> String {
    let describe = Describe { context, resource: &selected.target.resource, show_events: false };
    describe::pod_template::text(&describe, template)
}

/// The revisions of an object, oldest first.
pub(super) async fn of(context: &Context, selected: &Selected, what: &str) -> Result<Vec<Revision>, Error> {
    let resource = &selected.target.resource;
    let (records, plural) = match (resource.group.as_str(), resource.kind.as_str()) {
        ("apps", "Deployment") => ("ReplicaSet", "replicasets"),
        ("apps", "DaemonSet" | "StatefulSet") => ("ControllerRevision", "controllerrevisions"),
        _ => {
            let kind = name::with_group(&resource.kind, &resource.group);
            return Err(message(format!("no {what} has been implemented for {kind:?}")));
        }
    };
    let object = &selected.object;
    let selector = LabelSelector::from_json(&object["spec"]["selector"]).map_err(message)?.to_string();
    let mut place = selected.target.resource.clone();
    (place.name, place.kind) = (plural.to_owned(), records.to_owned());
    let target = Target { resource: place, name: None, ..selected.target.clone() };
    let mut revisions = Vec::new();
    for one in selection::list(context, &target, &selector, "").await? {
        let record = one.object;
        let owners = record["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        if !owners
            .into_iter()
            .any(|owner| owner["controller"] == true && owner["uid"] == object["metadata"]["uid"])
        {
            continue;
        }
        let (number, template) = match records {
            "ReplicaSet" => {
                let text = record["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
                (text.and_then(|text| text.parse().ok()), record["spec"]["template"].clone())
            }
            _ => (record["revision"].as_i64(), template_of(&record["data"])),
        };
        if let Some(number) = number {
            revisions.push(Revision { number, record, template });
        }
    }
    revisions.sort_by_key(|revision| revision.number);
    Ok(revisions)
}

/// The template in a ControllerRevision's data, which is a patch that replaces it.
fn template_of(data: &Value) -> Value {
    let mut template = data["spec"]["template"].clone();
    if let Some(map) = template.as_object_mut() {
        map.shift_remove("$patch");
    }
    template
}

/// Whether two templates are the same but for the hash that a controller puts into them.
pub(super) fn same_template(left: &Value, right: &Value) -> bool {
    let plain = |template: &Value| {
        let mut template = template.clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.shift_remove("pod-template-hash");
        }
        template
    };
    let (left, right) = (plain(left), plain(right));
    three_way::patch(&left, &right, &left, None) == serde_json::json!({})
        && three_way::patch(&right, &left, &right, None) == serde_json::json!({})
}
