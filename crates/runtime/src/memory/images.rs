//! Images on paper: there, to be pulled, or not to be had.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::reference;
use crate::{Error, Image, ImageId, Result};

/// What is true of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageBehaviour {
    /// It is present.
    Present,
    /// It is absent and a pull brings it after this time.
    Pullable(Duration),
    /// It is absent and a pull fails so, after this time.
    Fails(Duration, Error),
    /// Asking for it fails so.
    Broken(Error),
}

impl ImageBehaviour {
    /// Absent, and unknown to the registry.
    pub fn missing(image: &str) -> Self {
        Self::Fails(
            Duration::ZERO,
            Error::ImageNotFound {
                image: image.to_owned(),
                message: format!("manifest for {image} not found: manifest unknown: manifest unknown"),
            },
        )
    }
}

/// The images of a runtime on paper.
pub(super) struct Images {
    default: ImageBehaviour,
    known: BTreeMap<String, ImageBehaviour>,
    /// Present by a pull, or present by default and asked for: these can be listed and found by id.
    pulled: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl Default for Images {
    fn default() -> Self {
        Self::new(ImageBehaviour::Present)
    }
}

/// Size of every image.
const SIZE: u64 = 1 << 20;

impl Images {
    pub(super) fn new(default: ImageBehaviour) -> Self {
        Self { default, known: BTreeMap::new(), pulled: BTreeSet::new(), removed: BTreeSet::new() }
    }

    pub(super) fn set(&mut self, image: &str, behaviour: ImageBehaviour) {
        let name = familiar(image).unwrap_or_else(|_| image.to_owned());
        self.pulled.remove(&name);
        self.removed.remove(&name);
        self.known.insert(name, behaviour);
    }

    pub(super) fn status(&mut self, image: &str) -> Result<Option<Image>> {
        let name = if image.starts_with("sha256:") { self.by_id(image) } else { Some(familiar(image)?) };
        let Some(name) = name else { return Ok(None) };
        let present = match self.behaviour(&name) {
            ImageBehaviour::Broken(error) => return Err(error.clone()),
            ImageBehaviour::Present => !self.removed.contains(&name),
            ImageBehaviour::Pullable(_) | ImageBehaviour::Fails(..) => self.pulled.contains(&name),
        };
        if !present {
            return Ok(None);
        }
        let found = describe(&name);
        self.pulled.insert(name);
        Ok(Some(found))
    }

    pub(super) fn list(&self) -> Vec<Image> {
        let present = self
            .known
            .iter()
            .filter(|(name, b)| **b == ImageBehaviour::Present && !self.removed.contains(*name));
        let names: BTreeSet<&String> = present.map(|(name, _)| name).chain(&self.pulled).collect();
        names.into_iter().map(|name| describe(name)).collect()
    }

    pub(super) fn pull_delay(&self, image: &str) -> Result<Duration> {
        Ok(match self.behaviour(&familiar(image)?) {
            ImageBehaviour::Pullable(delay) | ImageBehaviour::Fails(delay, _) => *delay,
            ImageBehaviour::Present | ImageBehaviour::Broken(_) => Duration::ZERO,
        })
    }

    pub(super) fn pull(&mut self, image: &str) -> Result<ImageId> {
        let name = familiar(image)?;
        match self.behaviour(&name) {
            ImageBehaviour::Fails(_, error) | ImageBehaviour::Broken(error) => return Err(error.clone()),
            ImageBehaviour::Present | ImageBehaviour::Pullable(_) => {}
        }
        self.removed.remove(&name);
        let id = describe(&name).id;
        self.pulled.insert(name);
        Ok(id)
    }

    pub(super) fn remove(&mut self, image: &str) {
        if let Ok(name) = familiar(image) {
            self.pulled.remove(&name);
            self.removed.insert(name);
        }
    }

    fn behaviour(&self, name: &str) -> &ImageBehaviour {
        self.known.get(name).unwrap_or(&self.default)
    }

    fn by_id(&self, id: &str) -> Option<String> {
        self.known.keys().chain(&self.pulled).find(|name| describe(name).id.as_str() == id).cloned()
    }
}

fn familiar(image: &str) -> Result<String> {
    Ok(reference::parse(image)?.familiar())
}

fn describe(name: &str) -> Image {
    // FNV-1a, four times with different starts: no secret, only distinct and always the same.
    let mut hex = String::from("sha256:");
    for start in 0..4u64 {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        hex.push_str(&format!("{hash:016x}"));
    }
    let repository =
        name.split('@').next().and_then(|n| n.rsplit_once(':')).map_or(name, |(repository, _)| repository);
    let digest = name.split_once('@').map_or(hex.as_str(), |(_, digest)| digest);
    Image {
        repo_tags: if name.contains('@') { Vec::new() } else { vec![name.to_owned()] },
        repo_digests: vec![format!("{repository}@{digest}")],
        id: ImageId::new(hex.as_str()),
        size: SIZE,
        uid: None,
        username: None,
    }
}
