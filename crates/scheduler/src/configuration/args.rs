//! What plugins are told (`pluginConfig`).
//!
//! **Upstream**: `apis/config/v1/types_pluginargs.go`, `apis/config/validation/validation_pluginargs.go`.

use super::{invalid, strict};
use crate::plugins::{PluginArgs, Strategy};
use crate::preemption::PreemptionArgs;
use api::field::{Error as FieldError, Path};
use api::k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InterPodAffinityArgs {
    hard_pod_affinity_weight: Option<i64>,
    #[serde(default)]
    ignore_preferred_terms_of_existing_pods: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeAffinityArgs {
    added_affinity: Option<NodeAffinity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeResourcesFitArgs {
    #[serde(default)]
    ignored_resources: Vec<String>,
    #[serde(default)]
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScoringStrategy {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    resources: Vec<ResourceSpec>,
    requested_to_capacity_ratio: Option<Ratio>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpec {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ratio {
    #[serde(default)]
    shape: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Point {
    utilization: i64,
    score: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BalancedAllocationArgs {
    #[serde(default)]
    resources: Vec<ResourceSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodTopologySpreadArgs {
    #[serde(default)]
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VolumeBindingArgs {
    bind_timeout_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DefaultPreemptionArgs {
    min_candidate_nodes_percentage: Option<i64>,
    min_candidate_nodes_absolute: Option<i64>,
}

/// Reads one plugin's arguments into those of all.
pub(super) fn read(
    plugin: &str,
    mut value: Value,
    path: &Path,
    args: &mut PluginArgs,
    preemption: &mut PreemptionArgs,
    errors: &mut Vec<String>,
) {
    if value.is_null() {
        value = Value::Object(serde_json::Map::new());
    }
    let Some(fields) = value.as_object_mut() else {
        errors.push(invalid(&path.child("args"), value, "must be an object"));
        return;
    };
    fields.remove("apiVersion");
    if let Some(kind) = fields.remove("kind")
        && kind != format!("{plugin}Args")
    {
        errors.push(invalid(&path.child("args").child("kind"), kind, &format!("must be {plugin}Args")));
        return;
    }
    let mut reader = Reader { path: path.child("args"), errors: Vec::new() };
    let done = match plugin {
        "InterPodAffinity" => strict(value).map(|read| reader.inter_pod_affinity(read, args)),
        "NodeAffinity" => {
            strict(value).map(|read: NodeAffinityArgs| args.node_affinity.added = read.added_affinity)
        }
        "NodeResourcesFit" => strict(value).map(|read| reader.fit(read, args)),
        "NodeResourcesBalancedAllocation" => strict(value).map(|read| reader.balanced(read, args)),
        "PodTopologySpread" => strict(value).map(|read| reader.spread(read, args)),
        "VolumeBinding" => strict(value).map(|read| reader.volumes(&read, args)),
        "DefaultPreemption" => strict(value).map(|read| reader.preemption(&read, preemption)),
        _ => Err(invalid(&path.child("name"), plugin, "there is no such plugin, or it takes no arguments")),
    };
    errors.extend(done.err());
    errors.append(&mut reader.errors);
}

struct Reader {
    path: Path,
    errors: Vec<String>,
}

impl Reader {
    fn within(&mut self, field: &str, value: i64, least: i64, most: i64) -> i64 {
        if !(least..=most).contains(&value) {
            let why = format!("not in valid range [{least}-{most}]");
            self.errors.push(invalid(&self.path.child(field), value, &why));
        }
        value
    }

    fn inter_pod_affinity(&mut self, read: InterPodAffinityArgs, args: &mut PluginArgs) {
        if let Some(weight) = read.hard_pod_affinity_weight {
            args.inter_pod_affinity.hard_pod_affinity_weight =
                self.within("hardPodAffinityWeight", weight, 0, 100);
        }
        args.inter_pod_affinity.ignore_preferred_terms_of_existing_pods =
            read.ignore_preferred_terms_of_existing_pods;
    }

    fn fit(&mut self, read: NodeResourcesFitArgs, args: &mut PluginArgs) {
        let fit = &mut args.node_resources_fit;
        fit.ignored = read.ignored_resources;
        fit.ignored_groups = read.ignored_resource_groups;
        let Some(strategy) = read.scoring_strategy else { return };
        let path = self.path.child("scoringStrategy");
        if !strategy.resources.is_empty() {
            fit.resources = strategy
                .resources
                .into_iter()
                .map(|resource| (resource.name, resource.weight.filter(|weight| *weight != 0).unwrap_or(1)))
                .collect();
        }
        for (index, (_, weight)) in fit.resources.iter().enumerate() {
            if !(1..=100).contains(weight) {
                let at = path.child("resources").index(index).child("weight");
                self.errors.push(invalid(&at, *weight, "not in valid range [1-100]"));
            }
        }
        let shape = strategy.requested_to_capacity_ratio.map(|ratio| ratio.shape).unwrap_or_default();
        fit.strategy = match strategy.kind.as_deref() {
            None | Some("LeastAllocated") => Strategy::LeastAllocated,
            Some("MostAllocated") => Strategy::MostAllocated,
            Some("RequestedToCapacityRatio") => self.ratio(&path, shape),
            Some(other) => {
                let known = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
                let error = FieldError::not_supported(&path.child("type"), other, &known);
                self.errors.push(error.to_string());
                return;
            }
        };
    }

    fn ratio(&mut self, path: &Path, shape: Vec<Point>) -> Strategy {
        let path = path.child("requestedToCapacityRatio").child("shape");
        if shape.is_empty() {
            let error = FieldError::required(&path, "at least one point must be specified");
            self.errors.push(error.to_string());
        }
        let mut before = -1;
        for (index, point) in shape.iter().enumerate() {
            let at = path.index(index);
            if !(0..=100).contains(&point.utilization) {
                self.errors.push(invalid(
                    &at.child("utilization"),
                    point.utilization,
                    "not in valid range [0-100]",
                ));
            } else if point.utilization <= before {
                let why = "utilization values must be sorted in increasing order";
                self.errors.push(invalid(&at.child("utilization"), point.utilization, why));
            }
            before = point.utilization;
            if !(0..=10).contains(&point.score) {
                self.errors.push(invalid(&at.child("score"), point.score, "not in valid range [0-10]"));
            }
        }
        Strategy::RequestedToCapacityRatio(shape.into_iter().map(|p| (p.utilization, p.score)).collect())
    }

    fn balanced(&mut self, read: BalancedAllocationArgs, args: &mut PluginArgs) {
        for (index, resource) in read.resources.iter().enumerate() {
            if resource.weight.is_some_and(|weight| weight != 1) {
                let at = self.path.child("resources").index(index).child("weight");
                self.errors.push(invalid(&at, resource.weight.unwrap_or(0), "not in valid range [1-1]"));
            }
        }
        if !read.resources.is_empty() {
            args.node_resources_balanced_allocation.resources =
                read.resources.into_iter().map(|resource| resource.name).collect();
        }
    }

    fn spread(&mut self, read: PodTopologySpreadArgs, args: &mut PluginArgs) {
        let path = self.path.child("defaultConstraints");
        let list = match read.defaulting_type.as_deref() {
            Some("List") => true,
            None | Some("System") => false,
            Some(other) => {
                let at = self.path.child("defaultingType");
                self.errors.push(FieldError::not_supported(&at, other, &["List", "System"]).to_string());
                return;
            }
        };
        if !list && !read.default_constraints.is_empty() {
            let why = "when .defaultingType is System";
            self.errors.push(invalid(&path, "[...]", why));
        }
        for (index, constraint) in read.default_constraints.iter().enumerate() {
            let at = path.index(index);
            if constraint.max_skew <= 0 {
                self.errors.push(invalid(
                    &at.child("maxSkew"),
                    constraint.max_skew,
                    "not in valid range (0, inf)",
                ));
            }
            if constraint.topology_key.is_empty() {
                self.errors
                    .push(FieldError::required(&at.child("topologyKey"), "can not be empty").to_string());
            }
            if constraint.label_selector.is_some() {
                let why = "constraint must not define a selector, as they deduced for each pod";
                self.errors.push(FieldError::forbidden(&at.child("labelSelector"), why).to_string());
            }
        }
        if list {
            args.pod_topology_spread.defaults = read.default_constraints;
            args.pod_topology_spread.system_defaulted = false;
        }
    }

    fn volumes(&mut self, read: &VolumeBindingArgs, args: &mut PluginArgs) {
        if let Some(seconds) = read.bind_timeout_seconds {
            let seconds = self.within("bindTimeoutSeconds", seconds, 0, i64::from(i32::MAX));
            args.bind_timeout = u64::try_from(seconds).ok().map(Duration::from_secs);
        }
    }

    fn preemption(&mut self, read: &DefaultPreemptionArgs, args: &mut PreemptionArgs) {
        let most = i64::from(i32::MAX);
        if let Some(percentage) = read.min_candidate_nodes_percentage {
            let percentage = self.within("minCandidateNodesPercentage", percentage, 0, 100);
            args.min_candidate_nodes_percentage = usize::try_from(percentage).unwrap_or(0);
        }
        if let Some(absolute) = read.min_candidate_nodes_absolute {
            let absolute = self.within("minCandidateNodesAbsolute", absolute, 0, most);
            args.min_candidate_nodes_absolute = usize::try_from(absolute).unwrap_or(0);
        }
        if args.min_candidate_nodes_percentage == 0 && args.min_candidate_nodes_absolute == 0 {
            let why = "both minCandidateNodesPercentage and minCandidateNodesAbsolute cannot be zero";
            self.errors.push(invalid(&self.path.child("minCandidateNodesPercentage"), 0, why));
        }
    }
}
