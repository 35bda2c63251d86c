//! The tree's files and first level, and the words that would give this machine away.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Finding;
use super::rules::Rules;

/// Dotfiles that belong to the project; others are the user's.
const DOTFILES: [&str; 3] = [".cargo", ".ci", ".gitignore"];
/// Generated, or not ours to word.
const SKIPPED: [&str; 3] = ["target", "Cargo.lock", "LICENSE"];

/// Every text file of the project by its path relative to the root.
pub(super) fn read(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    walk(root, "", &mut files)?;
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && !DOTFILES.contains(&name.as_str());
        if hidden || (prefix.is_empty() && SKIPPED.contains(&name.as_str())) {
            continue;
        }
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() {
            // What is not UTF-8 is not text.
            if let Ok(text) =
                String::from_utf8(fs::read(entry.path()).with_context(|| format!("read {path}"))?)
            {
                files.insert(path, text);
            }
        }
    }
    Ok(())
}

/// What stands in the root and should not, or should and does not.
pub(super) fn first_level(root: &Path, rules: &Rules) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root).context("list the root")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" && !rules.first_level.contains(&name) {
            findings.push(Finding::new(&name, 0, "the first level is fixed: see ARCHITECTURE.md, layout"));
        }
    }
    for name in rules.first_level.iter().filter(|name| !root.join(name).exists()) {
        findings.push(Finding::new(name, 0, "is missing"));
    }
    Ok(findings)
}

/// Paths of this machine and hosts of its package mirrors: they must not get into a file.
pub(super) fn machine_words(root: &Path) -> Vec<String> {
    let mut words = vec![format!("{}/", root.display())];
    let home = std::env::home_dir().unwrap_or_default();
    if home.parent().is_some() {
        words.push(format!("{}/", home.display()));
    }
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), Into::into);
    let config = fs::read_to_string(cargo.join("config.toml")).unwrap_or_default();
    words.extend(mirror_hosts(&config));
    words
}

/// Hosts that cargo's configuration names, but for those that everybody knows.
fn mirror_hosts(config: &str) -> Vec<String> {
    let urls = config.split('"').filter_map(|text| text.split_once("://")).map(|(_, rest)| rest);
    let hosts = urls.filter_map(|rest| rest.split(['/', ':']).next()).map(|host| host.rsplit('@').next());
    let known =
        |host: &&str| !["github.com", "index.crates.io", "crates.io", "static.crates.io"].contains(host);
    hosts.flatten().filter(known).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hosts_of_mirrors() {
        let config = r#"
            [source.crates-io]
            replace-with = "mirror"
            [source.mirror]
            registry = "sparse+https://packages.example.net:8080/crates/"
            [source.other]
            registry = "https://github.com/rust-lang/crates.io-index"
        "#;
        assert_eq!(mirror_hosts(config), ["packages.example.net"]);
    }

    #[test]
    fn notices_strangers_in_the_root() {
        let root = std::env::temp_dir().join(format!("tidy-{}", std::process::id()));
        fs::create_dir_all(root.join("crates")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::write(root.join("notes.txt"), "").unwrap();
        let rules = Rules { first_level: vec!["crates".into(), "README.md".into()], ..Rules::default() };
        let found = first_level(&root, &rules).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["notes.txt", "README.md"]);
    }
}
