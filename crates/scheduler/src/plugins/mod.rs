//! THE LIST: every plugin of the default profile, one file each.
//!
//! Adding a plugin is a file and a row here, in upstream's order of filters.

mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod scheduling_gates;
mod taint_toleration;

use crate::framework::Plugin;

/// The plugins of the default profile. **Upstream**: `pkg/scheduler/apis/config/v1/default_plugins.go`.
pub(crate) fn all() -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(scheduling_gates::SchedulingGates),
        Box::new(node_unschedulable::NodeUnschedulable),
        Box::new(node_name::NodeName),
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_ports::NodePorts),
        Box::new(node_resources_fit::NodeResourcesFit),
    ]
}

#[cfg(test)]
mod testing;
