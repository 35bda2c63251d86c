//! A volume that is labelled with a zone or region can be used there only.

use crate::framework::{ClusterEvent, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Snapshot, View};
use api::well_known::label;

pub(super) const NAME: &str = "VolumeZone";

/// The labels that count, and what nodes may call them as well.
const KEYS: [(&str, &str); 4] = [
    (label::TOPOLOGY_ZONE, label::TOPOLOGY_ZONE),
    (label::TOPOLOGY_REGION, label::TOPOLOGY_REGION),
    ("failure-domain.beta.kubernetes.io/zone", label::TOPOLOGY_ZONE),
    ("failure-domain.beta.kubernetes.io/region", label::TOPOLOGY_REGION),
];

pub(crate) struct VolumeZone;

/// A label of a volume, its newer name, and the values that it allows.
struct Place {
    key: &'static str,
    newer: &'static str,
    values: Vec<String>,
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, cluster: &Snapshot) -> Result<PreFilter, Rejection> {
        let mut places = Vec::new();
        for used in &pod.claims {
            let claim =
                cluster.volumes.claim(pod, used).and_then(|claim| claim.spec.as_ref()?.volume_name.clone());
            let volume = claim.and_then(|name| cluster.volumes.volume(&name));
            let labels = volume.and_then(|volume| volume.metadata.labels.as_ref());
            for (key, newer) in KEYS {
                if let Some(values) = labels.and_then(|labels| labels.get(key)) {
                    // Several are joined by two underscores.
                    let values = values.split("__").map(|value| value.trim().to_owned()).collect();
                    places.push(Place { key, newer, values });
                }
            }
        }
        Ok(if places.is_empty() { PreFilter::Skip } else { PreFilter::Run(Box::new(places)) })
    }

    fn sees_pods(&self) -> bool {
        false
    }

    fn filter(&self, view: &View<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        let zoned = KEYS.iter().any(|(key, _)| node.label(key).is_some());
        let fits = |place: &Place| {
            let value = node.label(place.key).or_else(|| node.label(place.newer));
            value.is_some_and(|value| place.values.iter().any(|allowed| allowed == value))
        };
        // A cluster of one zone need not say which.
        if !zoned || view.state::<Vec<Place>>().iter().all(fits) {
            return Ok(());
        }
        Err(Rejection::unresolvable(NAME, "node(s) had no available volume zone"))
    }

    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        event.concerns_volumes(pod)
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
    fn a_zoned_volume_is_used_in_its_zones() {
        let mounting =
            named("p", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}));
        for (key, zones, passing) in [
            (label::TOPOLOGY_ZONE, "a", vec!["n1"]),
            (label::TOPOLOGY_ZONE, "a__b", vec!["n1", "n2"]),
            ("failure-domain.beta.kubernetes.io/zone", "b", vec!["n2"]),
            (label::TOPOLOGY_REGION, "r", vec![]),
            ("other", "x", vec!["n1", "n2"]),
        ] {
            let mut cluster = Cluster::zoned(&[("a", "n1"), ("b", "n2")]);
            let data = claim("data", json!({"volumeName": "v"}), json!({}));
            cluster.snapshot.volumes.claims.insert(Key::new("ns", "data"), data);
            let mut zoned = (*volume("v", json!({}))).clone();
            zoned.metadata.labels = Some([(key.to_owned(), zones.to_owned())].into());
            cluster.snapshot.volumes.volumes.insert("v".to_owned(), Arc::new(zoned));
            assert_eq!(cluster.passing(&VolumeZone, &mounting), passing, "{key}={zones}");
        }
    }
}
