//! How fast pods may be driven from nodes: a zone that is lost as a whole is more likely cut off than dead.
//!
//! **Upstream**: `ComputeZoneState`, `handleDisruption` and the controller's eviction rates.

use super::plan;
use api::well_known::label;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nodes a second of a healthy zone (`--node-eviction-rate`).
const RATE: f64 = 0.1;
/// Nodes a second of an unhealthy, large zone (`--secondary-node-eviction-rate`).
const SECONDARY_RATE: f64 = 0.01;
/// A zone of more nodes is large (`--large-cluster-size-threshold`).
const LARGE: usize = 50;
/// Part of a zone that makes it unhealthy (`--unhealthy-zone-threshold`).
const UNHEALTHY: f64 = 0.55;

/// When a node of each zone was last driven out.
pub(super) type Limiters = BTreeMap<String, Timestamp>;

/// Nodes a second that may be driven out, by zone.
pub(super) fn rates(nodes: &[Arc<Node>]) -> BTreeMap<String, f64> {
    let mut zones = BTreeMap::<String, (usize, usize)>::new();
    for node in nodes {
        let (ready, not_ready) = zones.entry(zone(node)).or_default();
        *(if plan::is_ready(node) { ready } else { not_ready }) += 1;
    }
    let lost = zones.values().all(|(ready, _)| *ready == 0);
    let rate = |(ready, not_ready): (usize, usize)| {
        let all = ready + not_ready;
        let share = not_ready as f64 / all as f64;
        match (ready, not_ready) {
            // Nobody is ready anywhere: it is us who are cut off.
            _ if lost => 0.0,
            (0, _) => RATE,
            _ if not_ready > 2 && share >= UNHEALTHY && all > LARGE => SECONDARY_RATE,
            _ if not_ready > 2 && share >= UNHEALTHY => 0.0,
            _ => RATE,
        }
    };
    zones.into_iter().map(|(zone, counts)| (zone, rate(counts))).collect()
}

/// Whether one more node of a zone may be driven out now; takes the token if so.
pub(super) fn permit(limiters: &mut Limiters, zone: &str, rate: f64, now: Timestamp) -> bool {
    if rate <= 0.0 {
        return false;
    }
    let pause = SignedDuration::from_secs_f64(1.0 / rate);
    if limiters.get(zone).is_some_and(|last| now.duration_since(*last) < pause) {
        return false;
    }
    limiters.insert(zone.to_owned(), now);
    true
}

/// Region and zone of a node; empty for nodes without.
pub(super) fn zone(node: &Node) -> String {
    let label = |key| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let (region, zone) = (label(label::TOPOLOGY_REGION), label(label::TOPOLOGY_ZONE));
    format!("{}\n{}", region.unwrap_or_default(), zone.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::build::{self, at};

    fn nodes(zone: &str, ready: usize, not_ready: usize) -> Vec<Arc<Node>> {
        let node = |status| {
            let node = build::node("n").label(label::TOPOLOGY_ZONE, zone).condition("Ready", status);
            Arc::new(node.get())
        };
        [vec![node("True"); ready], vec![node("Unknown"); not_ready]].concat()
    }

    #[test]
    fn zones_that_are_lost_as_a_whole_are_handled_with_care() {
        for (name, nodes, wanted) in [
            ("healthy", nodes("a", 3, 1), vec![0.1]),
            ("one of two", nodes("a", 1, 1), vec![0.1]),
            ("small and unhealthy", nodes("a", 2, 3), vec![0.0]),
            ("large and unhealthy", nodes("a", 20, 40), vec![0.01]),
            ("everything lost", nodes("a", 0, 1), vec![0.0]),
            ("one zone lost", [nodes("a", 0, 3), nodes("b", 2, 0)].concat(), vec![0.1, 0.1]),
        ] {
            assert_eq!(rates(&nodes).into_values().collect::<Vec<_>>(), wanted, "{name}");
        }
    }

    #[test]
    fn one_node_in_ten_seconds() {
        let mut limiters = Limiters::new();
        for (now, wanted) in [(0, true), (5, false), (10, true), (12, false)] {
            assert_eq!(permit(&mut limiters, "a", 0.1, at(now)), wanted, "at {now}");
        }
        assert!(permit(&mut limiters, "b", 0.1, at(12)));
        assert!(!permit(&mut limiters, "c", 0.0, at(12)));
    }
}
