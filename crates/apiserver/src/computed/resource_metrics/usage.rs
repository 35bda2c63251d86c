//! From counters at two times to what is used in between.
//!
//! **Contract**: pure. A container that was started since the first look, or lately enough, is measured from its start,
//! at which its counter was zero; one that was not there before, and of which no start is known, says nothing yet.
//! **Upstream**: metrics-server's `pkg/storage`; it waits 10 s where [`SHORTEST_WINDOW`] is enough here.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A rate over less says nothing.
pub(super) const SHORTEST_WINDOW: SignedDuration = SignedDuration::from_millis(500);
/// A rate over more is not what is used now.
pub(super) const LONGEST_WINDOW: SignedDuration = SignedDuration::from_secs(90);

/// Namespace and name.
pub(super) type PodKey = (String, String);

/// Counters of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) cpu_nanos: u64,
    pub(super) memory: u64,
}

/// What one kubelet told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) node: Option<Point>,
    pub(super) pods: BTreeMap<PodKey, BTreeMap<String, Point>>,
}

/// What something uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) nano_cores: u64,
    /// Bytes.
    pub(super) memory: u64,
}

/// Something that was measured over a window up to a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured<T> {
    pub(super) at: Timestamp,
    pub(super) window: SignedDuration,
    pub(super) what: T,
}

/// What all nodes and pods use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    pub(super) nodes: BTreeMap<String, Measured<Amounts>>,
    /// Containers by name.
    pub(super) pods: BTreeMap<PodKey, Measured<Vec<(String, Amounts)>>>,
}

/// Samples by node, the older ones first.
pub(super) fn report(before: &BTreeMap<String, Sample>, after: &BTreeMap<String, Sample>) -> Report {
    let mut report = Report::default();
    for (name, sample) in after {
        let earlier = before.get(name);
        if let Some(point) = sample.node
            && let Some(measured) = between(earlier.and_then(|sample| sample.node), point)
        {
            report.nodes.insert(name.clone(), measured);
        }
        for (key, containers) in &sample.pods {
            let earlier = earlier.and_then(|sample| sample.pods.get(key));
            let one = |(name, point): (&String, &Point)| {
                let measured = between(earlier.and_then(|pod| pod.get(name)).copied(), *point)?;
                Some((name.clone(), measured))
            };
            // What one container does not tell is not known of the pod.
            let Some(all) = containers.iter().map(one).collect::<Option<Vec<_>>>() else { continue };
            let Some((_, earliest)) = all.iter().min_by_key(|(_, measured)| measured.at) else { continue };
            let (at, window) = (earliest.at, earliest.window);
            let what = all.into_iter().map(|(name, measured)| (name, measured.what)).collect();
            report.pods.insert(key.clone(), Measured { at, window, what });
        }
    }
    report
}

/// What was used between two looks, or since the start.
fn between(before: Option<Point>, after: Point) -> Option<Measured<Amounts>> {
    let same = |before: &Point| {
        before.cpu_nanos <= after.cpu_nanos && after.started.is_none_or(|started| started <= before.at)
    };
    let from_before = before.filter(same).map(|before| (before.at, before.cpu_nanos));
    let from_start = after.started.map(|started| (started, 0));
    let fits = |(from, _): &(Timestamp, u64)| {
        (SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&after.at.duration_since(*from))
    };
    let (from, counted) = from_before.filter(fits).or(from_start.filter(fits))?;
    let window = after.at.duration_since(from);
    let rate = (after.cpu_nanos - counted) as f64 / window.as_secs_f64();
    let what = Amounts { nano_cores: rate as u64, memory: after.memory };
    Some(Measured { at: after.at, window, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: u64 = 1_000_000_000;

    fn point(at: i64, started: Option<i64>, cpu_nanos: u64) -> Point {
        let time = |second| Timestamp::from_second(second).unwrap();
        Point { at: time(at), started: started.map(time), cpu_nanos, memory: 7 }
    }

    #[test]
    fn measures_between_two_looks_or_since_the_start() {
        let table = [
            // What happened, the earlier point, the later one, seconds and cores.
            (
                "two looks",
                Some(point(100, Some(10), 5 * CORE)),
                point(115, Some(10), 20 * CORE),
                Some((15, 1)),
            ),
            ("idle", Some(point(100, None, 5)), point(110, None, 5), Some((10, 0))),
            ("never seen, old", None, point(500, Some(10), CORE), None),
            ("never seen, young", None, point(14, Some(10), 8 * CORE), Some((4, 2))),
            ("never seen, too young", None, point(10, Some(10), CORE), None),
            ("no start known", None, point(14, None, CORE), None),
            ("restarted", Some(point(100, Some(10), 50)), point(115, Some(105), 30 * CORE), Some((10, 3))),
            ("counter fell", Some(point(100, None, 50)), point(115, None, 30), None),
            ("same look twice", Some(point(100, Some(10), 50)), point(100, Some(10), 50), Some((90, 0))),
            ("long ago", Some(point(100, Some(10), 50)), point(200, Some(10), CORE), None),
        ];
        for (what, before, after, expected) in table {
            let got = between(before, after).map(|m| (m.window.as_secs(), m.what.nano_cores / CORE));
            assert_eq!(got, expected, "{what}");
        }
    }

    #[test]
    fn a_pod_is_known_when_all_its_containers_are() {
        let sample = |containers: &[(&str, Point)]| Sample {
            node: Some(containers[0].1),
            pods: BTreeMap::from([(
                ("n".to_owned(), "p".to_owned()),
                containers.iter().map(|(name, point)| ((*name).to_owned(), *point)).collect(),
            )]),
        };
        let on = |sample| BTreeMap::from([("node".to_owned(), sample)]);
        let before = on(sample(&[("a", point(100, None, 0)), ("b", point(101, None, 0))]));
        let after = on(sample(&[("a", point(112, None, 12 * CORE)), ("b", point(111, None, 20 * CORE))]));
        let report = super::report(&before, &after);
        let pod = &report.pods[&("n".to_owned(), "p".to_owned())];
        assert_eq!((pod.at.as_second(), pod.window.as_secs()), (111, 10), "the earliest container's");
        let cores: Vec<_> =
            pod.what.iter().map(|(n, amounts)| (n.as_str(), amounts.nano_cores / CORE)).collect();
        assert_eq!(cores, [("a", 1), ("b", 2)]);
        assert_eq!(report.nodes["node"].what, Amounts { nano_cores: CORE, memory: 7 });

        let one = on(sample(&[("a", point(100, None, 0))]));
        assert_eq!(super::report(&one, &after).pods, BTreeMap::new());
    }
}
