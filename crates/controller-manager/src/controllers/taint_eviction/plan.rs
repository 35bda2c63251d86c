//! When a pod must leave a node because of its taints.
//!
//! **Upstream**: `pkg/controller/tainteviction`.

use api::scheduling::tolerates;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

/// What is to become of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Stay,
    /// It tolerates the node's taints until then.
    LeaveAt(Timestamp),
    Leave,
}

/// Decides on one pod of a node.
pub(super) fn decide(pod: &Pod, node: &Node, now: Timestamp) -> Decision {
    if api::pod::is_terminating(pod) {
        return Decision::Stay;
    }
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut leave: Option<Timestamp> = None;
    for taint in no_execute(node) {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Decision::Leave;
        };
        if let Some(seconds) = toleration.toleration_seconds {
            let until = match &taint.time_added {
                _ if seconds <= 0 => now,
                // The time is stored in whole seconds: count from the end of that one, never evict early.
                Some(added) => added.0 + SignedDuration::from_secs(seconds.min(i64::from(i32::MAX)) + 1),
                None => now + SignedDuration::from_secs(seconds.min(i64::from(i32::MAX))),
            };
            leave = Some(leave.map_or(until, |leave| leave.min(until)));
        }
    }
    match leave {
        None => Decision::Stay,
        Some(at) if at <= now => Decision::Leave,
        Some(at) => Decision::LeaveAt(at),
    }
}

/// The taints that drive pods out.
pub(super) fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Toleration;
    use testkit::build::{self, at};

    #[test]
    fn a_pod_leaves_when_its_shortest_toleration_ends() {
        let node = |taints: &[&str]| {
            taints.iter().fold(build::node("n"), |node, key| node.taint(key, "NoExecute", Some(at(0)))).get()
        };
        let pod = || build::pod("p").on("n");
        let both = || pod().tolerates("a", "NoExecute", Some(300)).tolerates("b", "", Some(60));
        for (name, node, pod, now, wanted) in [
            ("no taints", node(&[]), pod(), 0, Decision::Stay),
            (
                "other effects do not drive out",
                build::node("n").taint("a", "NoSchedule", None).get(),
                pod(),
                0,
                Decision::Stay,
            ),
            ("not tolerated", node(&["a"]), pod(), 0, Decision::Leave),
            (
                "tolerated for ever",
                node(&["a"]),
                pod().tolerates("a", "NoExecute", None),
                999,
                Decision::Stay,
            ),
            ("everything tolerated", node(&["a", "b"]), pod().tolerates("", "", None), 999, Decision::Stay),
            ("for a time", node(&["a"]), both(), 10, Decision::LeaveAt(at(301))),
            ("the shortest counts", node(&["a", "b"]), both(), 10, Decision::LeaveAt(at(61))),
            ("it is over", node(&["a", "b"]), both(), 61, Decision::Leave),
            ("negative is none", node(&["a"]), pod().tolerates("a", "", Some(-5)), 0, Decision::Leave),
            ("one is not tolerated", node(&["a", "c"]), both(), 0, Decision::Leave),
            ("leaving already", node(&["a"]), pod().deleted(at(0)), 0, Decision::Stay),
        ] {
            assert_eq!(decide(&pod.get(), &node, at(now)), wanted, "{name}");
        }
    }

    #[test]
    fn values_count_unless_existence_is_enough() {
        let taint =
            Taint { key: "k".into(), value: Some("v".into()), effect: "NoExecute".into(), time_added: None };
        let toleration = |operator: Option<&str>, value: Option<&str>| Toleration {
            key: Some("k".into()),
            operator: operator.map(str::to_owned),
            value: value.map(str::to_owned),
            ..Toleration::default()
        };
        for (operator, value, wanted) in [
            (None, Some("v"), true),
            (Some("Equal"), Some("v"), true),
            (Some("Equal"), Some("w"), false),
            (None, None, false),
            (Some("Exists"), None, true),
        ] {
            assert_eq!(tolerates(&toleration(operator, value), &taint), wanted, "{operator:?} {value:?}");
        }
    }
}
