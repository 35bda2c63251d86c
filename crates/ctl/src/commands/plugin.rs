//! `plugin`: programs called `kubectl-NAME` (or `kctl-NAME`) in the user's path, which become commands.
//!
//! **Contract.** The longest name that the words give is taken; `-` in a word is `_` in the name. A command of our own is
//! never replaced.
//! **Upstream.** `kubectl/pkg/cmd/plugin` (behaviour).

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::{COMMANDS, Command, Context};
use crate::cli;
use crate::report::{Error, message};
use crate::terminal::Terminal;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "plugin", build, run: |context, matches| Box::pin(run(context, matches)) };

/// What the programs' names start with; the first outweighs the second.
const PREFIXES: [&str; 2] = ["kctl", "kubectl"];

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Provides utilities for interacting with plugins")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(
            clap::Command::new("list").about("List all visible plugin executables on a user's PATH").arg(
                cli::flag(
                    "name-only",
                    "If true, display only the binary name of each plugin, rather than its full path",
                ),
            ),
        )
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let Some((_, matches)) = matches.subcommand() else { return Ok(()) };
    let (mut listed, mut warnings) = (String::new(), 0);
    let mut seen: Vec<(String, PathBuf)> = Vec::new();
    for folder in folders(&context.terminal) {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        for name in names {
            let Some(word) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)?.strip_prefix('-'))
            else {
                continue;
            };
            let path = folder.join(&name);
            let shown = path.display().to_string();
            listed += &format!("{}\n", if matches.get_flag("name-only") { &name } else { &shown });
            let warn = |text: String| context.terminal.err(&format!("  - {text}\n"));
            if !is_executable(&path) {
                warn(format!("warning: {shown} identified as a kubectl plugin, but it is not executable"));
                warnings += 1;
            }
            if let Some((_, other)) = seen.iter().find(|(known, _)| *known == name) {
                warn(format!(
                    "warning: {shown} is overshadowed by a similarly named plugin: {}",
                    other.display()
                ));
                warnings += 1;
            }
            let first = word.split('-').next().unwrap_or(word);
            if COMMANDS.iter().any(|command| command.name == first) {
                warn(format!("warning: {name} overwrites existing command: \"kctl {first}\""));
                warnings += 1;
            }
            seen.push((name, path));
        }
    }
    if listed.is_empty() {
        return Err(message("unable to find any kubectl plugins in your PATH"));
    }
    context.terminal.out(&format!("The following compatible plugins are available:\n\n{listed}"))?;
    match warnings {
        0 => Ok(()),
        1 => Err(message("one plugin warning was found")),
        count => Err(message(format!("{count} plugin warnings were found"))),
    }
}

fn folders(terminal: &Terminal) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in std::env::split_paths(terminal.variable("PATH").unwrap_or("")) {
        if !folder.as_os_str().is_empty() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs the plugin that a command line means; `None` where it means none.
pub(super) async fn run_plugin(arguments: &[OsString], terminal: &Terminal) -> Option<Result<(), Error>> {
    let words: Vec<&str> = arguments
        .iter()
        .skip(1)
        .map_while(|word| word.to_str().filter(|word| !word.starts_with('-')))
        .collect();
    let first = words.first()?;
    if COMMANDS.iter().any(|command| command.name == *first) {
        return None;
    }
    let folders = folders(terminal);
    for count in (1..=words.len()).rev() {
        let name: Vec<String> = words[..count].iter().map(|word| word.replace('-', "_")).collect();
        let name = name.join("-");
        for prefix in PREFIXES {
            let program = folders
                .iter()
                .map(|folder| folder.join(format!("{prefix}-{name}")))
                .find(|path| is_executable(path));
            if let Some(program) = program {
                return Some(start(&program, &arguments[1 + count..]).await);
            }
        }
    }
    None
}

async fn start(program: &Path, arguments: &[OsString]) -> Result<(), Error> {
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .status()
        .await
        .map_err(|error| message(format!("{}: {error}", program.display())))?;
    match status.code() {
        Some(0) => Ok(()),
        code => Err(Error::Plain(String::new(), code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
    }
}
