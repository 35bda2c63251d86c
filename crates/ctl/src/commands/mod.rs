//! THE LIST of commands, and what each is handed.
//!
//! A command is one file here and one row in `COMMANDS`.

mod alpha;
mod annotate;
mod api_resources;
mod api_versions;
mod apply;
mod attach;
mod auth;
mod autoscale;
mod certificate;
mod cluster_info;
mod completion;
mod compose;
mod config;
mod cordon;
mod cp;
mod create;
mod debug;
mod delete;
mod describe;
mod diff;
mod drain;
mod edit;
mod events;
mod exec;
mod explain;
mod expose;
mod get;
mod kuberc;
mod kustomize;
mod label;
mod logs;
mod man;
mod marks;
mod options;
mod patch;
mod plugin;
mod port_forward;
mod proxy;
mod replace;
mod rollout;
mod run;
mod scale;
mod set;
mod taint;
mod top;
mod version;
mod wait;
mod why;

use std::ffi::OsString;

pub(crate) use get::{flatten, print_object};
pub(crate) use version::require_same_version;

use clap::ArgMatches;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::cli;
use crate::client_config::Globals;
use crate::connection::Connection;
use crate::discovery::{Cache, Discovery};
use crate::in_cluster::Account;
use crate::preferences;
use crate::report::{Error, message};
use crate::terminal::Terminal;

/// One command.
pub(crate) struct Command {
    /// Its name.
    name: &'static str,
    /// Its flags and help.
    build: fn(clap::Command) -> clap::Command,
    /// What it does.
    run: for<'a> fn(&'a Context, &'a ArgMatches) -> BoxFuture<'a, Result<(), Error>>,
}

/// THE LIST.
const COMMANDS: &[Command] = &[
    alpha::COMMAND,
    annotate::COMMAND,
    api_resources::COMMAND,
    api_versions::COMMAND,
    apply::COMMAND,
    attach::COMMAND,
    auth::COMMAND,
    autoscale::COMMAND,
    certificate::COMMAND,
    cluster_info::COMMAND,
    completion::COMMAND,
    compose::COMMAND,
    config::COMMAND,
    cordon::CORDON,
    cordon::UNCORDON,
    cp::COMMAND,
    create::COMMAND,
    debug::COMMAND,
    delete::COMMAND,
    describe::COMMAND,
    diff::COMMAND,
    drain::COMMAND,
    edit::COMMAND,
    events::COMMAND,
    exec::COMMAND,
    explain::COMMAND,
    expose::COMMAND,
    get::COMMAND,
    kuberc::COMMAND,
    kustomize::COMMAND,
    label::COMMAND,
    logs::COMMAND,
    man::COMMAND,
    options::COMMAND,
    patch::COMMAND,
    plugin::COMMAND,
    port_forward::COMMAND,
    proxy::COMMAND,
    replace::COMMAND,
    rollout::COMMAND,
    run::COMMAND,
    scale::COMMAND,
    set::COMMAND,
    taint::COMMAND,
    top::COMMAND,
    version::COMMAND,
    wait::COMMAND,
    why::COMMAND,
];

/// What a command works with; connection, configuration and discovery are made when first asked for.
pub(crate) struct Context {
    /// Streams, environment, clock.
    pub(crate) terminal: Terminal,
    /// The global flags.
    pub(crate) globals: Globals,
    config: Value,
    namespace: String,
    connection: OnceCell<Connection>,
    discovery: OnceCell<Discovery>,
}

impl Context {
    fn new(terminal: &Terminal, globals: Globals, config: Value) -> Self {
        let namespace = globals.namespace(&config, Account::find(terminal).as_ref());
        Self {
            terminal: terminal.clone(),
            globals,
            config,
            namespace,
            connection: OnceCell::new(),
            discovery: OnceCell::new(),
        }
    }

    /// The connection to the server.
    pub(crate) async fn connection(&self) -> Result<&Connection, Error> {
        self.connection.get_or_try_init(|| self.globals.connect(&self.config, &self.terminal)).await
    }

    /// What the server serves.
    pub(crate) async fn discovery(&self) -> Result<&Discovery, Error> {
        let connection = self.connection().await?;
        let cache = || Cache::of(connection.server(), &self.globals, &self.terminal);
        self.discovery.get_or_try_init(async || Discovery::load(connection, &cache()).await).await
    }

    /// What the server served the last time, if that was kept; it is not asked.
    pub(crate) async fn kept_discovery(&self) -> Result<Option<Discovery>, Error> {
        let connection = self.connection().await?;
        Ok(Discovery::kept(&Cache::of(connection.server(), &self.globals, &self.terminal)))
    }

    /// The namespace in force.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The merged kubeconfig.
    pub(crate) fn config(&self) -> &Value {
        &self.config
    }
}

/// The whole command line.
pub(crate) fn grammar() -> clap::Command {
    grammar_of(COMMANDS.iter())
}

fn grammar_of<'a>(commands: impl Iterator<Item = &'a Command>) -> clap::Command {
    let mut root = clap::Command::new("kctl")
        .about("kctl controls a Kubernetes cluster.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .after_help(
            "Use \"kctl options\" for a list of global command-line options (applies to all commands).",
        )
        .args(cli::global_flags());
    for command in commands {
        root = root.subcommand((command.build)(clap::Command::new(command.name).args_override_self(true)));
    }
    root
}

/// One command's grammar.
fn command_named(name: &str) -> Option<clap::Command> {
    let command = COMMANDS.iter().find(|command| command.name == name)?;
    Some((command.build)(clap::Command::new(command.name)))
}

/// Parses a command line and runs its command.
pub(crate) async fn dispatch(
    arguments: impl IntoIterator<Item = OsString>,
    terminal: &Terminal,
) -> Result<(), Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let (arguments, plugin_policy) = preferences::applied(arguments, &command_named, terminal)
        .map_err(|why| Error::Plain(format!("error occurred while applying preferences {why}\n"), 1))?;
    if arguments.get(1).is_some_and(|word| word == "help") {
        return help(&arguments[2..], terminal);
    }
    if let Some(ran) = plugin::run_plugin(&arguments, terminal).await {
        return ran;
    }
    if arguments.get(1).is_some_and(|word| word == completion::QUESTION) {
        return complete(&arguments[2..], terminal).await;
    }
    // A line that is right needs no command that it does not name; to tell of all of them takes longer than most requests.
    let named = COMMANDS.iter().filter(|command| arguments.iter().any(|word| word == command.name));
    let matches = match grammar_of(named).try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(_) => match parse(&arguments) {
            Err(Error::Plain(text, 0)) => return terminal.out(&text),
            parsed => parsed?,
        },
    };
    let (name, matches) = matches.subcommand().expect("the grammar requires a command");
    let command =
        COMMANDS.iter().find(|command| command.name == name).expect("the grammar is made of the list");
    let mut globals = Globals::from_matches(matches)?;
    if names_subjects(name, matches) {
        globals.user = None;
    }
    globals.plugin_policy = plugin_policy;
    globals.drops_server_path = name == "proxy" && !matches.get_flag("append-server-path");
    // Commands that need no server must work with a broken kubeconfig, too, and `config` makes files.
    let config = match globals.load(terminal) {
        Ok(config) => config,
        Err(_) if matches!(name, "alpha" | "completion" | "options" | "kuberc" | "kustomize" | "man") => {
            crate::client_config::empty_config()
        }
        Err(_) if name == "config" && globals.names_new_file() => crate::client_config::empty_config(),
        Err(error) => return Err(error),
    };
    let context = Context::new(terminal, globals, config);
    (command.run)(&context, matches).await?;
    match context.connection.get().map_or(0, Connection::has_warned) {
        count if count > 0 && context.globals.warnings_as_errors => {
            let noun = if count == 1 { "warning" } else { "warnings" };
            Err(message(format!("{count} {noun} received")))
        }
        _ => Ok(()),
    }
}

/// Parses a command line by all that is known: help is an error that is plain.
fn parse(arguments: &[OsString]) -> Result<ArgMatches, Error> {
    let mut root = grammar();
    root.try_get_matches_from_mut(arguments).map_err(|error| {
        let words = arguments.iter().skip(1).filter_map(|argument| argument.to_str());
        let (mut command, mut path) = (&root, Vec::new());
        for word in words {
            if let Some(next) = command.find_subcommand(word) {
                command = next;
                path.push(next.get_name());
            }
        }
        let last = arguments.last().and_then(|argument| argument.to_str()).unwrap_or("");
        cli::report(error, &root, command, &path.join(" "), last)
    })
}

/// `help`, and `help COMMAND SUBCOMMAND` as far as the words are commands: what the flag says.
fn help(words: &[OsString], terminal: &Terminal) -> Result<(), Error> {
    let root = grammar();
    let mut line = vec![OsString::from("kctl")];
    let mut command = &root;
    for word in words {
        let Some(next) = command.find_subcommand(word) else { break };
        command = next;
        line.push(word.clone());
    }
    if line.len() == 1 && !words.is_empty() {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", word.to_string_lossy())).collect();
        terminal.err(&format!("Unknown help topic [{}]\n", words.join(" ")));
    }
    line.push(OsString::from("--help"));
    match root.try_get_matches_from(line) {
        Err(help) => terminal.out(&help.to_string()),
        Ok(_) => Ok(()),
    }
}

/// Answers a completion script; what goes wrong offers nothing.
async fn complete(words: &[OsString], terminal: &Terminal) -> Result<(), Error> {
    let root = clap::Command::new("kctl").args(cli::global_flags());
    let lead = std::iter::once(OsString::from("kctl")).chain(completion::globals_of(words));
    let globals = match root.try_get_matches_from(lead) {
        Ok(matches) => Globals::from_matches(&matches)?,
        Err(_) => Globals::default(),
    };
    let config = globals.load(terminal).unwrap_or_else(|_| crate::client_config::empty_config());
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    completion::answer(&Context::new(terminal, globals, config), &words).await
}

/// Whether `--user` is a subject of a binding here, and not a user of the kubeconfig.
fn names_subjects(command: &str, matches: &ArgMatches) -> bool {
    let subcommand = matches.subcommand_name().unwrap_or("");
    matches!((command, subcommand), ("create", "rolebinding" | "clusterrolebinding") | ("set", "subject"))
}
