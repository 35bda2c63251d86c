//! `set`: one thing about objects that exist: images, environment, resources, service accounts, selectors, subjects.
//!
//! **Contract.** What a command changes in an object is a pure function; the patch is what differs afterwards.
//! **Upstream.** `kubectl/pkg/cmd/set` (behaviour).

mod containers;
mod env;
mod image;
mod resources;
mod selector;
mod service_account;
mod subject;

use api::schema::Schema;
use clap::{Arg, ArgMatches};
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, DryRun, value_if_any};
use crate::connection::{MERGE_PATCH, STRATEGIC_PATCH};
use crate::manifests::Sources;
use crate::report::{Error, message};
use crate::selection::{self, Change, Selected};
use crate::three_way;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "set", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    let sub = |name: &'static str,
               alias: &'static [&'static str],
               about: &'static str,
               arguments: &'static str,
               flags: Vec<Arg>| {
        clap::Command::new(name)
            .visible_aliases(alias)
            .about(about)
            .args_override_self(true)
            .arg(cli::arguments(arguments))
            .args(cli::without(cli::files(), if name == "selector" { &["kustomize"] } else { &[] }))
            .args(selection::change_flags("kubectl-set"))
            .args(match name {
                "selector" | "serviceaccount" => None,
                _ => Some(cli::selector()),
            })
            .arg(cli::flag("all", "Select all resources, in the namespace of the specified resource types"))
            .arg(selection::local_flag("the command"))
            .args(flags)
    };
    command
        .about("Set specific features on objects")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(sub(
            "env",
            &[],
            "Update environment variables on a pod template",
            "RESOURCE/NAME KEY_1=VAL_1 ... KEY_N=VAL_N",
            env::flags(),
        ))
        .subcommand(sub(
            "image",
            &[],
            "Update the image of a pod template",
            "(-f FILENAME | TYPE NAME) CONTAINER_NAME_1=CONTAINER_IMAGE_1 ...",
            Vec::new(),
        ))
        .subcommand(sub(
            "resources",
            &[],
            "Update resource requests/limits on objects with pod templates",
            "(-f FILENAME | TYPE NAME)",
            resources::flags(),
        ))
        .subcommand(sub(
            "selector",
            &[],
            "Set the selector on a resource",
            "(-f FILENAME | TYPE NAME) EXPRESSIONS",
            selector::flags(),
        ))
        .subcommand(sub(
            "serviceaccount",
            &["sa"],
            "Update the service account of a resource",
            "(-f FILENAME | TYPE NAME) SERVICE_ACCOUNT",
            Vec::new(),
        ))
        .subcommand(sub(
            "subject",
            &[],
            "Update the user, group, or service account in a role binding or cluster role binding",
            "(-f FILENAME | TYPE NAME)",
            subject::flags(),
        ))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let Some((word, matches)) = matches.subcommand() else { return Ok(()) };
    let set =
        Set { context, matches, change: Change::from_matches(matches)?, local: matches.get_flag("local") };
    match word {
        "env" => env::run(&set).await,
        "image" => image::run(&set).await,
        "resources" => resources::run(&set).await,
        "selector" => selector::run(&set).await,
        "serviceaccount" => service_account::run(&set).await,
        _ => subject::run(&set).await,
    }
}

/// A command line of `set`.
struct Set<'a> {
    context: &'a Context,
    matches: &'a ArgMatches,
    change: Change,
    local: bool,
}

impl Set<'_> {
    /// Refuses combinations that no subcommand has.
    fn check(&self) -> Result<(), Error> {
        if self.local && self.change.dry_run == DryRun::Server {
            return Err(message(selection::LOCAL_AND_SERVER));
        }
        if self.matches.get_flag("all") && !value_if_any(self.matches, "selector").is_empty() {
            return Err(message("cannot set --all and --selector at the same time"));
        }
        Ok(())
    }

    fn has_files(&self) -> bool {
        Sources::given(self.matches)
    }

    /// The objects that are meant, from the server or, with `--local`, from files alone.
    async fn objects(&self, resources: Vec<String>) -> Result<(Vec<Selected>, Vec<Error>), Error> {
        if !self.local {
            if resources.is_empty() && !self.has_files() {
                return Err(message(selection::NOTHING_NAMED));
            }
            let all = self.matches.get_flag("all") || !value_if_any(self.matches, "selector").is_empty();
            if !all && !self.has_files() && resources.len() == 1 && !resources[0].contains('/') {
                return Err(message("resource(s) were provided, but no name was specified"));
            }
            return selection::select_all(self.context, self.matches, resources).await;
        }
        if !resources.is_empty() {
            return Err(message(selection::LOCAL_WITHOUT_FILES));
        }
        selection::local(self.context, self.matches).await
    }

    /// Changes each object by `update`, which says why it does not; sends what differs and tells what was `done`.
    async fn apply(
        &self,
        found: Vec<Selected>,
        mut errors: Vec<Error>,
        done: &str,
        failure: &str,
        mut update: impl FnMut(&mut Value, &mut Vec<Error>) -> Result<(), String>,
    ) -> Result<(), Error> {
        for selected in &found {
            let mut changed = selected.object.clone();
            if let Err(why) = update(&mut changed, &mut errors) {
                let (kind, name) =
                    (&selected.target.resource.name, selected.target.name.as_deref().unwrap_or(""));
                errors.push(message(format!("error: {kind}/{name} {why}\n")));
                continue;
            }
            let resource = &selected.target.resource;
            let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
            let patch = three_way::patch(&selected.object, &changed, &selected.object, ty);
            if patch == json!({}) {
                continue;
            }
            if self.local || self.change.dry_run == DryRun::Client {
                let done = if self.local && self.change.dry_run == DryRun::None {
                    done.to_owned()
                } else {
                    format!("{done} (dry run)")
                };
                self.change.print_bare(self.context, &mut changed, &done)?;
                continue;
            }
            let media = if ty.is_some() { STRATEGIC_PATCH } else { MERGE_PATCH };
            match self.change.patch(self.context, selected, media, &patch).await {
                Ok(mut object) => self.change.print(self.context, &mut object, done)?,
                Err(error) => errors.push(message(format!("{failure}{error}"))),
            }
        }
        Error::from_many(errors)
    }
}
