//! Volumes that only one pod may use, or only one writer.

use crate::framework::{
    Change, ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, View,
};
use api::k8s_openapi::api::core::v1::Volume;
use std::any::Any;

pub(super) const NAME: &str = "VolumeRestrictions";

pub(crate) struct VolumeRestrictions;

/// Claims of the pod that only one pod may use, and how many pods do.
struct Exclusive {
    claims: Vec<String>,
    conflicts: i64,
}

/// Whether two volumes are the same disk, at least one of them to be written to.
fn conflict(one: &Volume, other: &Volume) -> bool {
    let writes = |a: Option<bool>, b: Option<bool>| !(a.unwrap_or(false) && b.unwrap_or(false));
    let gce = one.gce_persistent_disk.as_ref().zip(other.gce_persistent_disk.as_ref());
    let aws = one.aws_elastic_block_store.as_ref().zip(other.aws_elastic_block_store.as_ref());
    let iscsi = one.iscsi.as_ref().zip(other.iscsi.as_ref());
    let rbd = one.rbd.as_ref().zip(other.rbd.as_ref());
    gce.is_some_and(|(a, b)| a.pd_name == b.pd_name && writes(a.read_only, b.read_only))
        || aws.is_some_and(|(a, b)| a.volume_id == b.volume_id)
        || iscsi.is_some_and(|(a, b)| a.iqn == b.iqn && writes(a.read_only, b.read_only))
        || rbd.is_some_and(|(a, b)| {
            let pool = |pool: &Option<String>| pool.clone().unwrap_or_else(|| "rbd".to_owned());
            a.monitors.iter().any(|monitor| b.monitors.contains(monitor))
                && pool(&a.pool) == pool(&b.pool)
                && a.image == b.image
                && writes(a.read_only, b.read_only)
        })
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, cluster: &Snapshot) -> Result<PreFilter, Rejection> {
        let mut claims = Vec::new();
        for used in pod.claims.iter().filter(|claim| !claim.ephemeral) {
            let Some(claim) = cluster.volumes.claim(pod, used) else {
                let reason = format!("persistentvolumeclaim \"{}\" not found", used.name);
                return Err(Rejection::unresolvable(NAME, reason));
            };
            let modes = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
            if modes.into_iter().any(|mode| mode == "ReadWriteOncePod") {
                claims.push(used.name.clone());
            }
        }
        if claims.is_empty() && pod.disks().next().is_none() {
            return Ok(PreFilter::Skip);
        }
        let used = |claim: &&String| cluster.is_claim_used(pod.namespace(), claim);
        let conflicts = claims.iter().filter(used).count() as i64;
        Ok(PreFilter::Run(Box::new(Exclusive { claims, conflicts })))
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let taken = |volume: &Volume| {
            node.pods().iter().flat_map(|pod| pod.disks()).any(|other| conflict(volume, other))
        };
        if view.pod.disks().any(taken) {
            return Err(Rejection::new(NAME, "node(s) had no available disk"));
        }
        if view.state::<Exclusive>().conflicts > 0 {
            let reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
            return Err(Rejection::new(NAME, reason));
        }
        Ok(())
    }

    fn pod_changed(
        &self,
        state: &mut (dyn Any + Send),
        pod: &PodInfo,
        _: &Snapshot,
        other: &PodInfo,
        _: &NodeInfo,
        change: Change,
    ) {
        let Some(exclusive) = state.downcast_mut::<Exclusive>() else { return };
        if other.namespace() == pod.namespace() {
            let shared =
                other.claims.iter().filter(|used| exclusive.claims.contains(&used.name)).count() as i64;
            exclusive.conflicts += if change == Change::Added { shared } else { -shared };
        }
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::ClaimChanged(claim) => pod.mounts(claim),
            ClusterEvent::AssignedPodDeleted(other) => {
                other.namespace() == pod.namespace()
                    && (other.claims.iter().any(|used| pod.claims.contains(used))
                        || other.disks().any(|disk| pod.disks().any(|own| conflict(own, disk))))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, named};
    use super::super::volume_binding::testing::claim;
    use super::*;
    use serde_json::{Value, json};

    fn with(name: &str, volume: Value) -> std::sync::Arc<PodInfo> {
        named(name, json!({"volumes": [volume]}))
    }

    #[test]
    fn a_disk_that_is_written_to_is_one_pods() {
        let gce = |name: &str, read_only: bool| json!({"name": "v", "gcePersistentDisk": {"pdName": name, "readOnly": read_only}});
        let rbd =
            |monitor: &str, image: &str| json!({"name": "v", "rbd": {"monitors": [monitor], "image": image}});
        for (there, wanted, free) in [
            (gce("a", false), gce("a", true), false),
            (gce("a", true), gce("a", true), true),
            (gce("a", false), gce("b", false), true),
            (rbd("m", "i"), rbd("m", "i"), false),
            (rbd("m", "i"), rbd("n", "i"), true),
        ] {
            let cluster = Cluster::of(&[json!({})]).with("n", with("there", there.clone()));
            let passing = cluster.passing(&VolumeRestrictions, &with("new", wanted.clone()));
            assert_eq!(!passing.is_empty(), free, "{there} {wanted}");
        }
    }

    #[test]
    fn a_claim_for_one_pod_is_taken_wherever_that_is() {
        let mount = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
        for (mode, free) in [("ReadWriteOncePod", false), ("ReadWriteOnce", true)] {
            let mut cluster = Cluster::of(&[json!({}), json!({"metadata": {"name": "m"}})]);
            let data = claim("data", json!({"accessModes": [mode]}), json!({}));
            cluster.snapshot.volumes.claims.insert(client::Key::new("ns", "data"), data);
            let new = with("new", mount.clone());
            assert_eq!(cluster.passing(&VolumeRestrictions, &new).len(), 2, "{mode}");
            let cluster = cluster.with("n", with("there", mount.clone()));
            assert_eq!(cluster.passing(&VolumeRestrictions, &new).len(), if free { 2 } else { 0 }, "{mode}");
        }
    }
}
