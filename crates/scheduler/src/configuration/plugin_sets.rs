//! Which plugins take part at which extension point.
//!
//! **Upstream**: `mergePlugins` of `apis/config/v1`, `expandMultiPointPlugins` of `framework/runtime`.

use crate::plugins::{PLUGINS, PluginArgs};
use crate::profile::Enabled;
use serde::Deserialize;

/// Plugins that are no file of their own here, and their points.
const BUILT_IN: [(&str, &[&str]); 3] =
    [("PrioritySort", &["queueSort"]), ("DefaultPreemption", &["postFilter"]), ("DefaultBinder", &["bind"])];

/// What a profile says about plugins, point by point.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct PluginSets {
    multi_point: Set,
    pre_enqueue: Set,
    queue_sort: Set,
    pre_filter: Set,
    filter: Set,
    post_filter: Set,
    pre_score: Set,
    score: Set,
    reserve: Set,
    permit: Set,
    pre_bind: Set,
    bind: Set,
    post_bind: Set,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Set {
    enabled: Vec<Named>,
    disabled: Vec<Named>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Named {
    name: String,
    weight: Option<i64>,
}

impl Set {
    fn enables(&self, name: &str) -> Option<&Named> {
        self.enabled.iter().find(|named| named.name == name)
    }

    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|named| named.name == name || named.name == "*")
    }
}

/// The points of a plugin; none if there is no such plugin.
fn points(name: &str) -> Option<&'static [&'static str]> {
    let own = PLUGINS.iter().find(|row| row.name == name).map(|row| row.points);
    own.or_else(|| BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, points)| *points))
}

impl PluginSets {
    fn at(&self, point: &str) -> &Set {
        match point {
            "preEnqueue" => &self.pre_enqueue,
            "queueSort" => &self.queue_sort,
            "preFilter" => &self.pre_filter,
            "filter" => &self.filter,
            "postFilter" => &self.post_filter,
            "preScore" => &self.pre_score,
            "score" => &self.score,
            "reserve" => &self.reserve,
            "permit" => &self.permit,
            "preBind" => &self.pre_bind,
            "bind" => &self.bind,
            _ => &self.post_bind,
        }
    }

    /// Whether a plugin takes part at a point.
    fn has(&self, name: &str, point: &str) -> bool {
        if !points(name).is_some_and(|points| points.contains(&point)) {
            return false;
        }
        if self.at(point).enables(name).is_some() {
            return true;
        }
        let by_default = !self.multi_point.disables(name) || self.multi_point.enables(name).is_some();
        by_default && !self.at(point).disables(name)
    }

    /// What is wrong with it.
    pub(super) fn problems(&self, profile: &str) -> Vec<String> {
        let mut problems = Vec::new();
        const POINTS: [(&str, &str); 12] = [
            ("preEnqueue", "PreEnqueuePlugin"),
            ("queueSort", "QueueSortPlugin"),
            ("preFilter", "PreFilterPlugin"),
            ("filter", "FilterPlugin"),
            ("postFilter", "PostFilterPlugin"),
            ("preScore", "PreScorePlugin"),
            ("score", "ScorePlugin"),
            ("reserve", "ReservePlugin"),
            ("permit", "PermitPlugin"),
            ("preBind", "PreBindPlugin"),
            ("bind", "BindPlugin"),
            ("postBind", "PostBindPlugin"),
        ];
        for named in &self.multi_point.enabled {
            if points(&named.name).is_none() {
                problems.push(format!("MultiPointPlugin {:?} does not exist", named.name));
            }
        }
        for (point, kind) in POINTS {
            for named in &self.at(point).enabled {
                match points(&named.name) {
                    None => problems.push(format!("{kind} {:?} does not exist", named.name)),
                    Some(points) if !points.contains(&point) => {
                        problems.push(format!("plugin {:?} does not extend {kind} plugin", named.name));
                    }
                    Some(_) => {}
                }
            }
        }
        let sets = POINTS.iter().map(|(point, _)| self.at(point)).chain([&self.multi_point]);
        for named in sets.flat_map(|set| &set.disabled) {
            if named.name != "*" && points(&named.name).is_none() {
                problems.push(format!("plugin {:?} does not exist", named.name));
            }
        }
        if !self.has("PrioritySort", "queueSort") {
            problems.push(format!(
                "at least one queue sort plugin is needed for profile with scheduler name {profile:?}"
            ));
        }
        if !self.has("DefaultBinder", "bind") {
            problems.push(format!(
                "at least one bind plugin is needed for profile with scheduler name {profile:?}"
            ));
        }
        // A claim's volume cannot be chosen and then not be bound.
        for point in ["reserve", "preBind"] {
            if self.has("VolumeBinding", "filter") && !self.has("VolumeBinding", point) {
                problems.push(format!("VolumeBinding cannot filter and be disabled for {point}"));
            }
        }
        problems
    }

    /// Whether pods of lower priority give way.
    pub(super) fn preempts(&self) -> bool {
        self.has("DefaultPreemption", "postFilter")
    }

    /// The plugins that take part anywhere.
    pub(super) fn enabled(&self, args: &PluginArgs) -> Vec<Enabled> {
        let rows = PLUGINS.iter().map(|row| {
            let plugin = (row.make)(args);
            let weight = |set: &Set| set.enables(row.name)?.weight.filter(|weight| *weight > 0);
            let weight =
                weight(&self.score).or_else(|| weight(&self.multi_point)).unwrap_or(plugin.default_weight());
            Enabled {
                enqueues: self.has(row.name, "preEnqueue"),
                filters: self.has(row.name, "filter"),
                weight: if self.has(row.name, "score") { weight } else { 0 },
                plugin,
            }
        });
        rows.filter(|enabled| enabled.enqueues || enabled.filters || enabled.weight > 0).collect()
    }
}
