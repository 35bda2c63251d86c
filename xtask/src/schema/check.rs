//! Checks the committed table against upstream's fixtures: every kind with every field set, as JSON and as
//! protobuf. The JSON must decode strictly and unchanged; the protobuf must become the same JSON, and the JSON
//! the same protobuf, byte for byte.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use api::protobuf;
use api::schema::{Schema, strict};
use serde_json::Value;

/// Checks every `NAME.json` of the folder and the `NAME.pb` next to it.
pub(super) fn run(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    ensure!(!files.is_empty(), "no .json files in {}", folder.display());
    let mut failed = 0;
    for path in &files {
        if let Err(error) = check(path) {
            failed += 1;
            eprintln!("{}: {error:#}", path.file_name().unwrap_or_default().to_string_lossy());
        }
    }
    eprintln!("{} objects checked, {failed} failed", files.len());
    ensure!(failed == 0, "the table disagrees with the fixtures");
    Ok(())
}

fn check(path: &Path) -> Result<()> {
    let bytes = std::fs::read(path)?;
    let object: Value = serde_json::from_slice(&bytes)?;
    if object["apiVersion"].is_null() {
        return Ok(()); // A watch event is a frame, not an object.
    }
    let api_version = object["apiVersion"].as_str().context("no apiVersion")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().context("no kind")?;
    let ty = Schema::get().type_by_gvk(group, version, kind).context("not in the table")?;
    let decoded = strict::decode(&bytes, ty)?;
    if let Some(error) = decoded.strict_error() {
        bail!("{error}");
    }
    let unchanged = without_nulls(&object) == without_nulls(&decoded.value);
    ensure!(unchanged, "decoding changed {}", first_difference("", &object, &decoded.value));
    let binary = std::fs::read(path.with_extension("pb"))?;
    let read = protobuf::object(&binary)?;
    let difference = first_difference("", &without_nulls(&object), &read);
    ensure!(difference.is_empty(), "protobuf differs at {difference}");
    let written = protobuf::object_bytes(&decoded.value)?;
    if let Some(at) = written.iter().zip(&binary).position(|(a, b)| a != b) {
        let around =
            |bytes: &[u8]| bytes[at.saturating_sub(24)..bytes.len().min(at + 24)].escape_ascii().to_string();
        bail!("protobuf differs from byte {at}: {} instead of {}", around(&written), around(&binary));
    }
    ensure!(written.len() == binary.len(), "protobuf of {} instead of {} bytes", written.len(), binary.len());
    Ok(())
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k.clone(), without_nulls(v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn first_difference(path: &str, wanted: &Value, got: &Value) -> String {
    match (wanted, got) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            let all = keys.map(|k| first_difference(&format!("{path}.{k}"), &wanted[k], &got[k]));
            all.filter(|d| !d.is_empty()).collect::<Vec<_>>().join("; ")
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs
                .map(|(i, (a, b))| first_difference(&format!("{path}[{i}]"), a, b))
                .find(|d| !d.is_empty())
                .unwrap_or_default()
        }
        (a, b) if a == b || a.as_f64().is_some_and(|x| b.as_f64() == Some(x)) => String::new(),
        (a, b) => format!("{path}: {a} but protobuf has {b}"),
    }
}
