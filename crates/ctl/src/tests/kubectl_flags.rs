//! The commands and their flags are kubectl 1.36's, with the same letters.
//!
//! The table is made of kubectl's own `--help`; what kctl has besides is listed here with its reason.

use std::collections::{BTreeMap, BTreeSet};

/// Flags by name, each with its letter.
type Flags = BTreeMap<String, Option<char>>;

const KUBECTL: &str = include_str!("../../testdata/kubectl-1.36-flags.txt");

/// Commands that kubectl does not list, and why kctl does.
const OURS: &[(&str, &str)] = &[
    ("compose", "runs Compose files, which kubectl does not"),
    ("man", "writes manual pages, which kubectl's packages bring"),
    ("options", "kubectl has it and names it in a line below"),
    ("why", "explains a scheduler's decision, which kubectl cannot"),
];

/// `-f,--filename --all`
fn flags(text: &str) -> Flags {
    let one = |word: &str| match word.split_once(',') {
        Some((short, long)) => (long.trim_start_matches('-').to_owned(), short.chars().nth(1)),
        None => (word.trim_start_matches('-').to_owned(), None),
    };
    text.split_whitespace().map(one).collect()
}

/// The flags of kubectl's commands; those of all commands are called `*`, its own `kubectl`.
fn theirs() -> BTreeMap<String, Flags> {
    let lines = KUBECTL.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (path, text) = line.split_once(':').expect("a command and its flags");
        (path.to_owned(), flags(text))
    };
    lines.map(pair).collect()
}

/// The flags that help lists.
fn of<'a>(arguments: impl Iterator<Item = &'a clap::Arg>) -> Flags {
    let pair = |arg: &clap::Arg| Some((arg.get_long()?.to_owned(), arg.get_short()));
    arguments.filter(|arg| !arg.is_hide_set()).filter_map(pair).collect()
}

/// The flags of our commands.
fn ours(command: &clap::Command, path: &str, found: &mut BTreeMap<String, Flags>) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let path = format!("{path} {}", sub.get_name()).trim_start().to_owned();
        if !OURS.iter().any(|(name, _)| *name == path) {
            found.insert(path.clone(), of(sub.get_arguments()));
            ours(sub, &path, found);
        }
    }
}

#[test]
fn every_command_has_kubectls_flags() {
    let mut theirs = theirs();
    let (globals, _) = (theirs.remove("*").expect("theirs"), theirs.remove("kubectl"));
    let listed: Vec<clap::Arg> =
        crate::cli::global_flags().into_iter().map(|flag| flag.hide(false)).collect();
    assert_eq!(of(listed.iter()), globals, "the flags that every command takes");
    let mut found = BTreeMap::new();
    ours(&crate::commands::grammar(), "", &mut found);
    let paths = |of: &BTreeMap<String, Flags>| of.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(paths(&found), paths(&theirs), "the commands");
    let mut wrong = Vec::new();
    for (path, theirs) in &theirs {
        let ours = &found[path];
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for name in names {
            // What every command takes need not be listed with one.
            let known = globals.contains_key(name) && !ours.contains_key(name);
            if ours.get(name) != theirs.get(name) && !known {
                wrong.push(format!(
                    "{path} --{name}: {:?}, kubectl's {:?}",
                    ours.get(name),
                    theirs.get(name)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
