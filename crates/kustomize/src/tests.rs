//! Folders of `testdata` beside what kubectl 1.36 makes of them, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::{LoadRestrictor, Parse, build};

const PARSE: Parse = Parse { objects: |text| parse(text, true), settings: |text| parse(text, false) };

fn parse(text: &str, strict: bool) -> Vec<Result<Value, String>> {
    let documents = text.split("\n---\n").filter(|part| !part.trim().is_empty());
    let mut options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    (options.budget, options.strict_booleans) = (None, strict);
    documents
        .map(|part| {
            serde_saphyr::from_str_with_options(part, options.clone()).map_err(|error| error.to_string())
        })
        .collect()
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

#[test]
fn builds_what_kubectl_builds() {
    let mut count = 0;
    for entry in fs::read_dir(testdata()).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(expected) = fs::read_to_string(folder.join("expected.yaml")) else { continue };
        let expected: Vec<Value> = parse(&expected, false).into_iter().collect::<Result<_, _>>().unwrap();
        let built = build(&folder, LoadRestrictor::RootOnly, PARSE, &mut |_| {})
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert_eq!(built.len(), expected.len(), "{}", folder.display());
        for (built, expected) in built.iter().zip(&expected) {
            assert_eq!(built, expected, "{}", folder.display());
        }
        count += 1;
    }
    assert!(count >= 10, "{count} folders");
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

#[test]
fn says_what_kustomize_says() {
    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";
    let table: &[(&str, &str)] = &[
        ("resourcez: [a]", "invalid Kustomization: json: unknown field \"resourcez\""),
        ("", "kustomization.yaml is empty"),
        ("kind: Kustomization", "kustomization.yaml is empty"),
        (
            "resources: [none.yaml]",
            "accumulating resources: accumulation err='accumulating resources from 'none.yaml': evalsymlink failure on '/D/none.yaml' : lstat /D/none.yaml: no such file or directory': must build at directory: not a valid directory: evalsymlink failure on '/D/none.yaml' : lstat /D/none.yaml: no such file or directory",
        ),
        (
            "resources: [m.yaml]\npatches: [{patch: '{\"kind\": \"ConfigMap\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"zz\"}}'}]",
            "no resource matches strategic merge patch \"ConfigMap.v1.[noGrp]/zz.[noNs]\": no matches for Id ConfigMap.v1.[noGrp]/zz.[noNs]; failed to find unique target for patch ConfigMap.v1.[noGrp]/zz.[noNs]",
        ),
        (
            "resources: [m.yaml, n.yaml]",
            "may not add resource with an already registered id: ConfigMap.v1.[noGrp]/m.[noNs]",
        ),
        (
            "configMapGenerator: [{name: a, behavior: merge, literals: [a=b]}]",
            "does not exist; cannot merge or replace",
        ),
        (
            "configMapGenerator: [{name: a, literals: [ab]}]",
            "loading KV pairs: literal sources [ab]: invalid literal source ab, expected key=value",
        ),
        (
            "configMapGenerator: [{name: s, literals: [\"a=x\",\"a=y\"]}]",
            "configmap s illegally repeats the key `a`",
        ),
        (
            "resources: [m.yaml]\nreplicas: [{name: q, count: 2}]",
            "resource with name q does not match a config with the following GVK [Deployment.[noVer].[noGrp] StatefulSet.[noVer].[noGrp] ReplicaSet.[noVer].[noGrp] ReplicationController.[noVer].[noGrp]]",
        ),
        (
            "resources: [m.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '[{\"op\":\"replace\",\"path\":\"/data/x\",\"value\":1}]'}]",
            "replace operation does not apply: doc is missing path: /data/x: missing value",
        ),
        (
            "resources: [m.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '[{\"op\":\"remove\",\"path\":\"/x\"}]'}]",
            "error in remove for path: '/x': unable to remove nonexistent key: x: missing value",
        ),
        (
            "resources: [m.yaml]\npatches: [{patch: '[{\"op\":\"remove\",\"path\":\"/x\"}]'}]",
            "must specify a target for JSON patch [patch: \"[{\\\"op\\\":\\\"remove\\\",\\\"path\\\":\\\"/x\\\"}]\"]",
        ),
        ("resources: [../a.yaml]", "accumulating resources from '../a.yaml': evalsymlink failure on"),
        ("resources: [.]", "cycle detected: candidate root '/D' contains visited root '/D'"),
        (
            "kind: Foo\nresources: [m.yaml]",
            "Failed to read kustomization file under /D:\nkind should be Kustomization or Component",
        ),
        ("helmCharts: [{name: x}]", "field \"helmCharts\" is not supported"),
        (
            "resources: [m.yaml]\nreplacements: [{source: {kind: Secret}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x]}]}]",
            "nothing selected by Secret.[noVer].[noGrp]/[noName].[noNs]",
        ),
        (
            "resources: [m.yaml]\nreplacements: [{source: {kind: ConfigMap}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x]}]}]",
            "unable to find field \"data.x\" in replacement target",
        ),
        ("resources: [\"https://127.0.0.1:1/x.yaml\"]", "files are read from this machine only"),
    ];
    for (text, wanted) in table {
        let folder = folder(&[("d/kustomization.yaml", text), ("d/m.yaml", MAP), ("d/n.yaml", MAP)]);
        let root = fs::canonicalize(folder.path().join("d")).unwrap();
        let error = build(&root, LoadRestrictor::RootOnly, PARSE, &mut |_| {}).expect_err(text).to_string();
        let error = error.replace(root.to_str().unwrap(), "/D");
        assert!(error.contains(wanted), "{text}\n  says {error}\nwanted {wanted}");
    }
}

#[test]
fn files_outside_the_folder_are_for_those_who_ask() {
    let folder = folder(&[
        ("over/kustomization.yaml", "resources: [../m.yaml]"),
        ("m.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n"),
    ]);
    let over = folder.path().join("over");
    let error = build(&over, LoadRestrictor::RootOnly, PARSE, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("is not in or below"), "{error}");
    assert_eq!(build(&over, LoadRestrictor::None, PARSE, &mut |_| {}).unwrap().len(), 1);
}

#[test]
fn fields_out_of_use_are_told() {
    let mut told = Vec::new();
    build(&testdata().join("legacy"), LoadRestrictor::RootOnly, PARSE, &mut |line| {
        told.push(line.to_owned())
    })
    .unwrap();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with("# Warning: 'bases' is deprecated. Please use 'resources' instead."));
}
