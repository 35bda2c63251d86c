//! A pod with what every plugin would compute from it anew.

use super::Resources;
use api::k8s_openapi::api::core::v1::{Pod, PodSpec};
use api::pod::{HostPort, host_ports, requests};
use client::Key;
use std::sync::Arc;

/// What a container without requests counts as in scores: `DefaultMilliCPURequest`, `DefaultMemoryRequest`.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

/// A pod as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it requests of its node; `pods` is 1.
    pub requests: Resources,
    /// The same for scores: something for containers that request nothing.
    pub scored_requests: Resources,
    /// The ports it claims on its node.
    pub host_ports: Vec<HostPort>,
}

impl PodInfo {
    /// Of this pod.
    pub fn new(pod: Arc<Pod>) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let mut own = Resources::from_list(&requests(spec));
        own.pods = 1;
        let mut scored = own.clone();
        for container in &spec.containers {
            let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
            let lacks = |name: &str| requests.is_none_or(|r| !r.contains_key(name));
            scored.milli_cpu += if lacks("cpu") { DEFAULT_MILLI_CPU } else { 0 };
            scored.memory += if lacks("memory") { DEFAULT_MEMORY } else { 0 };
        }
        let host_ports = host_ports(spec);
        Self { requests: own, scored_requests: scored, host_ports, pod }
    }

    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key::of(&*self.pod)
    }

    /// Identity.
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// `spec.priority`.
    pub fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
    }

    /// The specification.
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }
}
