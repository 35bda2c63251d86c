//! THE LIST: every plugin, one file each, in the order in which the default profile asks them.
//!
//! Adding a plugin is a file and a row here, in upstream's order of filters.

mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod scheduling_gates;
mod taint_toleration;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use crate::framework::Plugin;
use crate::preemption::PreemptionArgs;
use crate::profile::{Enabled, Profile};
use std::time::Duration;

pub(crate) use dynamic_resources::has_claims;
pub(crate) use inter_pod_affinity::InterPodAffinity;
pub(crate) use node_affinity::NodeAffinity;
pub(crate) use node_resources_balanced_allocation::NodeResourcesBalancedAllocation;
pub(crate) use node_resources_fit::{NodeResourcesFit, Strategy};
pub(crate) use pod_topology_spread::PodTopologySpread;

/// What plugins are told by configuration; each has upstream's defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginArgs {
    pub(crate) inter_pod_affinity: InterPodAffinity,
    pub(crate) node_affinity: NodeAffinity,
    pub(crate) node_resources_balanced_allocation: NodeResourcesBalancedAllocation,
    pub(crate) node_resources_fit: NodeResourcesFit,
    pub(crate) pod_topology_spread: PodTopologySpread,
    /// `VolumeBindingArgs.bindTimeoutSeconds`.
    pub(crate) bind_timeout: Option<Duration>,
}

/// A row of THE LIST.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) make: fn(&PluginArgs) -> Box<dyn Plugin>,
    /// Upstream's extension points at which it has something to say.
    pub(crate) points: &'static [&'static str],
}

const fn row(
    name: &'static str,
    make: fn(&PluginArgs) -> Box<dyn Plugin>,
    points: &'static [&'static str],
) -> Row {
    Row { name, make, points }
}

/// THE LIST. **Upstream**: `pkg/scheduler/apis/config/v1/default_plugins.go`.
pub(crate) const PLUGINS: &[Row] = &[
    row(scheduling_gates::NAME, |_| Box::new(scheduling_gates::SchedulingGates), &["preEnqueue"]),
    row(node_unschedulable::NAME, |_| Box::new(node_unschedulable::NodeUnschedulable), &["filter"]),
    row(node_name::NAME, |_| Box::new(node_name::NodeName), &["filter"]),
    row(
        taint_toleration::NAME,
        |_| Box::new(taint_toleration::TaintToleration),
        &["filter", "preScore", "score"],
    ),
    row(
        node_affinity::NAME,
        |args| Box::new(args.node_affinity.clone()),
        &["preFilter", "filter", "preScore", "score"],
    ),
    row(node_ports::NAME, |_| Box::new(node_ports::NodePorts), &["preFilter", "filter"]),
    row(
        node_resources_fit::NAME,
        |args| Box::new(args.node_resources_fit.clone()),
        &["preFilter", "filter", "preScore", "score"],
    ),
    row(
        volume_restrictions::NAME,
        |_| Box::new(volume_restrictions::VolumeRestrictions),
        &["preFilter", "filter"],
    ),
    row(
        node_volume_limits::NAME,
        |_| Box::new(node_volume_limits::NodeVolumeLimits),
        &["preFilter", "filter"],
    ),
    row(
        volume_binding::NAME,
        |_| Box::new(volume_binding::VolumeBinding),
        &["preFilter", "filter", "reserve", "preBind"],
    ),
    row(volume_zone::NAME, |_| Box::new(volume_zone::VolumeZone), &["preFilter", "filter"]),
    row(
        pod_topology_spread::NAME,
        |args| Box::new(args.pod_topology_spread.clone()),
        &["preFilter", "filter", "preScore", "score"],
    ),
    row(
        inter_pod_affinity::NAME,
        |args| Box::new(args.inter_pod_affinity.clone()),
        &["preFilter", "filter", "preScore", "score"],
    ),
    row(
        dynamic_resources::NAME,
        |_| Box::new(dynamic_resources::DynamicResources),
        &["preEnqueue", "preFilter", "filter", "postFilter", "reserve", "preBind"],
    ),
    row(
        node_resources_balanced_allocation::NAME,
        |args| Box::new(args.node_resources_balanced_allocation.clone()),
        &["preScore", "score"],
    ),
    row(image_locality::NAME, |_| Box::new(image_locality::ImageLocality), &["score"]),
];

/// The profile of `default-scheduler` where nothing is configured.
pub(crate) fn default_profile() -> Profile {
    let args = PluginArgs::default();
    let plugins = PLUGINS.iter().map(|row| {
        let plugin = (row.make)(&args);
        let weight = plugin.default_weight();
        Enabled { plugin, enqueues: true, filters: true, weight }
    });
    Profile {
        name: "default-scheduler".to_owned(),
        plugins: plugins.collect(),
        percentage: 0,
        preemption: Some(PreemptionArgs::default()),
    }
}

#[cfg(test)]
pub(crate) mod testing;
