//! An image as the engine's load API takes it: one layer made in memory.
//!
//! Contract: the same files and configuration give the same bytes, so the same image id.
//!
//! Upstream: Docker image specification v1.2.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file of the layer.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Path without the leading slash.
    pub path: &'a str,
    /// Permissions.
    pub mode: u32,
    /// Content.
    pub content: &'a [u8],
}

/// The archive of an image with one layer. `config` is the image's `config` object (`Entrypoint`, `Env`, …).
pub fn build(reference: &str, files: &[File<'_>], config: &Value) -> Vec<u8> {
    let layer = tar(files);
    let layer_digest = hex(&layer);
    let image = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "created": "1970-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "minik"}],
    })
    .to_string()
    .into_bytes();
    let image_name = format!("{}.json", hex(&image));
    let layer_name = format!("{layer_digest}/layer.tar");
    let manifest = json!([{"Config": image_name, "RepoTags": [reference], "Layers": [layer_name]}]);
    let part = |path, content| File { path, mode: 0o644, content };
    tar(&[
        part(image_name.as_str(), image.as_slice()),
        part(layer_name.as_str(), layer.as_slice()),
        part("manifest.json", manifest.to_string().as_bytes()),
    ])
}

/// SHA-256 in hexadecimal digits.
pub fn hex(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tar(files: &[File<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_mtime(0);
        builder.append_data(&mut header, file.path, file.content).expect("writing to memory cannot fail");
    }
    builder.into_inner().expect("writing to memory cannot fail")
}

/// Go's name for this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_for_the_same_input() {
        let file = File { path: "a", mode: 0o755, content: b"x" };
        let one = build("a:b", &[file], &json!({}));
        assert_eq!(one, build("a:b", &[file], &json!({})));
        assert_ne!(one, build("a:c", &[file], &json!({})));
    }
}
