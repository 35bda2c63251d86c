//! Fetches the two packages that the table is made of into the build folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const WHEEL: &str = "kubernetes-validate==1.37.0";
const DEFINITIONS: &str = "kubernetes_validate/kubernetes-json-schema/v1.36.0-local/_definitions.json";
const CRATE: &str = r#"k8s-pb = "=0.9.0""#;

/// The wheel's `_definitions.json` of 1.36.
pub(super) fn definitions() -> Result<PathBuf> {
    let folder = folder("wheel")?;
    let file = folder.join(DEFINITIONS);
    if !file.exists() {
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--no-deps", "--quiet", "--dest"])
            .arg(&folder)
            .arg(WHEEL))?;
        let wheel = std::fs::read_dir(&folder)?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .find(|path| path.extension().is_some_and(|e| e == "whl"))
            .context("pip left no wheel")?;
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&folder))?;
    }
    Ok(file)
}

/// The `src` folder of k8s-pb.
pub(super) fn protobuf() -> Result<PathBuf> {
    let folder = folder("crate")?;
    let manifest = folder.join("Cargo.toml");
    std::fs::create_dir_all(folder.join("src"))?;
    std::fs::write(folder.join("src/lib.rs"), "")?;
    let package = "[workspace]\n[package]\nname = \"sources\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
    std::fs::write(&manifest, format!("{package}[dependencies]\n{CRATE}\n"))?;
    let output = run(Command::new("cargo")
        .args(["metadata", "--format-version=1", "--manifest-path"])
        .arg(&manifest))?;
    let metadata: Value = serde_json::from_slice(&output)?;
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    let found = packages.iter().find(|p| p["name"] == "k8s-pb").context("cargo metadata without k8s-pb")?;
    let manifest = found["manifest_path"].as_str().context("a package without a manifest")?;
    Ok(Path::new(manifest).with_file_name("src"))
}

fn folder(name: &str) -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("minik-schema-sources").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(output.stdout)
}
