//! What `--admission-control-config-file` says of plugins.
//!
//! **Contract**: read once, when the server starts; what is not supported or makes no sense is an error that says where.
//! **Upstream**: `k8s.io/apiserver/pkg/admission/config.go`; `PodSecurityConfiguration`, `ResourceQuotaConfiguration`.

use super::pod_security::Configuration as PodSecurity;
use super::resource_quota::Limited;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

const API_VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1alpha1"];
const QUOTA_VERSIONS: [&str; 4] = [
    "apiserver.config.k8s.io/v1",
    "resourcequota.admission.k8s.io/v1",
    "resourcequota.admission.k8s.io/v1beta1",
    "resourcequota.admission.k8s.io/v1alpha1",
];
const POD_SECURITY_VERSIONS: [&str; 3] = [
    "pod-security.admission.config.k8s.io/v1",
    "pod-security.admission.config.k8s.io/v1beta1",
    "pod-security.admission.config.k8s.io/v1alpha1",
];

/// How plugins are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    pub(super) pod_security: PodSecurity,
    /// What may only be used where a quota counts it.
    pub(super) limited: Vec<Limited>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    name: String,
    path: Option<PathBuf>,
    #[serde(default)]
    configuration: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QuotaFile {
    #[serde(rename = "apiVersion")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    limited_resources: Vec<Limited>,
}

impl Configuration {
    /// As the file says, and those that it names.
    ///
    /// # Errors
    /// If a file cannot be read, or says what is not known.
    pub fn read(file: &Path) -> Result<Self, String> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let whole: File = decode(yaml(file)?, "AdmissionConfiguration", &API_VERSIONS)
            .map_err(|why| format!("{}: {why}", file.display()))?;
        let mut configuration = Self::default();
        for plugin in whole.plugins {
            let (place, value) = match &plugin.path {
                Some(path) => (folder.join(path), yaml(&folder.join(path))?),
                None => (file.to_owned(), plugin.configuration),
            };
            if !value.is_null() {
                configuration
                    .plugin(&plugin.name, value)
                    .map_err(|why| format!("{}: plugin {:?}: {why}", place.display(), plugin.name))?;
            }
        }
        Ok(configuration)
    }

    fn plugin(&mut self, name: &str, value: Value) -> Result<(), String> {
        match name {
            "PodSecurity" => {
                self.pod_security = decode(value, "PodSecurityConfiguration", &POD_SECURITY_VERSIONS)?;
            }
            "ResourceQuota" => {
                // Versions before v1 spelled the kind otherwise.
                let before =
                    value["apiVersion"].as_str().is_some_and(|version| version.starts_with("resourcequota."));
                let kind = if before { "Configuration" } else { "ResourceQuotaConfiguration" };
                let file: QuotaFile = decode(value, kind, &QUOTA_VERSIONS)?;
                self.limited = file.limited_resources;
            }
            _ => return Err("its configuration is not supported".to_owned()),
        }
        Ok(())
    }
}

fn yaml(file: &Path) -> Result<Value, String> {
    let named = |why: String| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| named(error.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(value: Value, kind: &str, versions: &[&str]) -> Result<T, String> {
    let version = value["apiVersion"].as_str().unwrap_or_default();
    if !versions.contains(&version) || value["kind"] != kind {
        return Err(format!("expected {kind} of {}, got {} of {version:?}", versions[0], value["kind"]));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_configured_in_the_file_or_in_another() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        write(
            "quota.yaml",
            "apiVersion: apiserver.config.k8s.io/v1\nkind: ResourceQuotaConfiguration\n\
             limitedResources: [{resource: pods, matchContains: [cpu]}]\n",
        );
        let all = |plugins: &str| {
            let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";
            Configuration::read(&write("all.yaml", &format!("{head}{plugins}")))
        };
        let security = |defaults: &str| {
            format!(
                "- name: PodSecurity\n  configuration: {{kind: PodSecurityConfiguration, \
                 apiVersion: pod-security.admission.config.k8s.io/v1, defaults: {{{defaults}}}, \
                 exemptions: {{namespaces: [kube-system]}}}}\n"
            )
        };
        let read =
            all(&format!("- {{name: ResourceQuota, path: quota.yaml}}\n{}", security("enforce: baseline")))
                .unwrap();
        assert_eq!(read.limited.len(), 1);
        assert_eq!(read.pod_security.exemptions.namespaces, ["kube-system"]);
        for (plugins, why) in [
            (security("enforce: strict"), "must be one of privileged, baseline, restricted"),
            (security("nonsense: x"), "unknown field `nonsense`"),
            (
                "- {name: Priority, configuration: {kind: X}}\n".to_owned(),
                "its configuration is not supported",
            ),
            ("- {name: ResourceQuota, path: absent.yaml}\n".to_owned(), "absent.yaml: No such file"),
            (
                "- {name: ResourceQuota, configuration: {kind: X}}\n".to_owned(),
                "expected ResourceQuotaConfiguration of apiserver.config.k8s.io/v1, got \"X\" of \"\"",
            ),
        ] {
            let said = all(&plugins).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
