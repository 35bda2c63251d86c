//! What a server served the last time, in a file.
//!
//! **Contract.** A file a server in the cache folder, written whole or not at all. One that cannot be read is as good as none, and
//! a folder that cannot be written costs nothing but time.
//! **Upstream.** The place of kubectl's cache of discovery (`computeDiscoverCacheDir`); the file is kctl's own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Group;
use crate::client_config::Globals;
use crate::terminal::Terminal;

/// One of the two documents of discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// `/api`, `/apis`
    pub(super) path: String,
    /// The server's tag of it.
    pub(super) tag: String,
    /// What it says.
    pub(super) groups: Vec<Group>,
}

/// Where discovery is kept.
#[derive(Debug, Default)]
pub(crate) struct Cache(Option<PathBuf>);

impl Cache {
    /// The file for a server: below `--cache-dir`, `KUBECACHEDIR`, or `~/.kube/cache`.
    pub(crate) fn of(server: &str, globals: &Globals, terminal: &Terminal) -> Self {
        let folder = globals
            .cache_dir
            .clone()
            .or_else(|| terminal.variable("KUBECACHEDIR").map(PathBuf::from))
            .or_else(|| Some(terminal.home()?.join(".kube").join("cache")));
        Self(folder.map(|folder| folder.join("discovery").join(folder_of(server)).join("kctl.json")))
    }

    pub(super) fn read(&self) -> Vec<Kept> {
        let text = self.0.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn write(&self, kept: &[Kept]) {
        if let Some(path) = &self.0
            && let Ok(text) = serde_json::to_vec(kept)
        {
            // Without it the next command asks again, that is all.
            let _ = write(path, &text);
        }
    }
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    // Of this process alone: others may be writing the same.
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, text)?;
    std::fs::rename(temporary, path)
}

/// `127.0.0.1_6443` of a URL.
fn folder_of(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_broken_is_nothing() {
        let home = tempfile::tempdir().expect("a folder");
        let globals = Globals { cache_dir: Some(home.path().to_owned()), ..Globals::default() };
        let terminal = Terminal::new(&b""[..], Vec::new(), Vec::new(), || jiff::Timestamp::UNIX_EPOCH);
        let cache = Cache::of("https://127.0.0.1:6443/a/b", &globals, &terminal);
        assert!(cache.read().is_empty());
        let kept = vec![Kept { path: "/api".to_owned(), tag: "1".to_owned(), groups: Vec::new() }];
        cache.write(&kept);
        assert_eq!(cache.read(), kept);
        let file = home.path().join("discovery/127.0.0.1_6443_a_b/kctl.json");
        std::fs::write(&file, "{").expect("written");
        assert!(cache.read().is_empty());
        // Nowhere to keep anything.
        Cache::default().write(&kept);
        assert!(Cache::default().read().is_empty());
        assert!(Cache::of("s", &Globals::default(), &terminal).0.is_none());
    }
}
