//! What the user prefers for new profiles, and which profile is meant where none is named: `$MINIK_HOME/config.json`.
//!
//! **Upstream.** `minikube config` (its commands and words).

use crate::problem::Problem;
use crate::profile::{self, Settings, write_private};
use anyhow::{Context as _, Result};
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::Path;

/// What may be preferred: the name here, and the name in a profile's settings (empty: none of a profile's).
pub(crate) const KEYS: [(&str, &str); 6] = [
    ("profile", ""),
    ("nodes", "nodes"),
    ("simulated-nodes", "simulatedNodes"),
    ("runtime", "runtime"),
    ("store", "store"),
    ("api-port", "apiPort"),
];

/// All that is preferred.
pub(crate) fn load(home: &Path) -> Result<Map<String, Value>> {
    let path = home.join("config.json");
    match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Map::new()),
        text => {
            let text = text.with_context(|| format!("read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
        }
    }
}

fn save(home: &Path, all: &Map<String, Value>) -> Result<()> {
    std::fs::create_dir_all(home).with_context(|| format!("create {}", home.display()))?;
    write_private(
        &home.join("config.json"),
        &serde_json::to_vec_pretty(all).context("write the preferences")?,
    )
}

fn known(key: &str) -> Result<&'static str> {
    match KEYS.iter().find(|(name, _)| *name == key) {
        Some((_, setting)) => Ok(setting),
        None => {
            let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
            Err(Problem::error(
                format!("property name {key:?} not found"),
                format!("these may be set: {}", names.join(", ")),
            ))
        }
    }
}

/// Prefers a value, if it can be one.
pub(crate) fn set(home: &Path, key: &str, text: &str) -> Result<()> {
    let setting = known(key)?;
    let value = text.parse::<u32>().map_or_else(|_| Value::from(text), Value::from);
    if setting.is_empty() {
        profile::Profile::new(home, text)?;
    } else {
        let one = Map::from_iter([(setting.to_owned(), value.clone())]);
        overlay(Settings::default(), one).with_context(|| format!("invalid value {text:?} for {key:?}"))?;
    }
    let mut all = load(home)?;
    all.insert(key.to_owned(), value);
    save(home, &all)
}

/// Prefers nothing.
pub(crate) fn unset(home: &Path, key: &str) -> Result<()> {
    known(key)?;
    let mut all = load(home)?;
    all.remove(key);
    save(home, &all)
}

/// What is preferred of this.
pub(crate) fn get(home: &Path, key: &str) -> Result<Option<Value>> {
    known(key)?;
    Ok(load(home)?.remove(key))
}

/// The profile that is meant where none is named.
pub(crate) fn profile(home: &Path) -> String {
    let preferred = load(home).ok().and_then(|all| Some(all.get("profile")?.as_str()?.to_owned()));
    preferred.unwrap_or_else(|| profile::DEFAULT.to_owned())
}

/// Settings of a new profile.
pub(crate) fn settings(home: &Path) -> Result<Settings> {
    let all = load(home)?;
    let preferred = KEYS
        .iter()
        .filter(|(_, setting)| !setting.is_empty())
        .filter_map(|(name, setting)| Some(((*setting).to_owned(), all.get(*name)?.clone())));
    overlay(Settings::default(), preferred.collect())
}

/// Settings with some of them changed; an unknown one is an error.
pub(crate) fn overlay(settings: Settings, changes: Map<String, Value>) -> Result<Settings> {
    let mut all = serde_json::to_value(&settings).context("read the settings")?;
    for (name, value) in changes {
        if all.get(&name).is_none() && !OPTIONAL.contains(&name.as_str()) {
            let names: Vec<String> =
                all.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
            anyhow::bail!(
                "unknown setting {name:?}; these are known: {}, {}",
                names.join(", "),
                OPTIONAL.join(", ")
            );
        }
        all[&name] = value;
        // Each by itself, so that a mistake is known by its name.
        let read: Settings = serde_json::from_value(all.clone()).context(name)?;
        all = serde_json::to_value(&read).context("read the settings")?;
    }
    Ok(serde_json::from_value(all)?)
}

/// Settings that are not written where they are empty.
const OPTIONAL: [&str; 7] =
    ["extraConfig", "featureGates", "ipFamily", "mounts", "ports", "registries", "serviceClusterIpRange"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn preferences_hold_for_new_profiles_and_mistakes_are_named() {
        let home = tempfile::tempdir().expect("a folder");
        let home = home.path();
        assert_eq!(profile(home), "minik");
        set(home, "profile", "other").expect("set");
        set(home, "simulated-nodes", "3").expect("set");
        set(home, "runtime", "simulated").expect("set");
        assert_eq!(profile(home), "other");
        let new = settings(home).expect("read");
        assert_eq!((new.simulated_nodes, new.nodes), (3, 1));
        assert_eq!(get(home, "simulated-nodes").expect("read"), Some(json!(3)));
        unset(home, "simulated-nodes").expect("unset");
        assert_eq!(get(home, "simulated-nodes").expect("read"), None);
        for (key, value) in [("memory", "4g"), ("nodes", "many"), ("runtime", "magic"), ("profile", "A b")] {
            assert!(set(home, key, value).is_err(), "{key}");
        }
        for (name, value, why) in [
            ("disks", json!([]), "unknown setting \"disks\""),
            ("ports", json!([{"hostPort": 80, "colour": "red"}]), "ports: unknown field `colour`"),
            ("mounts", json!({}), "mounts: invalid type: map"),
            ("registries", json!({"mirror": []}), "registries: unknown field `mirror`"),
        ] {
            let error = overlay(Settings::default(), Map::from_iter([(name.to_owned(), value)]));
            let error = format!("{:#}", error.expect_err("refused"));
            assert!(error.contains(why), "{error}");
        }
    }
}
