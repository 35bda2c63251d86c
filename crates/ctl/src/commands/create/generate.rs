//! THE LIST of what `create` makes from flags, and what becomes of the object: shown, tried or sent.
//!
//! A generator is a row here: it makes an object from a command line; everything else is done for all of them alike.
//! **Upstream.** `kubectl/pkg/cmd/create` (behaviour).

use clap::{Arg, ArgMatches};
use futures::future::BoxFuture;
use http::Method;
use serde_json::{Map, Value, json};

use super::{config, networking, policy, rbac, token, workload};
use crate::cli::{self, DryRun, value, values};
use crate::commands::{Context, apply, print_object};
use crate::connection::{JSON, with_query};
use crate::output::{self, Format, name};
use crate::report::{Error, message};
use crate::selection::print_flags;

/// Makes an object of a command line.
pub(super) type Make = for<'a> fn(&'a Given<'a>) -> BoxFuture<'a, Result<Value, Error>>;

/// One subcommand of `create`.
pub(super) struct Generator {
    /// Its names; the first is shown.
    pub(super) names: &'static [&'static str],
    /// What help says.
    pub(super) about: &'static str,
    /// Flags that must be given, in kubectl's order.
    pub(super) required: &'static [&'static str],
    /// Its own flags.
    pub(super) flags: fn() -> Vec<Arg>,
    /// What it makes.
    pub(super) make: Make,
    /// The plural of the kind, for the path.
    pub(super) plural: &'static str,
    /// What stands before a failure of the server, `failed to create deployment: `.
    pub(super) failure: &'static str,
}

/// THE LIST.
fn generators() -> [&'static Generator; 15] {
    [
        &rbac::CLUSTER_ROLE,
        &rbac::CLUSTER_ROLE_BINDING,
        &config::CONFIG_MAP,
        &workload::CRON_JOB,
        &workload::DEPLOYMENT,
        &networking::INGRESS,
        &workload::JOB,
        &policy::NAMESPACE,
        &policy::POD_DISRUPTION_BUDGET,
        &policy::PRIORITY_CLASS,
        &policy::QUOTA,
        &rbac::ROLE,
        &rbac::ROLE_BINDING,
        &policy::SERVICE_ACCOUNT,
        &token::TOKEN,
    ]
}

/// The ones that have a word between them and `create`.
fn groups() -> [(&'static [&'static str], &'static str, Vec<&'static Generator>); 2] {
    [
        (
            &["secret"],
            "Create a secret using a specified subcommand",
            vec![&config::DOCKER_REGISTRY, &config::GENERIC, &config::TLS],
        ),
        (
            &["service", "svc"],
            "Create a service using a specified subcommand",
            vec![
                &networking::CLUSTER_IP,
                &networking::EXTERNAL_NAME,
                &networking::LOAD_BALANCER,
                &networking::NODE_PORT,
            ],
        ),
    ]
}

/// A generator's command line.
pub(super) struct Given<'a> {
    pub(super) context: &'a Context,
    pub(super) matches: &'a ArgMatches,
    /// The one name.
    pub(super) name: String,
    /// What stands behind `--`.
    pub(super) command: Vec<String>,
    /// The namespace, where one was asked for on the command line.
    pub(super) namespace: Option<&'a str>,
}

impl Given<'_> {
    /// `metadata` with the name, and the namespace where one was asked for.
    pub(super) fn metadata(&self) -> Value {
        let mut metadata = json!({"name": self.name});
        if let Some(namespace) = self.namespace {
            metadata["namespace"] = namespace.into();
        }
        metadata
    }

    /// A flag's text.
    pub(super) fn value(&self, flag: &str) -> &str {
        value(self.matches, flag)
    }

    /// A flag's texts.
    pub(super) fn values(&self, flag: &str) -> Vec<String> {
        values(self.matches, flag)
    }
}

/// Adds the subcommands.
pub(super) fn subcommands(mut command: clap::Command) -> clap::Command {
    for generator in generators() {
        command = command.subcommand(grammar(generator));
    }
    for (names, about, members) in groups() {
        let mut group = named(names).about(about).subcommand_required(true).arg_required_else_help(true);
        for generator in members {
            group = group.subcommand(grammar(generator));
        }
        command = command.subcommand(group);
    }
    command
}

fn named(names: &'static [&'static str]) -> clap::Command {
    clap::Command::new(names[0]).visible_aliases(&names[1..]).args_override_self(true)
}

fn grammar(generator: &Generator) -> clap::Command {
    named(generator.names)
        .about(generator.about)
        .arg(cli::arguments("NAME"))
        .arg(Arg::new("command").value_name("COMMAND").num_args(0..).last(true))
        // A token is no object that is stored.
        .args(if std::ptr::eq(generator, &token::TOKEN) { print_flags() } else { super::writing_flags() })
        .args((generator.flags)())
}

/// Runs the subcommand that was named, if one was.
pub(super) async fn run(context: &Context, matches: &ArgMatches) -> Option<Result<(), Error>> {
    let (word, inner) = matches.subcommand()?;
    let group = groups().into_iter().find(|(names, ..)| names[0] == word);
    let (path, found, inner) = match group {
        Some((_, _, members)) => {
            let (kind, inner) = inner.subcommand()?;
            let found = members.into_iter().find(|one| one.names[0] == kind)?;
            (format!("create {word} {kind}"), found, inner)
        }
        None => (format!("create {word}"), generators().into_iter().find(|one| one.names[0] == word)?, inner),
    };
    Some(create(context, inner, found, &path).await)
}

async fn create(
    context: &Context,
    matches: &ArgMatches,
    generator: &Generator,
    path: &str,
) -> Result<(), Error> {
    let given = |flag: &str| matches.value_source(flag) == Some(clap::parser::ValueSource::CommandLine);
    let missing: Vec<String> =
        generator.required.iter().filter(|flag| !given(flag)).map(|flag| format!("{flag:?}")).collect();
    if !missing.is_empty() {
        return Err(message(format!("required flag(s) {} not set", missing.join(", "))));
    }
    let mut names = values(matches, "arguments");
    if names.len() != 1 {
        let text = format!("exactly one NAME is required, got {}", names.len());
        return Err(message(format!("{text}\nSee 'kctl {path} -h' for help and examples")));
    }
    let given = Given {
        context,
        matches,
        name: names.remove(0),
        command: values(matches, "command"),
        namespace: context.globals.namespace.as_deref(),
    };
    if std::ptr::eq(generator, &token::TOKEN) {
        return token::request(&given).await;
    }
    let dry_run = DryRun::from_matches(matches)?;
    let validation = super::validation(value(matches, "validate"))?;
    let format = output::from_matches(matches)?;
    let mut object = (generator.make)(&given).await?;
    if matches.get_flag("save-config") {
        apply::remember(&mut object);
    }
    if dry_run != DryRun::Client {
        let path = with_query(
            &collection(context, generator, &object),
            &[
                dry_run.query(),
                ("fieldManager", value(matches, "field-manager").to_owned()),
                ("fieldValidation", validation.to_owned()),
            ],
        );
        let sent = context.connection().await?.request(Method::POST, &path, JSON, Some(&object)).await;
        object = sent.map_err(|error| failed(error, generator.failure))?;
    }
    let text = match &format {
        Format::Human { .. } => format!("{} created{}\n", name::of(&object), dry_run.suffix()),
        format => print_object(format, &mut object, matches.get_flag("show-managed-fields"))?,
    };
    context.terminal.out(&text)
}

/// A failure of the server with the words of the generator, which hide what kind of failure it is.
pub(super) fn failed(error: Error, words: &str) -> Error {
    match error {
        Error::Status { status, .. } if !words.is_empty() => {
            message(format!("{words}{}", status["message"].as_str().unwrap_or("unknown")))
        }
        other => other,
    }
}

fn collection(context: &Context, generator: &Generator, object: &Value) -> String {
    let api_version = object["apiVersion"].as_str().unwrap_or("");
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let cluster = ["ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass"];
    if object["kind"].as_str().is_some_and(|kind| cluster.contains(&kind)) {
        format!("{root}/{api_version}/{}", generator.plural)
    } else {
        format!("{root}/{api_version}/namespaces/{}/{}", context.namespace(), generator.plural)
    }
}

/// An object with the fields that every one has in front.
pub(super) fn object(api_version: &str, kind: &str, metadata: Value, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
    let rest: Map<String, Value> = match rest {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (field, value) in rest {
        object[field] = value;
    }
    object
}
