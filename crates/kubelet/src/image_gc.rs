//! Removes images that nobody uses when the engine's disk fills up.
//!
//! **Contract**: only images that the nodes have pulled themselves, which they keep a list of (`ledger`); never those that the user has built
//! or pulled (`docs/decisions/0013-disk-pressure.md`). The longest unused go first, until enough is free.
//! **Upstream**: `pkg/kubelet/images/image_gc_manager.go`.

use crate::images::Images;
use component_base::Clock;
use jiff::{SignedDuration, Timestamp};
use runtime::{ContainerFilter, RuntimeService};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `ImageGCPeriod`.
const PERIOD: Duration = Duration::from_secs(300);
/// `imageGCHighThresholdPercent`, `imageGCLowThresholdPercent`.
const HIGH_PERCENT: u64 = 85;
const LOW_PERCENT: u64 = 80;
/// `imageMinimumGCAge`.
const MINIMUM_AGE: SignedDuration = SignedDuration::from_secs(120);

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

/// Removes images until so many bytes are free, or no more may go.
pub(crate) async fn collect(
    clock: &Clock,
    runtime: &dyn RuntimeService,
    images: &Images,
    wanted: u64,
) -> runtime::Result<()> {
    let containers = runtime.list_containers(&ContainerFilter::default()).await?;
    let in_use: HashSet<String> = containers.iter().map(|c| c.image_id.to_string()).collect();
    let present = images.list().await?;
    let sizes: Vec<(String, u64)> = present.iter().map(|i| (i.id.to_string(), i.size)).collect();
    let known = images.ledger().last_used();
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
    known: &HashMap<String, Timestamp>,
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
}
