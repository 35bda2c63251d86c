//! Removes images that nobody uses when the engine's disk fills up.
//!
//! **Contract**: only images that this node has pulled itself, which it keeps a list of; never those that the user has built
//! or pulled (`docs/decisions/0013-disk-pressure.md`). The longest unused go first, until enough is free.
//! **Upstream**: `pkg/kubelet/images/image_gc_manager.go`.

use crate::images::Images;
use component_base::Clock;
use jiff::{SignedDuration, Timestamp};
use runtime::{ContainerFilter, RuntimeService};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// `ImageGCPeriod`.
const PERIOD: Duration = Duration::from_secs(300);
/// `imageGCHighThresholdPercent`, `imageGCLowThresholdPercent`.
const HIGH_PERCENT: u64 = 85;
const LOW_PERCENT: u64 = 80;
/// `imageMinimumGCAge`.
const MINIMUM_AGE: SignedDuration = SignedDuration::from_secs(120);

/// The images that this node has pulled, by id, with the time of their last use; kept in a file.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    file: Option<PathBuf>,
    used: Arc<Mutex<BTreeMap<String, Timestamp>>>,
}

impl Ledger {
    /// As it was left.
    pub(crate) fn load(file: PathBuf) -> Self {
        let text = std::fs::read(&file).unwrap_or_default();
        let used: BTreeMap<String, Timestamp> = serde_json::from_slice(&text).unwrap_or_default();
        Self { file: Some(file), used: Arc::new(Mutex::new(used)) }
    }

    /// An image was pulled.
    pub(crate) fn pulled(&self, id: &str, now: Timestamp) {
        self.locked().insert(id.to_owned(), now);
        self.save();
    }

    /// An image is used by a new container.
    pub(crate) fn used(&self, id: &str, now: Timestamp) {
        if let Some(at) = self.locked().get_mut(id) {
            *at = now;
        }
    }

    fn removed(&self, id: &str) {
        self.locked().remove(id);
        self.save();
    }

    fn save(&self) {
        let Some(file) = &self.file else { return };
        let text = serde_json::to_vec(&*self.locked()).unwrap_or_default();
        if let Err(error) = write_whole(file, &text) {
            tracing::warn!("keep the list of pulled images: {error}");
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Timestamp>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_whole(file: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let new = file.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, file)
}

/// Looks at the disk until the context ends.
pub(crate) async fn run(
    clock: Clock,
    runtime: Arc<dyn RuntimeService>,
    images: Arc<Images>,
    engine_dir: PathBuf,
) {
    loop {
        clock.sleep(PERIOD).await;
        let Ok(disk) = rustix::fs::statvfs(&engine_dir) else { continue };
        let capacity = disk.f_blocks * disk.f_frsize;
        let free = disk.f_bavail * disk.f_frsize;
        let Some(wanted) = to_free(capacity, free) else { continue };
        if let Err(error) = collect(&clock, &*runtime, &images, wanted).await {
            tracing::warn!("collect unused images: {error}");
        }
    }
}

/// How many bytes are to be freed; none: there is room.
fn to_free(capacity: u64, free: u64) -> Option<u64> {
    let used = capacity.saturating_sub(free);
    (capacity > 0 && used * 100 >= capacity * HIGH_PERCENT)
        .then(|| used.saturating_sub(capacity / 100 * LOW_PERCENT))
}

async fn collect(
    clock: &Clock,
    runtime: &dyn RuntimeService,
    images: &Images,
    wanted: u64,
) -> runtime::Result<()> {
    let containers = runtime.list_containers(&ContainerFilter::default()).await?;
    let in_use: HashSet<String> = containers.iter().map(|c| c.image_id.to_string()).collect();
    let present = images.list().await?;
    let sizes: Vec<(String, u64)> = present.iter().map(|i| (i.id.to_string(), i.size)).collect();
    let known = images.ledger().locked().clone();
    for id in choose(&sizes, &known, &in_use, clock.now(), wanted) {
        match images.remove(&id).await {
            Ok(()) => {
                tracing::info!(image = id, "removed an image that nobody uses");
                images.ledger().removed(&id);
            }
            Err(error) => tracing::info!(image = id, "keep an image: {error}"),
        }
    }
    Ok(())
}

/// The images to remove, the longest unused first.
fn choose(
    present: &[(String, u64)],
    known: &BTreeMap<String, Timestamp>,
    in_use: &HashSet<String>,
    now: Timestamp,
    wanted: u64,
) -> Vec<String> {
    let mut candidates: Vec<(Timestamp, &str, u64)> = present
        .iter()
        .filter(|(id, _)| !in_use.contains(id))
        .filter_map(|(id, size)| Some((*known.get(id)?, id.as_str(), *size)))
        .filter(|(used, ..)| now.duration_since(*used) >= MINIMUM_AGE)
        .collect();
    candidates.sort();
    let mut freed = 0;
    let mut chosen = Vec::new();
    for (_, id, size) in candidates {
        if freed >= wanted {
            break;
        }
        freed += size;
        chosen.push(id.to_owned());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn a_disk_is_emptied_from_85_to_80_percent() {
        assert_eq!(to_free(1000, 200), None);
        assert_eq!(to_free(1000, 150), Some(50));
        assert_eq!(to_free(0, 0), None);
    }

    #[test]
    fn only_own_unused_images_go_the_longest_unused_first() {
        let present: Vec<(String, u64)> =
            ["old", "older", "used", "fresh", "foreign"].map(|id| (id.to_owned(), 10)).into();
        let known = [("old", 200), ("older", 100), ("used", 50), ("fresh", 990)];
        let known = known.map(|(id, time)| (id.to_owned(), at(time))).into();
        let in_use = HashSet::from(["used".to_owned()]);
        let choose = |wanted| choose(&present, &known, &in_use, at(1000), wanted);
        assert_eq!(choose(5), ["older"]);
        assert_eq!(choose(11), ["older", "old"]);
        assert_eq!(choose(1000), ["older", "old"]);
    }

    #[test]
    fn the_list_survives() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("deep/images.json");
        Ledger::load(file.clone()).pulled("a", at(1));
        let again = Ledger::load(file);
        again.used("a", at(2));
        again.used("foreign", at(2));
        assert_eq!(*again.locked(), BTreeMap::from([("a".to_owned(), at(2))]));
    }
}
