//! `KubeSchedulerConfiguration`: profiles, their plugins and what those are told.
//!
//! **Contract**: what is accepted is done. A field that is not known, a plugin that does not exist, or something that this
//! scheduler cannot do is an error that names it.
//! **Upstream**: `kubescheduler.config.k8s.io/v1`, `pkg/scheduler/apis/config/{v1,validation}`, `framework/runtime`.

mod args;
mod extenders;
mod plugin_sets;

use crate::plugins::PluginArgs;
use crate::preemption::PreemptionArgs;
use crate::profile::Profile;
use crate::queue::Backoff;
use api::field::{Error as FieldError, Path};
pub(crate) use extenders::ExtenderSpec;
use jiff::SignedDuration;
use plugin_sets::PluginSets;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const GROUP_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";
const DEFAULT_NAME: &str = "default-scheduler";
/// `VolumeBindingArgs.bindTimeoutSeconds`.
const BIND_TIMEOUT: Duration = Duration::from_secs(600);

/// A configuration that was read and found good.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    profiles: Vec<ProfileSpec>,
    backoff: Backoff,
    percentage: usize,
    extenders: Vec<ExtenderSpec>,
}

#[derive(Clone, Debug)]
struct ProfileSpec {
    name: String,
    percentage: Option<usize>,
    plugins: PluginSets,
    args: PluginArgs,
    preemption: PreemptionArgs,
}

/// Why a configuration is refused: every reason, a line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigurationError(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    /// How many threads upstream filters with; decisions here are made by one.
    #[serde(default, rename = "parallelism")]
    _parallelism: Option<u32>,
    leader_election: Option<LeaderElection>,
    percentage_of_nodes_to_score: Option<i64>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    #[serde(default)]
    profiles: Vec<ProfileFile>,
    #[serde(default)]
    extenders: Vec<ExtenderSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LeaderElection {
    leader_elect: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProfileFile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i64>,
    #[serde(default)]
    plugins: PluginSets,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PluginConfig {
    name: String,
    #[serde(default)]
    args: Value,
}

impl Configuration {
    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// With everything that is wrong about it.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let value: Value =
            serde_saphyr::from_str(text).map_err(|error| ConfigurationError(error.to_string()))?;
        let file: File = strict(value).map_err(ConfigurationError)?;
        if file.api_version != GROUP_VERSION || file.kind != KIND {
            let (version, kind) = (file.api_version, file.kind);
            let text = format!("no kind \"{kind}\" is registered for version \"{version}\"");
            return Err(ConfigurationError(text));
        }
        let mut errors = Vec::new();
        let configuration = Self::of(file, &mut errors);
        if errors.is_empty() { Ok(configuration) } else { Err(ConfigurationError(errors.join("\n"))) }
    }

    fn of(mut file: File, errors: &mut Vec<String>) -> Self {
        if file.leader_election.and_then(|election| election.leader_elect) == Some(true) {
            let why = "there is one scheduler in a cluster's process, and nobody to lead";
            errors.push(invalid(&Path::new("leaderElection").child("leaderElect"), true, why));
        }
        extenders::validate(&mut file.extenders, errors);
        let ignored: Vec<String> = file.extenders.iter().flat_map(ExtenderSpec::ignored).cloned().collect();
        if file.profiles.is_empty() && !ignored.is_empty() {
            file.profiles.push(ProfileFile::default());
        }
        let percentage =
            percentage(&Path::new("percentageOfNodesToScore"), file.percentage_of_nodes_to_score, errors);
        let initial = file.pod_initial_backoff_seconds.unwrap_or(1);
        let max = file.pod_max_backoff_seconds.unwrap_or(10);
        if initial <= 0 {
            errors.push(invalid(&Path::new("podInitialBackoffSeconds"), initial, "must be greater than 0"));
        }
        if max < initial {
            let why = "must be greater than or equal to PodInitialBackoffSeconds";
            errors.push(invalid(&Path::new("podMaxBackoffSeconds"), max, why));
        }
        let mut names = BTreeSet::new();
        let alone = file.profiles.len() == 1;
        let mut profiles = Vec::new();
        for (index, profile) in file.profiles.into_iter().enumerate() {
            let path = Path::new("profiles").index(index);
            let name = match profile.scheduler_name.clone().filter(|name| !name.is_empty()) {
                Some(name) => name,
                None if alone => DEFAULT_NAME.to_owned(),
                None => {
                    errors.push(FieldError::required(&path.child("schedulerName"), "").to_string());
                    continue;
                }
            };
            if !names.insert(name.clone()) {
                errors.push(FieldError::duplicate(&path.child("schedulerName"), name).to_string());
                continue;
            }
            let mut profile = ProfileSpec::of(name, profile, &path, errors);
            profile.args.node_resources_fit.ignored.extend(ignored.iter().cloned());
            profiles.push(profile);
        }
        let seconds = SignedDuration::from_secs;
        Self {
            profiles,
            backoff: Backoff { initial: seconds(initial), max: seconds(max) },
            percentage: percentage.unwrap_or(0),
            extenders: file.extenders,
        }
    }

    /// Who else has a say in decisions.
    pub(crate) fn extenders(&self) -> &[ExtenderSpec] {
        &self.extenders
    }

    /// How long pods are held back.
    pub(crate) fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// How long a pod's volumes may take, by profile's name.
    pub(crate) fn bind_timeout(&self, name: &str) -> Duration {
        let profile = self.profiles.iter().find(|profile| profile.name == name);
        profile.and_then(|profile| profile.args.bind_timeout).unwrap_or(BIND_TIMEOUT)
    }

    /// The profiles; without any configured, that of `default-scheduler`.
    pub(crate) fn profiles(&self) -> Vec<Profile> {
        if self.profiles.is_empty() {
            let default = crate::plugins::default_profile();
            return vec![Profile { percentage: self.percentage, ..default }];
        }
        let of = |spec: &ProfileSpec| Profile {
            name: spec.name.clone(),
            plugins: spec.plugins.enabled(&spec.args),
            percentage: spec.percentage.unwrap_or(self.percentage),
            preemption: spec.plugins.preempts().then(|| spec.preemption.clone()),
        };
        self.profiles.iter().map(of).collect()
    }
}

impl ProfileSpec {
    fn of(name: String, file: ProfileFile, path: &Path, errors: &mut Vec<String>) -> Self {
        let of_profile = path.child("percentageOfNodesToScore");
        let percentage = percentage(&of_profile, file.percentage_of_nodes_to_score, errors);
        errors.extend(file.plugins.problems(&name));
        let mut args = PluginArgs::default();
        let mut preemption = PreemptionArgs::default();
        let mut told = BTreeSet::new();
        for (index, config) in file.plugin_config.into_iter().enumerate() {
            let path = path.child("pluginConfig").index(index);
            if !told.insert(config.name.clone()) {
                errors.push(FieldError::duplicate(&path, config.name).to_string());
                continue;
            }
            args::read(&config.name, config.args, &path, &mut args, &mut preemption, errors);
        }
        Self { name, percentage, plugins: file.plugins, args, preemption }
    }
}

fn percentage(path: &Path, value: Option<i64>, errors: &mut Vec<String>) -> Option<usize> {
    let value = value?;
    let valid = usize::try_from(value).ok().filter(|percentage| *percentage <= 100);
    if valid.is_none() {
        errors.push(invalid(path, value, "not in valid range [0-100]"));
    }
    valid
}

fn invalid(path: &Path, value: impl Into<Value>, detail: &str) -> String {
    FieldError::invalid(path, value, detail).to_string()
}

/// A typed value; a field that the type does not know is an error.
fn strict<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("strict decoding error: {error}"))
}

#[cfg(test)]
mod tests;
