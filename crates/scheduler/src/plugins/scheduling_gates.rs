//! A pod with scheduling gates waits until the last is taken away.

use crate::framework::{ClusterEvent, Plugin, PodInfo, Rejection};

pub(super) const NAME: &str = "SchedulingGates";

pub(crate) struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), Rejection> {
        let gates = pod.spec().and_then(|s| s.scheduling_gates.as_ref());
        let names: Vec<&str> = gates.into_iter().flatten().map(|g| g.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let reason = format!("waiting for scheduling gates: [{}]", names.join(" "));
        Err(Rejection::unresolvable(NAME, reason))
    }

    fn may_help(&self, _: &PodInfo, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::PodUpdated(_))
    }
}
