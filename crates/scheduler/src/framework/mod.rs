//! The extension points of a scheduling cycle, and what plugins see of pods and nodes.
//!
//! **Contract**: plugins are pure: no I/O, no clock, no state across cycles but what the snapshot holds. A filter's
//! reason is what users read, counted over nodes.
//!
//! ```text
//! pre_enqueue → (queue) → is_ready → pre_filter → filter per node → pre_score → score per node → normalize → prepare → bind
//!                                                     └ none fits: give_back, preemption (crate::preemption)
//! ```
//!
//! **Upstream**: `pkg/scheduler/framework/interface.go`.

mod affinity;
mod classes;
mod devices;
mod event;
pub(crate) mod extended;
mod images;
mod node_info;
mod nominated;
mod owners;
mod pod_info;
pub(crate) mod readiness;
mod resources;
mod snapshot;
mod topology;
mod volumes;

pub(crate) use affinity::with_label_keys;
pub use affinity::{Namespaces, PodAffinity, Term};
pub use classes::PodClass;
pub(crate) use devices::extended_of;
pub use devices::{
    Capacities, Counters, DeviceId, Devices, InUse, Offer, Pool, PoolId, Selector, SliceInfo, consumption,
};
pub use event::ClusterEvent;
pub use images::normalized as normalized_image;
pub use node_info::NodeInfo;
pub(crate) use owners::equal_to;
pub use pod_info::PodInfo;
pub use resources::Resources;
pub use snapshot::Snapshot;
pub use topology::Topology;
pub(crate) use volumes::is_bound;
pub use volumes::{Preparation, Volumes};

use api::k8s_openapi::api::resource::v1::ResourceClaim;
use smallvec::{SmallVec, smallvec};
use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The highest score of a node, after normalisation (`MaxNodeScore`).
pub const MAX_NODE_SCORE: i64 = 100;

/// What a plugin computed for its own later extension points in the same cycle.
pub type State = Box<dyn Any + Send>;

/// Whether room made on the node could change a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// `Unschedulable`: fewer pods on the node may help.
    Preemption,
    /// `UnschedulableAndUnresolvable`: they would not.
    None,
}

/// One or more of them; one needs no memory of its own.
pub type Reasons = SmallVec<[Cow<'static, str>; 1]>;

/// Why a node, or every node, cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rejection {
    /// The plugin that says so.
    pub plugin: &'static str,
    /// In upstream's words; several if several resources are short.
    pub reasons: Reasons,
    /// What could help.
    pub remedy: Remedy,
}

impl Rejection {
    /// One reason, which fewer pods on the node may take away.
    pub fn new(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin, reasons: smallvec![reason.into()], remedy: Remedy::Preemption }
    }

    /// One reason, which no preemption takes away.
    pub fn unresolvable(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { remedy: Remedy::None, ..Self::new(plugin, reason) }
    }
}

/// What a plugin says of a pod before any node is looked at.
pub enum PreFilter {
    /// It has nothing to say about any node.
    Skip,
    /// Every node is to be asked about.
    Run(State),
    /// Only nodes of these names can do.
    Only(BTreeSet<String>, State),
}

impl PreFilter {
    /// Every node is to be asked about; nothing to remember.
    pub fn run() -> Self {
        Self::Run(Box::new(()))
    }
}

/// Whether another pod comes to a node or goes, in a cycle's imagination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It comes.
    Added,
    /// It goes.
    Removed,
}

/// What a plugin is asked about: a pod, in a cluster, with what it has computed in this cycle.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The pod to be scheduled.
    pub pod: &'a PodInfo,
    /// Everything else.
    pub cluster: &'a Snapshot,
    /// What the plugin's `pre_filter` or `pre_score` has left.
    pub state: &'a (dyn Any + Send),
}

impl<'a> View<'a> {
    /// What the plugin has computed before.
    ///
    /// # Panics
    /// If that is of another type: a plugin reads only what itself has written.
    pub fn state<T: Any>(&self) -> &'a T {
        self.state.downcast_ref().expect("a plugin's state is of the plugin's type")
    }
}

/// A plugin; it overrides the extension points at which it has something to say.
pub trait Plugin: Send + Sync {
    /// Upstream's name: `NodeResourcesFit`.
    fn name(&self) -> &'static str;

    /// Whether a pod may enter the queue at all.
    fn pre_enqueue(&self, _pod: &PodInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Whether everything that the pod names is there: until then it waits, and nobody is told.
    /// **Upstream**: `PreEnqueue` of plugins that look at other objects than the pod.
    fn is_ready(&self, _pod: &PodInfo, _cluster: &Snapshot) -> Result<(), Rejection> {
        Ok(())
    }

    /// Looks at the pod once, before any node.
    fn pre_filter(&self, _pod: &PodInfo, _cluster: &Snapshot) -> Result<PreFilter, Rejection> {
        Ok(PreFilter::Skip)
    }

    /// Whether this node can take the pod.
    fn filter(&self, _view: &View<'_>, _node: &NodeInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Whether the answer of `filter` for a node may change when pods come to it or go.
    fn sees_pods(&self) -> bool {
        true
    }

    /// Whether the answer of `filter` depends on nothing but the node with the pods on it, and of the pod on what
    /// [`PodInfo::is_like`] compares.
    fn is_local(&self) -> bool {
        false
    }

    /// Adapts what `pre_filter` has computed to another pod that comes to a node or goes.
    fn pod_changed(
        &self,
        _state: &mut (dyn Any + Send),
        _pod: &PodInfo,
        _cluster: &Snapshot,
        _other: &PodInfo,
        _node: &NodeInfo,
        _change: Change,
    ) {
    }

    /// How much the plugin counts in the sum of scores by default; 0: it does not score.
    fn default_weight(&self) -> i64 {
        0
    }

    /// Looks at all nodes that can take the pod; none if the plugin has no preference this time.
    fn pre_score(&self, _pod: &PodInfo, _cluster: &Snapshot, _nodes: &[&NodeInfo]) -> Option<State> {
        None
    }

    /// How good this node is, in the plugin's own measure.
    fn score(&self, _view: &View<'_>, _node: &NodeInfo) -> i64 {
        0
    }

    /// Brings the scores of all nodes into 0..=[`MAX_NODE_SCORE`].
    fn normalize(&self, _view: &View<'_>, _nodes: &[&NodeInfo], _scores: &mut [i64]) {}

    /// What is to be done before the pod is bound to the chosen node.
    fn prepare(&self, _pod: &PodInfo, _cluster: &Snapshot, _node: &NodeInfo) -> Vec<Preparation> {
        Vec::new()
    }

    /// A claim that keeps the pod from nodes, although nobody uses it: it is to lose what it has.
    fn give_back(&self, _pod: &PodInfo, _cluster: &Snapshot) -> Option<Arc<ResourceClaim>> {
        None
    }

    /// Whether a pod that this plugin rejected may pass after this event.
    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool;
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
