//! Labels of containers: identity and annotations, in dockershim's form.
//!
//! Contract: [`build`] and [`split`] are opposites for what the caller gave. Docker has no annotations, so they are
//! labels with the prefix `annotation.`.

use std::collections::HashMap;

use runtime::{ContainerMetadata, PodSandboxMetadata, StringMap, labels};

use crate::config::DockerConfig;
use crate::naming;

/// Which profile a container, sandbox or network belongs to.
pub const PROFILE_LABEL: &str = "minik.profile";
/// Which node of the profile a container or sandbox belongs to.
pub const NODE_LABEL: &str = "minik.node";
/// `podsandbox` or `container`.
pub(crate) const TYPE: &str = "io.kubernetes.docker.type";
pub(crate) const TYPE_SANDBOX: &str = "podsandbox";
pub(crate) const TYPE_CONTAINER: &str = "container";
/// Id of a container's sandbox.
pub(crate) const SANDBOX_ID: &str = "io.kubernetes.sandbox.id";
/// The image as the user wrote it, where the container was made from its id.
pub(crate) const USER_IMAGE: &str = "minik.image";
const ANNOTATION_PREFIX: &str = "annotation.";

/// The engine's labels of a sandbox, or of a container in it.
pub(crate) fn build(
    config: &DockerConfig,
    pod: &PodSandboxMetadata,
    container: Option<(&ContainerMetadata, &str)>,
    own: &StringMap,
    annotations: &StringMap,
) -> HashMap<String, String> {
    let mut all: HashMap<String, String> = own.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    all.extend(annotations.iter().map(|(key, value)| (format!("{ANNOTATION_PREFIX}{key}"), value.clone())));
    let mut put = |key: &str, value: &str| all.insert(key.to_owned(), value.to_owned());
    put(PROFILE_LABEL, &config.profile);
    if !config.node.is_empty() {
        put(NODE_LABEL, &config.node);
    }
    put(labels::POD_NAME, &pod.name);
    put(labels::POD_NAMESPACE, &pod.namespace);
    put(labels::POD_UID, &pod.uid);
    match container {
        Some((container, sandbox)) => {
            put(TYPE, TYPE_CONTAINER);
            put(labels::CONTAINER_NAME, &container.name);
            put(SANDBOX_ID, sandbox);
        }
        None => {
            put(TYPE, TYPE_SANDBOX);
            put(labels::CONTAINER_NAME, naming::SANDBOX);
        }
    }
    all
}

/// The caller's labels and annotations out of the engine's.
pub(crate) fn split(all: HashMap<String, String>) -> (StringMap, StringMap) {
    let mut own = StringMap::new();
    let mut annotations = StringMap::new();
    for (key, value) in all {
        if let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) {
            annotations.insert(name.to_owned(), value);
        } else if ![PROFILE_LABEL, NODE_LABEL, TYPE, SANDBOX_ID, USER_IMAGE].contains(&key.as_str()) {
            own.insert(key, value);
        }
    }
    (own, annotations)
}

/// The engine's filter for what belongs to this profile and node, of one type (or both), with more labels.
pub(crate) fn filter(
    config: &DockerConfig,
    kind: Option<&str>,
    more: &StringMap,
) -> HashMap<String, Vec<String>> {
    let mut wanted = vec![format!("{PROFILE_LABEL}={}", config.profile)];
    if !config.node.is_empty() {
        wanted.push(format!("{NODE_LABEL}={}", config.node));
    }
    wanted.extend(kind.map(|kind| format!("{TYPE}={kind}")));
    wanted.extend(more.iter().map(|(key, value)| format!("{key}={value}")));
    HashMap::from([("label".to_owned(), wanted)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_what_it_builds() {
        let config = DockerConfig { node: "n1".into(), ..DockerConfig::new("p") };
        let pod =
            PodSandboxMetadata { name: "a".into(), uid: "u".into(), namespace: "ns".into(), attempt: 0 };
        let container = ContainerMetadata { name: "c".into(), attempt: 1 };
        let own = StringMap::from([("app".into(), "x".into())]);
        let annotations = StringMap::from([("io.kubernetes.container.hash".into(), "7".into())]);
        let all = build(&config, &pod, Some((&container, "s1")), &own, &annotations);
        assert_eq!(all[PROFILE_LABEL], "p");
        assert_eq!(all[SANDBOX_ID], "s1");
        assert_eq!(all["annotation.io.kubernetes.container.hash"], "7");
        let (mut labels_back, annotations_back) = split(all);
        assert_eq!(labels_back.remove(labels::CONTAINER_NAME).as_deref(), Some("c"));
        labels_back.retain(|key, _| !key.starts_with("io.kubernetes.pod."));
        assert_eq!((labels_back, annotations_back), (own, annotations));
    }
}
