//! Images that minik keeps as archives, for engines that have lost them: `$MINIK_HOME/cache/images`.
//!
//! **Contract**: an archive is there whole or not at all. Its path is the image's full name, `docker.io/library/nginx:1`.
//! **Upstream**: `minikube cache`.

use crate::problem::Problem;
use anyhow::{Context as _, Result};
use runtime::{ImageService as _, reference};
use runtime_docker::DockerRuntime;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The archives of a home folder.
pub(crate) struct Cache {
    root: PathBuf,
}

/// An image with an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cached {
    /// Its name, as Docker shows it.
    pub(crate) name: String,
    archive: PathBuf,
}

impl Cache {
    pub(crate) fn new(home: &Path) -> Self {
        Self { root: home.join("cache/images") }
    }

    /// What belongs to this name, whether it is there or not.
    pub(crate) fn entry(&self, image: &str) -> Result<Cached> {
        let name = reference::parse(image)?;
        let Some(tag) = name.tag.as_ref().filter(|_| name.digest.is_none()) else {
            return Err(Problem::error(
                format!("{image} cannot be cached: an archive does not keep digests"),
                "name the image by its tag",
            ));
        };
        let archive = self.root.join(format!("{}/{}:{tag}", name.registry, name.repository));
        Ok(Cached { name: name.familiar(), archive })
    }

    /// The images that have archives, by name.
    pub(crate) fn list(&self) -> Result<Vec<Cached>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.with_context(|| format!("read {}", folder.display()))?,
            };
            for entry in entries {
                let entry = entry.with_context(|| format!("read {}", folder.display()))?;
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                    continue;
                }
                let path = entry.path();
                let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
                // What is half written has no image's name.
                found.extend(name.and_then(|name| self.entry(name).ok()).filter(|one| one.archive == path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Loads what the engine has not; the names of what was loaded.
    pub(crate) async fn load_missing(&self, engine: &DockerRuntime) -> Result<Vec<String>> {
        let mut loaded = Vec::new();
        for cached in self.list()? {
            if engine.image_status(&cached.name).await?.is_none() {
                cached.load(engine).await?;
                loaded.push(cached.name);
            }
        }
        Ok(loaded)
    }
}

impl Cached {
    pub(crate) fn exists(&self) -> bool {
        self.archive.is_file()
    }

    /// Writes the archive of what the engine has.
    pub(crate) async fn save(&self, engine: &DockerRuntime) -> Result<()> {
        let folder = self.archive.parent().context("an archive's folder")?;
        fs::create_dir_all(folder).with_context(|| format!("write {}", self.archive.display()))?;
        // No tag begins with a dash.
        write_archive(engine, std::slice::from_ref(&self.name), &self.archive, ":-partial").await
    }

    /// Gives the engine what is in the archive.
    pub(crate) async fn load(&self, engine: &DockerRuntime) -> Result<()> {
        let file = tokio::fs::File::open(&self.archive).await;
        let file = file.with_context(|| format!("open {}", self.archive.display()))?;
        engine.load_images(file).await.with_context(|| format!("load {} from the cache", self.name))?;
        Ok(())
    }

    /// Removes the archive, with folders that are empty then.
    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_file(&self.archive).with_context(|| format!("remove {}", self.archive.display()))?;
        let folders = self.archive.ancestors().skip(1).take_while(|folder| !folder.ends_with("cache"));
        for folder in folders {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes images into an archive, under its name with this at the end until all of it is there: whoever reads the file finds the
/// whole of it or none.
pub(crate) async fn write_archive(
    engine: &DockerRuntime,
    images: &[String],
    archive: &Path,
    partial: &str,
) -> Result<()> {
    let failed = || format!("write {}", archive.display());
    let unfinished = PathBuf::from(format!("{}{partial}", archive.display()));
    let mut file = tokio::fs::File::create(&unfinished).await.with_context(failed)?;
    let moved = match engine.save_images(images, &mut file).await {
        Ok(()) => tokio::fs::rename(&unfinished, archive).await.with_context(failed),
        Err(error) => Err(error.into()),
    };
    if moved.is_err() {
        let _ = tokio::fs::remove_file(&unfinished).await;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_listed_by_the_names_that_they_were_made_for() {
        let home = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(home.path());
        assert_eq!(cache.list().expect("listed"), []);
        let names = ["localhost:5000/team/app:1", "nginx:1.27", "quay.io/a/b:latest"];
        for name in ["nginx:1.27", "quay.io/a/b", "localhost:5000/team/app:1"] {
            let cached = cache.entry(name).expect("a name");
            fs::create_dir_all(cached.archive.parent().expect("a folder")).expect("made");
            fs::write(&cached.archive, "").expect("written");
        }
        fs::write(home.path().join("cache/images/docker.io/library/half:1:-partial"), "").expect("written");
        let listed: Vec<_> = cache.list().expect("listed").into_iter().map(|cached| cached.name).collect();
        assert_eq!(listed, names);
        let digest = format!("nginx@sha256:{}", "0".repeat(64));
        assert!(cache.entry(&digest).is_err() && cache.entry("../x").is_err());
        for name in names {
            cache.entry(name).expect("a name").remove().expect("removed");
        }
        assert!(!home.path().join("cache/images/quay.io").exists());
        // What is half written still lies there.
        assert!(home.path().join("cache/images/docker.io").exists());
    }
}
