//! `version`: ours, and the server's.

use clap::ArgMatches;
use serde_json::{Map, Value, json};

use super::{Command, Context};
use crate::cli::{self, value};
use crate::connection::{Connection, JSON};
use crate::output::yaml;
use crate::report::{Error, message};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "version", build, run: |context, matches| Box::pin(run(context, matches)) };

/// The Kubernetes release whose kubectl this one equals.
use api::version::KUBERNETES as GIT_VERSION;
/// The kustomize release that goes with that kubectl.
const KUSTOMIZE_VERSION: &str = "v5.8.1";

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Print the client and server version information")
        .arg(cli::flag("client", "If true, shows client version only (no server required)"))
        .arg(cli::output())
}

fn client_version() -> Value {
    let platform = format!(
        "{}/{}",
        std::env::consts::OS,
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    );
    json!({
        "major": "1",
        "minor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": platform,
    })
}

/// `--match-server-version`: refuses a server that is not of our version.
pub(crate) async fn require_same_version(connection: &Connection) -> Result<(), Error> {
    let server = connection.get("/version", JSON).await;
    let server = server.map_err(|error| message(format!("couldn't read version from server: {error}\n")))?;
    let ours = client_version();
    if ["gitVersion", "gitCommit", "gitTreeState"].iter().all(|field| server[*field] == ours[*field]) {
        return Ok(());
    }
    Err(message(format!(
        "server version (&{}) differs from client version ({})",
        in_go(&server),
        in_go(&ours)
    )))
}

/// A version as Go writes it out.
fn in_go(version: &Value) -> String {
    const FIELDS: [&str; 13] = [
        "major",
        "minor",
        "emulationMajor",
        "emulationMinor",
        "minCompatibilityMajor",
        "minCompatibilityMinor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ];
    let field = |name: &&str| {
        let capital = name[..1].to_uppercase() + &name[1..];
        format!("{capital}:{:?}", version[*name].as_str().unwrap_or(""))
    };
    format!("version.Info{{{}}}", FIELDS.iter().map(field).collect::<Vec<_>>().join(", "))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let format = value(matches, "output");
    if !matches!(format, "" | "json" | "yaml") {
        return Err(message("--output must be 'yaml' or 'json'"));
    }
    let mut versions = Map::new();
    versions.insert("clientVersion".to_owned(), client_version());
    versions.insert("kustomizeVersion".to_owned(), KUSTOMIZE_VERSION.into());
    let mut failure = None;
    if !matches.get_flag("client") {
        let answer = match context.connection().await {
            Ok(connection) => connection.get("/version?timeout=32s", JSON).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(server) => {
                versions.insert("serverVersion".to_owned(), server);
            }
            Err(error) => failure = Some(error),
        }
    }
    let text = match format {
        "json" => serde_json::to_string_pretty(&versions).map_err(|error| message(error.to_string()))? + "\n",
        "yaml" => yaml::print(&Value::Object(versions.clone())) + "\n",
        _ => {
            let mut text = format!("Client Version: {GIT_VERSION}\nKustomize Version: {KUSTOMIZE_VERSION}\n");
            if let Some(server) = versions.get("serverVersion") {
                text += &format!("Server Version: {}\n", server["gitVersion"].as_str().unwrap_or(""));
            }
            text
        }
    };
    context.terminal.out(&text)?;
    if let Some(server) = versions.get("serverVersion") {
        warn_of_skew(context, server);
    }
    failure.map_or(Ok(()), Err)
}

/// Tells of a server more than one minor version away.
fn warn_of_skew(context: &Context, server: &Value) {
    let minor = |text: &str| text.trim_end_matches('+').parse::<i64>().ok();
    let Some(theirs) = server["minor"].as_str().and_then(minor) else { return };
    if server["major"] == "1" && (theirs - 36).abs() > 1 {
        context.terminal.err(&format!(
            "WARNING: version difference between client (1.36) and server (1.{theirs}) exceeds the supported minor version skew of +/-1\n"
        ));
    }
}
