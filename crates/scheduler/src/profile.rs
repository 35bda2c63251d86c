//! The plugins of one scheduler name: which, at which extension points, with which weight.
//!
//! **Upstream**: `pkg/scheduler/profile`.

use crate::framework::Plugin;
use crate::preemption::PreemptionArgs;

/// A plugin and where it takes part.
pub(crate) struct Enabled {
    pub(crate) plugin: Box<dyn Plugin>,
    /// Whether it is asked before a pod enters the queue.
    pub(crate) enqueues: bool,
    /// Whether it filters.
    pub(crate) filters: bool,
    /// How much its scores count; 0: it does not score.
    pub(crate) weight: i64,
}

/// What schedules the pods of one `schedulerName`.
pub(crate) struct Profile {
    pub(crate) name: String,
    /// In the order of filters.
    pub(crate) plugins: Vec<Enabled>,
    /// How many of all nodes are enough to choose from; 0: adapted to the size of the cluster.
    pub(crate) percentage: usize,
    /// Whether and how pods of lower priority give way.
    pub(crate) preemption: Option<PreemptionArgs>,
}

impl Profile {
    /// The enabled plugin of this name.
    pub(crate) fn plugin(&self, name: &str) -> Option<&dyn Plugin> {
        self.plugins.iter().find(|enabled| enabled.plugin.name() == name).map(|enabled| &*enabled.plugin)
    }
}
