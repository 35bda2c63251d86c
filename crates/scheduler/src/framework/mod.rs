//! The extension points of a scheduling cycle, and what plugins see of pods and nodes.
//!
//! **Contract**: plugins are pure: no I/O, no clock, no state across cycles but what the cache holds. A filter's reason
//! is what users read, counted over nodes.
//!
//! ```text
//! pre_enqueue → (queue) → pre_filter → filter per node → score per node → normalize → reserve → bind
//! ```
//!
//! **Upstream**: `pkg/scheduler/framework/interface.go`.

mod node_info;
mod pod_info;
mod resources;

pub use node_info::NodeInfo;
pub use pod_info::PodInfo;
pub use resources::Resources;

use std::any::Any;
use std::collections::HashMap;

/// The highest score of a node, after normalisation (`MaxNodeScore`).
pub const MAX_NODE_SCORE: i64 = 100;

/// What a plugin computed before filtering, for its own later extension points in the same cycle.
#[derive(Default)]
pub struct CycleState(HashMap<&'static str, Box<dyn Any>>);

impl CycleState {
    /// Keeps a value under a plugin's name.
    pub fn write<T: Any>(&mut self, plugin: &'static str, value: T) {
        self.0.insert(plugin, Box::new(value));
    }

    /// What the plugin has kept.
    pub fn read<T: Any>(&self, plugin: &'static str) -> Option<&T> {
        self.0.get(plugin)?.downcast_ref()
    }
}

/// Why a node, or every node, cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The plugin that says so.
    pub plugin: &'static str,
    /// In upstream's words; several if several resources are short.
    pub reasons: Vec<String>,
}

impl Rejection {
    /// One reason.
    pub fn new(plugin: &'static str, reason: impl Into<String>) -> Self {
        Self { plugin, reasons: vec![reason.into()] }
    }
}

/// Something happened that may let a pod be scheduled that could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A node is new.
    NodeAdded,
    /// A node's allocatable amounts changed.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints, or its being unschedulable, changed.
    NodeTaints,
    /// A pod left its node, or asks for less there.
    AssignedPodGone,
    /// The waiting pod itself was changed.
    PodUpdated,
}

/// A plugin; it overrides the extension points at which it has something to say.
pub trait Plugin: Send + Sync {
    /// Upstream's name: `NodeResourcesFit`.
    fn name(&self) -> &'static str;

    /// Whether a pod may enter the queue at all.
    fn pre_enqueue(&self, _pod: &PodInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Looks at the pod once, before any node.
    fn pre_filter(&self, _state: &mut CycleState, _pod: &PodInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Whether this node can take the pod.
    fn filter(&self, _state: &CycleState, _pod: &PodInfo, _node: &NodeInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// How much the plugin counts in the sum of scores; 0: it does not score.
    fn weight(&self) -> i64 {
        0
    }

    /// How good this node is, in the plugin's own measure.
    fn score(&self, _state: &CycleState, _pod: &PodInfo, _node: &NodeInfo) -> i64 {
        0
    }

    /// Brings the scores of all nodes into 0..=[`MAX_NODE_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}

    /// Whether a pod that this plugin rejected may pass after this event.
    fn may_help(&self, event: ClusterEvent) -> bool;
}

/// Scales scores so that the highest is 100; `reverse`: then turns them round, so that the lowest is best.
/// **Upstream**: `DefaultNormalizeScore`.
pub fn default_normalize(scores: &mut [i64], reverse: bool) {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        *score = match (most, reverse) {
            (0, false) => *score,
            (0, true) => MAX_NODE_SCORE,
            (most, false) => *score * MAX_NODE_SCORE / most,
            (most, true) => MAX_NODE_SCORE - *score * MAX_NODE_SCORE / most,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_to_a_hundred_either_way() {
        for (reverse, mut scores, expected) in [
            (false, vec![0, 5, 10], vec![0, 50, 100]),
            (true, vec![0, 5, 10], vec![100, 50, 0]),
            (false, vec![0, 0], vec![0, 0]),
            (true, vec![0, 0], vec![100, 100]),
        ] {
            default_normalize(&mut scores, reverse);
            assert_eq!(scores, expected);
        }
    }
}
