//! Files of a folder over HTTP.
//!
//! **Contract.** Nothing outside of the folder is served.
//! **Upstream.** Go's `net/http.FileServer` (behaviour).

use std::path::{Path, PathBuf};

use bytes::Bytes;

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A file, with its media type.
    File(Bytes, &'static str),
    /// A folder of which the path lacks the last slash.
    Folder,
    /// Nothing.
    Nothing,
}

/// Looks for a path below the folder.
pub(super) fn find(folder: &Path, path: &str) -> Found {
    let mut place = PathBuf::from(folder);
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => return Found::Nothing,
            segment => place.push(segment),
        }
    }
    if !place.is_dir() {
        return match std::fs::read(&place) {
            Ok(bytes) => Found::File(bytes.into(), media_type(&place)),
            Err(_) => Found::Nothing,
        };
    }
    if !path.is_empty() && !path.ends_with('/') {
        return Found::Folder;
    }
    match std::fs::read(place.join("index.html")) {
        Ok(bytes) => Found::File(bytes.into(), "text/html; charset=utf-8"),
        Err(_) => list(&place),
    }
}

fn list(folder: &Path) -> Found {
    let Ok(entries) = std::fs::read_dir(folder) else { return Found::Nothing };
    let name = |entry: std::fs::DirEntry| {
        let slash = if entry.path().is_dir() { "/" } else { "" };
        format!("{}{slash}", entry.file_name().to_string_lossy())
    };
    let mut names: Vec<String> = entries.flatten().map(name).collect();
    names.sort();
    let escape = |text: &str| {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
    };
    let links: String = names.iter().map(|name| format!("<a href=\"{0}\">{0}</a>\n", escape(name))).collect();
    Found::File(format!("<pre>\n{links}</pre>\n").into(), "text/html; charset=utf-8")
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or("") {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        "xml" => "text/xml; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/a.txt"), "one").unwrap();
        let found = |path: &str| find(&folder.path().join("sub"), path);
        assert_eq!(found("a.txt"), Found::File("one".into(), "text/plain; charset=utf-8"));
        assert_eq!(found("../sub/a.txt"), Found::Nothing);
        assert_eq!(found("b"), Found::Nothing);
        let listed = "<pre>\n<a href=\"a.txt\">a.txt</a>\n</pre>\n";
        assert_eq!(found(""), Found::File(listed.into(), "text/html; charset=utf-8"));
        assert_eq!(find(folder.path(), "sub"), Found::Folder);
    }
}
