//! Every flag that is accepted is read somewhere: none is taken and ignored.

use std::collections::BTreeMap;
use std::path::Path;

/// Flags whose names do not stand where they are read, and why.
const READ_ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "apply",
        "openapi-patch",
        "both ways give the same patch: kctl has the types, others have no lists that merge",
    ),
    ("apply", "wait", "what is deleted by force is always waited for, as by kubectl"),
    ("create", "docker-email", "its name is put together from parts"),
    ("create", "docker-password", "its name is put together from parts"),
    ("create", "docker-server", "its name is put together from parts"),
    ("create", "docker-username", "its name is put together from parts"),
    ("create", "bound-object-kind", "its name is put together from parts"),
    ("create", "bound-object-name", "its name is put together from parts"),
    ("create", "bound-object-uid", "its name is put together from parts"),
    ("debug", "filename", "Sources::from_matches reads it"),
    ("diff", "prune-allowlist", "Prune::of_diff reads it"),
    ("exec", "filename", "Sources::from_matches reads it"),
    ("proxy", "append-server-path", "dispatch reads it, for the connection"),
    ("kustomize", "as-current-user", "says how functions run, which are refused with their flag"),
    ("kustomize", "env", "says how functions run, which are refused with their flag"),
    ("kustomize", "helm-api-versions", "says how Helm runs, which is refused with its flag"),
    ("kustomize", "helm-debug", "says how Helm runs, which is refused with its flag"),
    ("kustomize", "mount", "says how functions run, which are refused with their flag"),
    ("kustomize", "network", "says how functions run, which are refused with their flag"),
    ("kustomize", "network-name", "says how functions run, which are refused with their flag"),
    ("replace", "wait", "a replacement by force always waits, as kubectl's does"),
    ("run", "quiet", "the session of attach reads it"),
];

/// The sources of each command, without tests, by the command's file.
fn commands() -> BTreeMap<String, String> {
    fn read(path: &Path, unit: &str, all: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(path).expect("a folder") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let unit = if unit.is_empty() { stem.as_str() } else { unit };
            if path.is_dir() {
                read(&path, unit, all);
            } else {
                let text = std::fs::read_to_string(&path).expect("text");
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                all.entry(unit.to_owned()).or_default().push_str(code);
            }
        }
    }
    let mut all = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands"), "", &mut all);
    all
}

/// Flags that a command's sources define and never name again.
fn unread(code: &str) -> Vec<String> {
    let definition =
        regex::Regex::new(r#"cli::(flag|flag_on|text|texts|number)\(\s*"([a-z0-9-]+)""#).unwrap();
    let mut defined: BTreeMap<&str, usize> = BTreeMap::new();
    for found in definition.captures_iter(code) {
        *defined.entry(found.get(2).expect("the name").as_str()).or_default() += 1;
    }
    let named = |name: &str| code.matches(&format!("\"{name}\"")).count();
    defined
        .into_iter()
        .filter(|(name, times)| named(name) <= *times)
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn every_flag_of_a_command_is_read() {
    let mut wrong = Vec::new();
    for (command, code) in commands() {
        let unread = unread(&code);
        let known = |flag: &str| READ_ELSEWHERE.iter().any(|(c, f, _)| *c == command && *f == flag);
        wrong.extend(
            unread.iter().filter(|flag| !known(flag)).map(|flag| format!("{command} --{flag}: is ignored")),
        );
        for (_, flag, _) in READ_ELSEWHERE.iter().filter(|(c, ..)| *c == command) {
            if !unread.iter().any(|one| one == flag) {
                wrong.push(format!("{command} --{flag}: is read, and listed"));
            }
        }
        // What shared definitions bring must be read by shared code or by the command.
        for (definition, readers) in [
            ("cli::files()", &["Sources::", "selection::", "select"][..]),
            ("cli::selectors()", &["\"field-selector\"", "selection::"]),
            ("cli::selector()", &["\"selector\""]),
            ("cli::all_namespaces()", &["\"all-namespaces\""]),
            ("cli::dry_run()", &["DryRun::from_matches", "Change::"]),
            ("cli::output()", &["\"output\"", "Change::"]),
            ("selection::change_flags(", &["Change::from_matches", "DryRun::from_matches", ".filter("]),
            (
                "selection::print_flags(",
                &["output::from_matches", "Change::of_output", "Change::from_matches"],
            ),
            ("selection::local_flag(", &["\"local\""]),
            ("cli::chunk_size()", &["cli::limit("]),
        ] {
            if code.contains(definition) && !readers.iter().any(|reader| code.contains(reader)) {
                wrong.push(format!("{command}: {definition} is ignored"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Global flags that the connection does not read, and why.
const GLOBAL_READ_ELSEWHERE: &[(&str, &str)] = &[
    ("kuberc", "read before the line is parsed, and by the command of that name"),
    ("log-flush-frequency", "every line is flushed as it is written"),
    ("profile-output", "a profile, to which it belongs, is refused"),
];

#[test]
fn every_global_flag_is_read() {
    let code = include_str!("../client_config.rs");
    for flag in crate::cli::global_flags() {
        let id = flag.get_id().as_str();
        let elsewhere = GLOBAL_READ_ELSEWHERE.iter().any(|(name, _)| *name == id);
        assert_ne!(code.contains(&format!("\"{id}\"")), elsewhere, "--{id} is ignored, or listed and read");
    }
}

#[test]
fn a_flag_that_is_only_defined_is_found() {
    assert_eq!(unread(r#".arg(cli::flag("a", "help")).arg(cli::text("b", "")); value(matches, "b")"#), ["a"]);
}
