//! Who may import whom: the edges of the workspace against the table of `tidy.toml`.

use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata};

use super::Finding;
use super::rules::{Rules, Used};

/// One crate of the workspace imports another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    from: String,
    to: Option<String>,
    tests_only: bool,
}

/// Every edge between crates of the workspace, and for each crate one that leads nowhere, so that it is seen.
pub(super) fn edges(metadata: &Metadata) -> Vec<Edge> {
    let root = metadata.workspace_root.as_std_path();
    let mut edges = Vec::new();
    for package in metadata.workspace_packages() {
        let from = package.name.to_string();
        edges.push(Edge { from: from.clone(), to: None, tests_only: false });
        for dependency in &package.dependencies {
            let inside = dependency.path.as_ref().is_some_and(|path| Path::new(path).starts_with(root));
            if inside && dependency.name != from {
                let tests_only = dependency.kind == DependencyKind::Development;
                edges.push(Edge { from: from.clone(), to: Some(dependency.name.clone()), tests_only });
            }
        }
    }
    edges
}

/// Edges that the table does not allow, and crates that it does not know.
pub(super) fn check(edges: &[Edge], rules: &Rules, used: &mut Used) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |text: String| findings.push(Finding::new("Cargo.toml", 0, text));
    for Edge { from, to, tests_only } in edges {
        let Some(allowed) = rules.imports.get(from) else {
            say(format!("crate {from} has no row under imports in xtask/tidy.toml"));
            continue;
        };
        let Some(to) = to else { continue };
        let named = |list: &[String]| list.iter().any(|name| name == to || name == "*");
        if named(allowed) || (*tests_only && named(&rules.test_imports)) {
            continue;
        }
        let mut exceptions = rules.import_exceptions.iter();
        if exceptions.any(|e| e.from == *from && e.to == *to && (*tests_only || !e.tests_only)) {
            used.insert(format!("{from} → {to}"));
            continue;
        }
        let tests = if *tests_only { " (in tests)" } else { "" };
        say(format!("{from} may not import {to}{tests}: see ARCHITECTURE.md, who may import whom"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        toml::from_str(
            r#"
            max_lines = 1
            first_level = []
            vague_names = []
            words = []
            test_imports = ["testkit"]
            import_exceptions = [
                { from = "apiserver", to = "client", tests_only = true, reason = "its tests speak HTTP" },
            ]
            [imports]
            api = []
            apiserver = ["api", "storage"]
            minik = ["*"]
            "#,
        )
        .unwrap()
    }

    fn findings(from: &str, to: &str, tests_only: bool) -> usize {
        let edge = Edge { from: from.to_owned(), to: Some(to.to_owned()), tests_only };
        check(&[edge], &rules(), &mut Used::new()).len()
    }

    #[test]
    fn the_table_decides() {
        for (from, to, tests_only, wrong) in [
            ("apiserver", "api", false, 0),
            ("apiserver", "storage", true, 0),
            ("apiserver", "kubelet", false, 1),
            ("apiserver", "testkit", true, 0),
            ("apiserver", "testkit", false, 1),
            ("apiserver", "client", true, 0),
            ("apiserver", "client", false, 1),
            ("api", "storage", false, 1),
            ("minik", "kubelet", false, 0),
            ("stranger", "api", false, 1),
        ] {
            assert_eq!(findings(from, to, tests_only), wrong, "{from} → {to}, tests: {tests_only}");
        }
    }

    #[test]
    fn a_used_exception_is_noted() {
        let mut used = Used::new();
        let edge = Edge { from: "apiserver".into(), to: Some("client".into()), tests_only: true };
        assert_eq!(check(&[edge], &rules(), &mut used), []);
        assert!(rules().unused(&used).is_empty());
    }
}
