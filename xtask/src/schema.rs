//! `cargo xtask schema`: writes the table of facts about the built-in types of Kubernetes 1.36.
//!
//! The structure (fields, types, list types, merge keys, kinds) comes from the JSON schemas in the PyPI wheel
//! `kubernetes-validate`; protobuf numbers and `+default` markers come from the crate `k8s-pb`, which is one
//! minor version behind; what neither has stands in `crates/api/data/addendum-1.36.txt`; `presence-1.36.txt`
//! next to it tells pointers from plain values. Descriptions go into a packed file of their own. `--check FOLDER` decodes
//! upstream's fixtures (one JSON and one protobuf file a kind) by the table.
//! The table's format is described in `crates/api/src/schema/table.rs`.

#![allow(clippy::print_stderr)]

mod check;
mod definitions;
mod descriptions;
mod merge;
mod protobuf;
mod sources;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Arguments of `cargo xtask schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check the committed table against a folder with KIND.json and KIND.pb files instead of writing it.
    #[arg(long, value_name = "FOLDER")]
    check: Option<PathBuf>,
}

/// Writes the table, or checks it.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.check {
        Some(folder) => check::run(folder),
        None => write(),
    }
}

fn write() -> Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/api/data");
    let source = sources::definitions()?;
    let definitions = definitions::read(&source)?;
    let messages = protobuf::read(&sources::protobuf()?)?;
    let addendum =
        std::fs::read_to_string(data.join("addendum-1.36.txt")).context("cannot read the addendum")?;
    let presence = std::fs::read_to_string(data.join("presence-1.36.txt"))
        .context("cannot read which fields are pointers")?;
    let merged = merge::merge(definitions, &messages, &addendum, &presence)?;
    let out = data.join("schema-1.36.txt");
    std::fs::write(&out, &merged.table).with_context(|| format!("cannot write {}", out.display()))?;
    eprintln!("{}: {} types, {} bytes", out.display(), merged.types, merged.table.len());
    let packed = descriptions::pack(&source)?;
    let out = data.join("descriptions-1.36.txt.gz");
    std::fs::write(&out, &packed).with_context(|| format!("cannot write {}", out.display()))?;
    eprintln!("{}: {} bytes", out.display(), packed.len());
    for field in &merged.unnumbered {
        eprintln!("no protobuf number: {field}");
    }
    Ok(())
}
