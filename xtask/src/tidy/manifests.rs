//! Manifests: versions, lints and package facts stand once, in the root.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::Finding;

/// What a member takes from the root.
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];
const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks every manifest among the files.
pub(super) fn check(files: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut wanted = BTreeSet::new();
    for (path, text) in files {
        if !path.ends_with("/Cargo.toml") {
            continue;
        }
        match text.parse::<Table>() {
            Ok(manifest) => findings.extend(member(path, &manifest, &mut wanted)),
            Err(error) => findings.push(Finding::new(path, 0, format!("not TOML: {error}"))),
        }
    }
    let root = files.get("Cargo.toml").and_then(|text| text.parse::<Table>().ok()).unwrap_or_default();
    let rows = root.get("workspace").and_then(|w| w.get("dependencies")).and_then(Value::as_table);
    for name in rows.into_iter().flat_map(Table::keys).filter(|name| !wanted.contains(*name)) {
        findings.push(Finding::new(
            "Cargo.toml",
            0,
            format!("no crate uses the dependency {name}: remove it"),
        ));
    }
    findings
}

/// Checks a member's manifest and adds the dependencies that it names to `wanted`.
fn member(path: &str, manifest: &Table, wanted: &mut BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |text: String| findings.push(Finding::new(path, 0, text));
    for fact in INHERITED {
        if !inherits(manifest.get("package").and_then(|package| package.get(fact))) {
            say(format!("package.{fact} stands in the root: write {fact}.workspace = true"));
        }
    }
    if !inherits(manifest.get("lints")) {
        say("lints stand in the root: write [lints] workspace = true".to_owned());
    }
    for section in DEPENDENCIES {
        let Some(dependencies) = manifest.get(section).and_then(Value::as_table) else { continue };
        for (name, spec) in dependencies {
            wanted.insert(name.clone());
            let itself = spec.get("path").and_then(Value::as_str) == Some(".");
            if !itself && !inherits(Some(spec)) {
                say(format!(
                    "{section}.{name}: versions and paths stand in the root, write workspace = true"
                ));
            }
        }
    }
    findings
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|v| v.get("workspace")).and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
        [package]
        name = 'x'
        version.workspace = true
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true
        publish.workspace = true
        [lints]
        workspace = true
        [dependencies]
        serde = { workspace = true, features = ['derive'] }
        [dev-dependencies]
        x = { path = '.' }
    ";

    fn texts(member: &str) -> Vec<String> {
        let root = "[workspace.dependencies]\nserde = '1'\n";
        let files = [("Cargo.toml", root), ("crates/x/Cargo.toml", member)];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        check(&BTreeMap::from(files)).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn everything_is_inherited() {
        assert_eq!(texts(GOOD), [""; 0]);
    }

    #[test]
    fn names_what_is_not() {
        assert!(texts(&GOOD.replace("edition.workspace = true", "edition = '2024'"))[0].contains("edition"));
        assert!(
            texts(&GOOD.replace("{ workspace = true, features = ['derive'] }", "'1'"))[0].contains("serde")
        );
        assert!(texts(&GOOD.replace("[lints]\n        workspace", "[lint]\n        x"))[0].contains("lints"));
    }

    #[test]
    fn a_row_that_nobody_uses_is_found() {
        assert!(texts(&GOOD.replace("serde", "toml").replace("'toml'", "'x'"))[0].contains("serde"));
    }
}
