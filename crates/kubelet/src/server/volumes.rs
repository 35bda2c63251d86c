//! What the volumes of pods take, for the summary and for metrics.
//!
//! **Contract**: volumes are gone through when somebody asks, each pod's at most once a minute.
//! **Upstream**: `pkg/kubelet/server/stats/volume_stat_calculator.go`.

use super::Server;
use super::usage::Disk;
use crate::volumes::{FolderUsage, usage_of};
use api::k8s_openapi::api::core::v1::{Pod, Volume};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// `volumeStatsAggPeriod`.
const PERIOD: SignedDuration = SignedDuration::from_secs(60);

/// One volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VolumeUsage {
    pub(super) name: String,
    /// The claim that it is of.
    pub(super) claim: Option<String>,
    pub(super) at: Timestamp,
    pub(super) disk: Disk,
    pub(super) used: FolderUsage,
}

/// What was found last, by the UID of the pod.
#[derive(Default)]
pub(super) struct Volumes(Mutex<HashMap<String, Arc<[VolumeUsage]>>>);

impl Server {
    /// What a pod's volumes take.
    pub(super) async fn volume_usage(&self, pod: &Pod) -> Arc<[VolumeUsage]> {
        let known = || self.volumes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = crate::static_pods::runtime_uid(pod);
        let now = self.host.context.clock.now();
        let fresh = known().get(&uid).filter(|found| is_fresh(found, now)).cloned();
        if let Some(found) = fresh {
            return found;
        }
        let wanted = wanted(pod, &self.host.volumes.of(&uid));
        if wanted.is_empty() {
            return Arc::default();
        }
        let look = move || wanted.into_iter().map(|one| one.look(now)).collect::<Arc<[_]>>();
        let found = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        let mut known = known();
        known.retain(|_, found| is_fresh(found, now));
        known.insert(uid, found.clone());
        found
    }
}

fn is_fresh(found: &[VolumeUsage], now: Timestamp) -> bool {
    found.first().is_some_and(|one| now.duration_since(one.at) < PERIOD)
}

struct Wanted {
    name: String,
    claim: Option<String>,
    path: PathBuf,
}

impl Wanted {
    fn look(self, at: Timestamp) -> VolumeUsage {
        let disk = rustix::fs::statvfs(&self.path).map_or_else(
            |_| Disk::default(),
            |fs| Disk {
                available: fs.f_bavail * fs.f_frsize,
                capacity: fs.f_blocks * fs.f_frsize,
                inodes_free: fs.f_ffree,
                inodes: fs.f_files,
            },
        );
        VolumeUsage { name: self.name, claim: self.claim, at, disk, used: usage_of(&self.path) }
    }
}

/// The volumes that are the pod's: what belongs to the node or to an image is not counted.
fn wanted(pod: &Pod, mounted: &BTreeMap<String, PathBuf>) -> Vec<Wanted> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let own = volumes.filter(|volume| volume.host_path.is_none() && volume.image.is_none());
    let one = |volume: &Volume| {
        let path = mounted.get(&volume.name)?.clone();
        let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => {
                Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name))
            }
            (None, None) => None,
        };
        Some(Wanted { name: volume.name.clone(), claim, path })
    };
    own.filter_map(one).collect()
}
