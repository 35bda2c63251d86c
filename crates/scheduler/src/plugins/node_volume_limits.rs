//! A driver can attach only so many volumes to a node.

use crate::framework::{ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, View};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const NAME: &str = "NodeVolumeLimits";

pub(crate) struct NodeVolumeLimits;

/// The volumes of drivers that a pod uses: driver and handle, or the claim where there is no volume yet.
fn attached(pod: &PodInfo, cluster: &Snapshot) -> BTreeSet<(String, String)> {
    let of_claim = |used| {
        let claim = cluster.volumes.claim(pod, used)?;
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        match cluster.volumes.volume(volume) {
            Some(volume) => {
                let csi = volume.spec.as_ref()?.csi.as_ref()?;
                Some((csi.driver.clone(), csi.volume_handle.clone()))
            }
            None => {
                let class = cluster.volumes.class(api::volume::class_of(claim)?)?;
                Some((class.provisioner.clone(), format!("{}/{}", pod.namespace(), used.name)))
            }
        }
    };
    pod.claims.iter().filter_map(of_claim).collect()
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, cluster: &Snapshot) -> Result<PreFilter, Rejection> {
        let own = attached(pod, cluster);
        Ok(if own.is_empty() { PreFilter::Skip } else { PreFilter::Run(Box::new(own)) })
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let own = view.state::<BTreeSet<(String, String)>>();
        let Some(csi) = view.cluster.volumes.csi_node(node.name()) else { return Ok(()) };
        let limits: BTreeMap<&str, i64> = csi
            .spec
            .drivers
            .iter()
            .filter_map(|driver| {
                let limit = driver.allocatable.as_ref()?.count?;
                Some((driver.name.as_str(), i64::from(limit)))
            })
            .collect();
        if !own.iter().any(|(driver, _)| limits.contains_key(driver.as_str())) {
            return Ok(());
        }
        let there: BTreeSet<_> = node.pods().iter().flat_map(|pod| attached(pod, view.cluster)).collect();
        for (driver, limit) in limits {
            let new = own.difference(&there).filter(|(of, _)| of == driver).count() as i64;
            let old = there.iter().filter(|(of, _)| of == driver).count() as i64;
            if new > 0 && old + new > limit {
                return Err(Rejection::new(NAME, "node(s) exceed max volume count"));
            }
        }
        Ok(())
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) | ClusterEvent::StorageChanged => true,
            ClusterEvent::ClaimChanged(claim) => pod.mounts(claim),
            ClusterEvent::AssignedPodDeleted(other) => !other.claims.is_empty(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, named};
    use super::super::volume_binding::testing::{claim, volume};
    use super::*;
    use client::Key;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn a_node_takes_as_many_volumes_as_its_driver_says() {
        let mounting = |name: &str, claim: &str| {
            named(name, json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}))
        };
        let mut cluster = Cluster::of(&[json!({})]);
        for (name, handle) in [("a", "1"), ("b", "2"), ("same", "1")] {
            let volumes = &mut cluster.snapshot.volumes;
            let bound = json!({"volumeName": name});
            volumes.claims.insert(Key::new("ns", name), claim(name, bound, json!({})));
            let csi = json!({"csi": {"driver": "d", "volumeHandle": handle}});
            volumes.volumes.insert(name.to_owned(), volume(name, csi));
        }
        let csi = json!({"metadata": {"name": "n"}, "spec": {"drivers": [
            {"name": "d", "nodeID": "n", "allocatable": {"count": 1}}]}});
        let csi = Arc::new(serde_json::from_value(csi).expect("a CSINode"));
        cluster.snapshot.volumes.csi_nodes.insert("n".to_owned(), csi);
        let cluster = cluster.with("n", mounting("there", "a"));
        assert!(cluster.passing(&NodeVolumeLimits, &mounting("new", "b")).is_empty());
        assert_eq!(cluster.passing(&NodeVolumeLimits, &mounting("new", "same")), ["n"]);
        assert_eq!(cluster.passing(&NodeVolumeLimits, &named("new", json!({}))), ["n"]);
    }
}
