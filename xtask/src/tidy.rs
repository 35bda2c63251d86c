//! `cargo xtask tidy`: the house rules that a compiler does not check.
//!
//! **Contract**: each rule is a pure function from text to [`Finding`]s; this file reads the tree and prints. Numbers,
//! words and exceptions stand in `xtask/tidy.toml`, each exception with its reason; an exception that nothing needs any
//! more is a finding too.
//! **Not here**: lints (root `Cargo.toml`), banned calls (`clippy.toml`), formatting (`rustfmt.toml`).

mod documents;
mod imports;
mod manifests;
mod rules;
mod scan;
mod sources;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rules::Rules;

/// Arguments of `cargo xtask tidy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// File or folder, relative to the root.
    path: String,
    /// Counted from 1; 0 for the whole file.
    line: usize,
    /// What is wrong and what to do.
    text: String,
}

impl Finding {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

/// Checks the whole tree and prints what is wrong.
pub(crate) fn run(_: &Args) -> Result<()> {
    // Asked of cargo when it runs: checkouts that share a target folder may share this program.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as cargo xtask tidy")?;
    let root = Path::new(&here).parent().context("xtask lies in the repository")?;
    let findings = check(root)?;
    for Finding { path, line, text } in &findings {
        match line {
            0 => eprintln!("{path}: {text}"),
            _ => eprintln!("{path}:{line}: {text}"),
        }
    }
    if !findings.is_empty() {
        bail!("{} house rules are broken (the rules: CONTRIBUTING.md, xtask/tidy.toml)", findings.len());
    }
    println!("tidy: ok");
    Ok(())
}

fn check(root: &Path) -> Result<Vec<Finding>> {
    let rules = Rules::read(&root.join("xtask/tidy.toml"))?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("ask cargo for the workspace")?;
    let files = tree::read(root)?;
    let machine = tree::machine_words(root);
    let mut findings = BTreeSet::new();
    let mut used = BTreeSet::new();

    findings.extend(tree::first_level(root, &rules)?);
    findings.extend(imports::check(&imports::edges(&metadata), &rules, &mut used));
    findings.extend(manifests::check(&files));
    for (path, text) in &files {
        findings.extend(scan::words(path, text, &machine, &rules));
        if path.ends_with(".rs") {
            findings.extend(sources::check(path, text, &rules, &mut used));
        }
        if path.ends_with(".md") {
            findings.extend(documents::check(path, text, |name| root.join(name).exists()));
        }
    }
    findings.extend(rules.unused(&used));
    Ok(findings.into_iter().collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_tree_is_tidy() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(super::check(root).unwrap(), []);
    }
}
