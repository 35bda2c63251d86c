//! What `label` and `annotate` share: `key=value` and `key-` on a map of an object's metadata.
//!
//! **Not here.** What pairs do to a map: `pairs`.

use clap::ArgMatches;
use serde_json::{Value, json};

use super::Context;
use crate::cli::{self, DryRun, value, values};
use crate::connection::MERGE_PATCH;
use crate::manifests::Sources;
use crate::output::json::sorted;
use crate::pairs::{self, Outcome, Pairs};
use crate::report::{Error, message};
use crate::selection::{self, Change, Selected};

/// A command for one of the maps.
pub(super) struct Marks {
    /// The field manager.
    pub(super) manager: &'static str,
    /// `label`, with its article, and the map's field.
    pub(super) word: &'static str,
    pub(super) article: &'static str,
    pub(super) field: &'static str,
    /// Whether the pairs may be applied to the old map; the last argument is `--overwrite`.
    pub(super) check: fn(&Context, &Change, &Pairs, &Value, bool) -> Result<(), Error>,
    /// What was done.
    pub(super) done: fn(Outcome) -> &'static str,
}

impl Marks {
    pub(super) fn build(&self, command: clap::Command) -> clap::Command {
        let Self { word, field, .. } = self;
        command
            .about(format!("Update the {field} on a resource"))
            .arg(cli::arguments("(-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N"))
            .args(selection::flags())
            .args(selection::change_flags(self.manager))
            .arg(selection::local_flag(word))
            .arg(cli::flag("list", format!("If true, display the {field} for a given resource")))
            .arg(cli::flag("overwrite", format!("If true, allow {field} to be overwritten")))
            .arg(cli::text("resource-version", format!("If non-empty, the {word} update will only succeed if this is the current resource-version for the object")))
    }

    pub(super) async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<(), Error> {
        let (resources, pairs) = pairs::split(values(matches, "arguments"), self.article)?;
        let (list, local) = (matches.get_flag("list"), matches.get_flag("local"));
        let change = Change::from_matches(matches)?;
        for other in ["selector", "field-selector"] {
            if matches.get_flag("all") && !value(matches, other).is_empty() {
                return Err(message(format!("cannot set --all and --{other} at the same time")));
            }
        }
        if local && change.dry_run == DryRun::Server {
            return Err(message(selection::LOCAL_AND_SERVER));
        }
        if local && !resources.is_empty() {
            return Err(message(
                "can only use local files by -f pod.yaml or --filename=pod.json when --local=true is set",
            ));
        }
        if !Sources::given(matches) && local {
            return Err(message("one or more files must be specified as -f pod.yaml or --filename=pod.json"));
        }
        if !Sources::given(matches) && resources.is_empty() {
            return Err(message(selection::NOTHING_GIVEN));
        }
        if pairs.is_empty() && !list {
            return Err(message(format!("at least one {} update is required", self.word)));
        }
        let (found, mut errors) = match local {
            true => selection::local(context, matches).await?,
            false => selection::select(context, matches, resources).await?,
        };
        let several = found.len() > 1;
        for selected in &found {
            if list {
                self.show(context, &selected.object, several)?;
            }
            if pairs.is_empty() {
                continue;
            }
            if let Err(error) = self.apply(context, matches, &change, selected, &pairs).await {
                errors.push(error);
            }
        }
        Error::from_many(errors)
    }

    fn show(&self, context: &Context, object: &Value, several: bool) -> Result<(), Error> {
        let mut text = String::new();
        if several {
            let api_version = object["apiVersion"].as_str().unwrap_or("");
            let group = api_version.split_once('/').map_or("", |(group, _)| group);
            let name = object["metadata"]["name"].as_str().unwrap_or("");
            let kind = object["kind"].as_str().unwrap_or("");
            text += &format!("Listing {} for {kind}.{group}/{name}:\n", self.field);
        }
        let indent = if several { " " } else { "" };
        for (key, value) in object["metadata"][self.field].as_object().map(sorted).unwrap_or_default() {
            text += &format!("{indent}{key}={}\n", value.as_str().unwrap_or(""));
        }
        context.terminal.out(&text)
    }

    async fn apply(
        &self,
        context: &Context,
        matches: &ArgMatches,
        change: &Change,
        selected: &Selected,
        pairs: &Pairs,
    ) -> Result<(), Error> {
        let old = &selected.object["metadata"][self.field];
        (self.check)(context, change, pairs, old, matches.get_flag("overwrite"))?;
        let (changed, outcome) = pairs.patch(old);
        let mut patch = json!({});
        if outcome != Outcome::Unchanged {
            patch = json!({"metadata": {(self.field): changed}});
        }
        let version = value(matches, "resource-version");
        if !version.is_empty() {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        if change.dry_run == DryRun::Client || matches.get_flag("local") {
            let mut object = selected.object.clone();
            json_patch::merge(&mut object, &patch);
            return change.print(context, &mut object, (self.done)(outcome));
        }
        let mut object = change.patch(context, selected, MERGE_PATCH, &patch).await?;
        change.print(context, &mut object, (self.done)(outcome))
    }
}
