//! `xtask/tidy.toml`: numbers, words, who may import whom, and exceptions with their reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Finding;

/// The file's content.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// Most lines of a file, its inline tests not counted.
    pub(super) max_lines: usize,
    /// What may stand in the root besides dotfiles.
    pub(super) first_level: Vec<String>,
    /// Names that say nothing, and so no file may have.
    pub(super) vague_names: Vec<String>,
    /// Words that no file may contain.
    pub(super) words: Vec<String>,
    /// For each crate the crates of the workspace that it may import; `*` for all.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    /// Crates that any crate's tests may import.
    pub(super) test_imports: Vec<String>,
    /// Edges beyond these.
    #[serde(default)]
    pub(super) import_exceptions: Vec<ImportException>,
    /// Files that may break one rule.
    #[serde(default)]
    pub(super) exceptions: Vec<Exception>,
}

/// An import that the table does not allow.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportException {
    pub(super) from: String,
    pub(super) to: String,
    /// Whether only tests may.
    pub(super) tests_only: bool,
    reason: String,
}

/// A file that may break one rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    pub(super) rule: Rule,
    pub(super) path: String,
    reason: String,
}

/// Rules that files may be excepted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Rule {
    /// Longer than the limit.
    Size,
    /// Unsafe code.
    Unsafe,
    /// A sleep in a test.
    Sleep,
}

/// Which exceptions were needed: `path` and rule, or `from → to`.
pub(super) type Used = BTreeSet<String>;

impl Rules {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// Whether a file may break a rule; notes that it needed to.
    pub(super) fn excepts(&self, rule: Rule, path: &str, used: &mut Used) -> bool {
        let found = self.exceptions.iter().any(|e| e.rule == rule && e.path == path);
        if found {
            used.insert(format!("{rule:?} {path}"));
        }
        found
    }

    /// Exceptions without a reason, and those that nothing needs.
    pub(super) fn unused(&self, used: &Used) -> Vec<Finding> {
        let files = self.exceptions.iter().map(|e| (format!("{:?} {}", e.rule, e.path), &e.reason));
        let imports = self.import_exceptions.iter().map(|e| (format!("{} → {}", e.from, e.to), &e.reason));
        let mut findings = Vec::new();
        for (name, reason) in files.chain(imports) {
            if reason.trim().is_empty() {
                findings.push(Finding::new("xtask/tidy.toml", 0, format!("{name}: give a reason")));
            }
            if !used.contains(&name) {
                findings.push(Finding::new(
                    "xtask/tidy.toml",
                    0,
                    format!("{name}: nothing needs this, remove it"),
                ));
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        max_lines = 3
        first_level = []
        vague_names = []
        words = []
        test_imports = []
        imports = { api = [] }
        [[exceptions]]
        rule = "size"
        path = "a.rs"
        reason = "it is one table"
    "#;

    #[test]
    fn an_exception_that_nothing_needs_is_a_finding() {
        let rules: Rules = toml::from_str(TEXT).unwrap();
        let mut used = Used::new();
        assert_eq!(rules.unused(&used).len(), 1);
        assert!(!rules.excepts(Rule::Sleep, "a.rs", &mut used));
        assert!(rules.excepts(Rule::Size, "a.rs", &mut used));
        assert_eq!(rules.unused(&used), []);
    }

    #[test]
    fn an_exception_needs_a_reason() {
        let rules: Rules = toml::from_str(&TEXT.replace("it is one table", " ")).unwrap();
        let used = Used::from(["Size a.rs".to_owned()]);
        assert_eq!(rules.unused(&used)[0].text, "Size a.rs: give a reason");
        assert!(toml::from_str::<Rules>(&TEXT.replace("reason", "because")).is_err());
    }
}
