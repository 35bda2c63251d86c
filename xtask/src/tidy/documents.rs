//! Documents: every link and every path of the tree that they name leads somewhere.

use super::Finding;

/// Folders of the first level; a name in backticks that begins with one is a path.
const FOLDERS: [&str; 7] = ["crates/", "tests/", "xtask/", "docs/", "examples/", ".ci/", ".cargo/"];

/// Checks one document. `exists` is asked for paths relative to the root.
pub(super) fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    for (index, line) in text.lines().enumerate() {
        for target in links(line) {
            if !exists(&join(folder, target)) {
                findings.push(Finding::new(path, index + 1, format!("the link to {target} leads nowhere")));
            }
        }
        for named in paths(line) {
            if !exists(named) {
                findings.push(Finding::new(path, index + 1, format!("there is no {named}")));
            }
        }
    }
    findings
}

/// Relative targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter_map(|target| {
        let target = target.split('#').next().unwrap_or(target);
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

/// Paths in backticks: those without a placeholder or a pattern.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|quoted| {
        let pattern = |c: char| c.is_whitespace() || c.is_uppercase() || "<>*{}$…".contains(c);
        FOLDERS.iter().any(|folder| quoted.starts_with(folder))
            // Upper case is a placeholder, but for documents.
            && (!quoted.contains(pattern) || quoted.ends_with(".md"))
    })
}

fn join(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_paths_lead_somewhere() {
        let exists = |path: &str| ["README.md", "docs/decisions/a.md", "crates/api/src"].contains(&path);
        for (text, wrong) in [
            ("see [it](../../README.md#use) and [this](a.md)", 0),
            ("see [it](b.md)", 1),
            ("see [it](https://example.com/b.md) and [above](#above)", 0),
            ("`crates/api/src` and `crates/api/src/<kind>.rs` and `cargo test`", 0),
            ("`crates/api/none.rs`", 1),
            ("`crates/NAME/x.rs`", 0),
        ] {
            assert_eq!(check("docs/decisions/x.md", text, exists).len(), wrong, "{text}");
        }
    }
}
