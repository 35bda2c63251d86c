//! Packs the descriptions in the wheel's JSON schemas into the file that `api::schema::descriptions` reads, which has
//! the format.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

/// The packed descriptions of every definition. The same input gives the same bytes.
pub(super) fn pack(definitions: &Path) -> Result<Vec<u8>> {
    let text =
        std::fs::read(definitions).with_context(|| format!("cannot read {}", definitions.display()))?;
    let document: Value = serde_json::from_slice(&text)?;
    let mut out = String::new();
    for (name, schema) in sorted(&document["$defs"]) {
        line(&mut out, &format!("T {name}"), schema);
        for (field, schema) in sorted(&schema["properties"]) {
            line(&mut out, field, schema);
        }
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(out.as_bytes())?;
    Ok(packed.finish()?)
}

fn line(out: &mut String, name: &str, schema: &Value) {
    let text = schema["description"].as_str().unwrap_or_default().replace('\\', r"\\").replace('\n', r"\n");
    out.push_str(format!("{name} {text}").trim_end());
    out.push('\n');
}

fn sorted(object: &Value) -> Vec<(&String, &Value)> {
    let mut all: Vec<_> = object.as_object().into_iter().flatten().collect();
    all.sort_by_key(|(name, _)| *name);
    all
}
