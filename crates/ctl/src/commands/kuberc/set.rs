//! `kuberc set`: an entry of the preferences, made or replaced.

use std::path::Path;

use clap::ArgMatches;

use super::{VERSION, save};
use crate::cli::{self, value};
use crate::commands::Context;
use crate::preferences::{self, Alias, Defaults, Preferences};
use crate::report::{Error, message};

pub(super) fn command() -> clap::Command {
    let several =
        |name: &'static str, help: &'static str| cli::text(name, help).action(clap::ArgAction::Append);
    clap::Command::new("set")
        .about("Set values in the kuberc configuration")
        .after_help(
            "Examples:\n  # Set default output format for 'get' command\n  kctl kuberc set --section defaults --command get --option output=wide\n\n  # Create an alias 'getn' for 'get' command with prepended 'nodes' resource\n  kctl kuberc set --section aliases --name getn --command get --prependarg nodes --option output=wide",
        )
        .args_override_self(true)
        .arg(cli::arguments(""))
        .arg(cli::text("section", "Section to modify: 'defaults', 'aliases', or 'credentialplugin'"))
        .arg(cli::text("command", "Command to configure (e.g., 'get', 'create', 'set env')"))
        .arg(cli::text("name", "Alias name (required for --section=aliases)"))
        .arg(cli::text("policy", "Plugin policy to use for exec credential plugins, must be one of 'AllowAll', 'DenyAll' or 'Allowlist'"))
        .arg(several("option", "Flag option in the form flag=value (can be specified multiple times)"))
        .arg(several("prependarg", "Argument to prepend to the command (can be specified multiple times, for aliases only)"))
        .arg(several("appendarg", "Argument to append to the command (can be specified multiple times, for aliases only)"))
        .arg(several("allowlist-entry", "Allowlist entry the form field=value (can be specified multiple times)"))
        .arg(cli::flag("overwrite", "Allow overwriting existing entries"))
}

/// What is to be set.
struct Wanted<'a> {
    section: &'a str,
    entry: Defaults,
    name: &'a str,
    policy: &'a str,
    options: Vec<String>,
    prepended: Vec<String>,
    appended: Vec<String>,
    allowed: Vec<String>,
    overwrite: bool,
}

pub(super) fn run(context: &Context, matches: &ArgMatches, path: &Path) -> Result<(), Error> {
    if matches.value_source("section").is_none() {
        return Err(message("required flag(s) \"section\" not set"));
    }
    let several = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
    let mut wanted = Wanted {
        section: value(matches, "section"),
        entry: Defaults { command: value(matches, "command").to_owned(), options: Vec::new() },
        name: value(matches, "name"),
        policy: value(matches, "policy"),
        options: several("option"),
        prepended: several("prependarg"),
        appended: several("appendarg"),
        allowed: several("allowlist-entry"),
        overwrite: matches.get_flag("overwrite"),
    };
    wanted.check().map_err(message)?;
    let found = match preferences::read(path) {
        Ok(found) => found.map(|(found, _)| found),
        Err(error) if error.missing => None,
        Err(error) => return Err(message(format!("error reading kuberc file: {}", error.why))),
    };
    let mut all = found.unwrap_or_default();
    // What is written is of the newest version, whatever was read.
    VERSION.clone_into(&mut all.api_version);
    wanted.entry.options = options(&wanted.options).map_err(message)?;
    match wanted.section {
        "defaults" => set_defaults(&mut all, wanted).map_err(message)?,
        "aliases" => set_alias(&mut all, wanted).map_err(message)?,
        _ => {
            let allowed = allowlist(&wanted.allowed).map_err(|text| Error::Plain(text, 1))?;
            if wanted.policy == "Allowlist" {
                all.allowlist = Some(allowed);
            }
            all.policy = Some(wanted.policy.to_owned());
        }
    }
    save(context, path, &all)
}

impl Wanted<'_> {
    fn check(&self) -> Result<(), String> {
        let Self { section, name, .. } = self;
        let no = |text: String| Err(text);
        match *section {
            "defaults" if !name.is_empty() => {
                return no("--name should not be specified when --section=defaults".to_owned());
            }
            "defaults" if !self.prepended.is_empty() || !self.appended.is_empty() => {
                return no("--prependarg and --appendarg are only valid for --section=aliases".to_owned());
            }
            "aliases" if name.is_empty() => {
                return no("--name is required when --section=aliases".to_owned());
            }
            "defaults" | "aliases" if self.entry.command.is_empty() => {
                return no("--command is required when --section=aliases or --section=defaults".to_owned());
            }
            "defaults" | "aliases" => return Ok(()),
            "credentialplugin" => {}
            other => {
                return no(format!(
                    "--section must be \"defaults\", \"aliases\", or \"credentialplugin\", got: {other}"
                ));
            }
        }
        match (self.policy, self.allowed.is_empty()) {
            ("", _) => no("--policy is required when --section=credentialplugin".to_owned()),
            ("AllowAll" | "DenyAll", true) | ("Allowlist", false) => Ok(()),
            ("AllowAll" | "DenyAll", false) => no(
                "--allowlist-entry may only be used when --section=credentialplugin and --policy=Allowlist"
                    .to_owned(),
            ),
            ("Allowlist", true) => {
                no("--allowlist-entry is required when --section=credentialplugin and --policy=Allowlist"
                    .to_owned())
            }
            (other, _) => {
                no(format!(" --policy must be  \"AllowAll\", \"DenyAll\", or \"Allowlist\", got: {other}"))
            }
        }
    }
}

/// `flag=value`, with or without dashes.
fn options(given: &[String]) -> Result<Vec<(String, String)>, String> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("invalid option format {text:?}, expected flag=value"))?;
        Ok((name.trim_start_matches('-').to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}

fn set_defaults(all: &mut Preferences, wanted: Wanted<'_>) -> Result<(), String> {
    let entry = wanted.entry;
    match all.defaults.iter_mut().find(|one| one.command == entry.command) {
        None => all.defaults.push(entry),
        Some(_) if !wanted.overwrite => {
            return Err(format!(
                "defaults for command {:?} already exist, use --overwrite to replace",
                entry.command
            ));
        }
        // What is not given stays as it was.
        Some(old) if entry.options.is_empty() => old.command = entry.command,
        Some(old) => *old = entry,
    }
    Ok(())
}

fn set_alias(all: &mut Preferences, wanted: Wanted<'_>) -> Result<(), String> {
    let name = wanted.name.to_owned();
    let mut alias = Alias { name, of: wanted.entry, prepended: wanted.prepended, appended: wanted.appended };
    let Some(old) = all.aliases.iter_mut().find(|one| one.name == alias.name) else {
        all.aliases.push(alias);
        return Ok(());
    };
    if !wanted.overwrite {
        return Err(format!("alias {:?} already exists, use --overwrite to replace", alias.name));
    }
    if alias.of.options.is_empty() {
        alias.of.options = std::mem::take(&mut old.of.options);
    }
    for (new, old) in [(&mut alias.prepended, &mut old.prepended), (&mut alias.appended, &mut old.appended)] {
        if new.is_empty() {
            *new = std::mem::take(old);
        }
    }
    *old = alias;
    Ok(())
}

/// `command=PROGRAM`, several in one text or each in its own; all that is wrong, a line each.
fn allowlist(given: &[String]) -> Result<Vec<String>, String> {
    let (mut commands, mut wrong) = (Vec::new(), String::new());
    for pair in given.iter().flat_map(|text| text.split(',')) {
        match pair.split_once('=') {
            None => wrong += &format!("improperly formatted allowlist entry: {pair:?}\n"),
            Some(("name", _)) => {
                wrong += "allowlist entry field \"name\" is deprecated, use \"command\" instead\n";
            }
            Some(("command", text)) if text.trim().is_empty() => {
                wrong += "empty value in allowlist entry for field \"command\"\n";
            }
            Some(("command", text)) => commands.push(text.to_owned()),
            Some((field, _)) => wrong += &format!("unrecognized allowlist entry field: {field:?}\n"),
        }
    }
    if wrong.is_empty() { Ok(commands) } else { Err(wrong) }
}
