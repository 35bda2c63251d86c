//! A command line with the aliases and defaults of the preferences: words in, words out.
//!
//! **Upstream.** `kubectl/pkg/kuberc/kuberc.go` (`applyAliases`, `applyOverrides`).

use std::ffi::OsString;

use super::{Defaults, Preferences};
use crate::cli;

/// A command of ours by its name.
pub(crate) type Commands<'a> = &'a dyn Fn(&str) -> Option<clap::Command>;

/// The command that a line names.
struct Found {
    /// Its words as they are in the list, without aliases.
    path: Vec<String>,
    /// Where the last of them stands.
    at: usize,
    command: clap::Command,
}

/// The line that is meant.
pub(super) fn apply(
    preferences: &Preferences,
    arguments: Vec<OsString>,
    commands: Commands<'_>,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<OsString>, String> {
    let globals = cli::global_flags();
    let words = texts(&arguments);
    if let Some(found) = find(&words, 1, commands, &globals) {
        let mut flags = Vec::new();
        for defaults in &preferences.defaults {
            match command_of(defaults, commands, &globals) {
                Some(meant) if meant.path == found.path => {
                    let unknown =
                        |flag: &str| format!("invalid flag {flag} for command {}", defaults.command);
                    flags.extend(given(defaults, &found.command, &globals, &words[1..], unknown)?);
                }
                Some(_) => {}
                None => warn(not_found(defaults)),
            }
        }
        return Ok(spliced(arguments, found.at, 1, flags));
    }
    // As kubectl looks for it: flags and their values are not told apart here.
    let Some(at) = (1..words.len()).find(|at| !words[*at].starts_with('-')) else { return Ok(arguments) };
    let Some(alias) = preferences.aliases.iter().find(|alias| alias.name == words[at]) else {
        return Ok(arguments);
    };
    let parts: Vec<&str> = alias.of.command.split_whitespace().collect();
    let Some(meant) = command_of(&alias.of, commands, &globals) else {
        return Err(format!(
            "command {:?} not found to set alias {:?}: [{}]",
            alias.of.command,
            alias.name,
            parts.join(" ")
        ));
    };
    let unknown = |flag: &str| format!("invalid alias flag {flag} in alias {}", words[0]);
    let flags = given(&alias.of, &meant.command, &globals, &words, unknown)?;
    for defaults in &preferences.defaults {
        if defaults.command.split_whitespace().next() == Some(&alias.name) {
            return Err(format!("alias {} can not be overridden", alias.name));
        }
        if command_of(defaults, commands, &globals).is_none() {
            warn(not_found(defaults));
        }
    }
    let mut inserted: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    inserted.extend(flags);
    inserted.extend(alias.prepended.iter().cloned());
    let mut line = spliced(arguments, at, 0, inserted);
    line.extend(alias.appended.iter().map(OsString::from));
    Ok(line)
}

fn texts(arguments: &[OsString]) -> Vec<String> {
    arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The line with words in place of the one at `at`, which stays in front of them if `kept` is 1.
fn spliced(mut line: Vec<OsString>, at: usize, kept: usize, words: Vec<String>) -> Vec<OsString> {
    line.splice(at + kept..=at, words.into_iter().map(OsString::from));
    line
}

fn not_found(defaults: &Defaults) -> String {
    format!("command {:?} not found to set kuberc override", defaults.command)
}

/// The command that an entry is about; one without a name is about nothing that could be missing.
fn command_of(defaults: &Defaults, commands: Commands<'_>, globals: &[clap::Arg]) -> Option<Found> {
    let words: Vec<String> = defaults.command.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        return Some(Found { path: Vec::new(), at: 0, command: clap::Command::new("kctl") });
    }
    find(&words, 0, commands, globals)
}

/// The command that words name, flags and their values aside.
fn find(words: &[String], from: usize, commands: Commands<'_>, globals: &[clap::Arg]) -> Option<Found> {
    let mut found: Option<Found> = None;
    let mut at = from;
    while let Some(word) = words.get(at).filter(|word| *word != "--") {
        if word.len() > 1 && word.starts_with('-') {
            let own = found.as_ref().map(|found| &found.command);
            at += 1 + usize::from(takes_next(word, own, globals));
            continue;
        }
        let next = match &found {
            None => commands(word)?,
            Some(found) => match found.command.find_subcommand(word) {
                Some(command) => command.clone(),
                None => break,
            },
        };
        let mut path = found.map_or_else(Vec::new, |found| found.path);
        path.push(next.get_name().to_owned());
        found = Some(Found { path, at, command: next });
        at += 1;
    }
    found
}

/// Whether the word after a flag is its value.
fn takes_next(word: &str, command: Option<&clap::Command>, globals: &[clap::Arg]) -> bool {
    let fits = |arg: &&clap::Arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => word.chars().count() == 2 && arg.get_short() == word.chars().nth(1),
    };
    let mut all = command.into_iter().flat_map(clap::Command::get_arguments).chain(globals);
    all.find(fits).is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
}

/// The flags of an entry that the line does not have itself.
fn given(
    defaults: &Defaults,
    command: &clap::Command,
    globals: &[clap::Arg],
    line: &[String],
    unknown: impl Fn(&str) -> String,
) -> Result<Vec<String>, String> {
    let mut flags = Vec::new();
    for (name, value) in &defaults.options {
        let mut all = command.get_arguments().chain(globals);
        let flag = all.find(|arg| arg.get_long() == Some(name)).ok_or_else(|| unknown(name))?;
        if !line.iter().any(|word| names(word, name, flag.get_short())) {
            flags.push(format!("--{name}={value}"));
        }
    }
    Ok(flags)
}

/// Whether a word of a line is a flag, also as one of several letters.
fn names(word: &str, long: &str, short: Option<char>) -> bool {
    if let Some(given) = word.strip_prefix("--") {
        return given.strip_prefix(long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
    }
    let (Some(short), Some(letters)) = (short, word.strip_prefix('-')) else { return false };
    letters.starts_with(short)
        || !letters.is_empty() && letters.chars().all(|c| c.is_ascii_alphabetic()) && letters.contains(short)
}
