//! Names of containers: they tell what a container is, and make the engine itself refuse duplicates.
//!
//! Contract: `k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`, a sandbox's container is `POD`. None of the parts
//! can have an underscore, so parsing is the exact opposite of building.
//!
//! Upstream: dockershim's `naming.go`.

use std::fmt;

/// First part of every name.
const PREFIX: &str = "k8s";
/// The container's name of a sandbox.
pub const SANDBOX: &str = "POD";

/// The parts of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Name of the container; `POD` for a sandbox.
    pub container: String,
    /// Name of the pod.
    pub pod: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// UID of the pod.
    pub uid: String,
    /// Which try.
    pub attempt: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, pod, namespace, uid, attempt } = self;
        write!(f, "{PREFIX}_{container}_{pod}_{namespace}_{uid}_{attempt}")
    }
}

impl Name {
    /// The name of a pod's sandbox.
    pub fn of_sandbox(metadata: &runtime::PodSandboxMetadata) -> Self {
        Self {
            container: SANDBOX.to_owned(),
            pod: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            attempt: metadata.attempt,
        }
    }

    /// The name of a container in a pod.
    pub fn of_container(container: &runtime::ContainerMetadata, pod: &runtime::PodSandboxMetadata) -> Self {
        Self { container: container.name.clone(), attempt: container.attempt, ..Self::of_sandbox(pod) }
    }

    /// Reads a name, with or without the engine's leading slash. None: not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix('/').unwrap_or(name).split('_');
        if parts.next() != Some(PREFIX) {
            return None;
        }
        let mut next = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        let (container, pod, namespace, uid) = (next()?, next()?, next()?, next()?);
        let attempt = parts.next()?.parse().ok()?;
        if parts.next().is_some() {
            return None;
        }
        Some(Self { container, pod, namespace, uid, attempt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_builds() {
        let name = Name {
            container: "c".into(),
            pod: "web-0".into(),
            namespace: "default".into(),
            uid: "3f2a".into(),
            attempt: 12,
        };
        assert_eq!(name.to_string(), "k8s_c_web-0_default_3f2a_12");
        assert_eq!(Name::parse(&format!("/{name}")), Some(name));
    }

    #[test]
    fn knows_foreign_names() {
        for foreign in
            ["", "web", "k8s_a_b_c_d", "k8s_a_b_c_d_x", "k8s_a_b_c_d_0_1", "k8s__b_c_d_0", "x_a_b_c_d_0"]
        {
            assert_eq!(Name::parse(foreign), None, "{foreign:?}");
        }
    }
}
