//! What probes have found out about containers, by container id.
//!
//! **Contract**: pure data. A container without a startup probe has started when it runs, one without a readiness probe is
//! ready then; until a probe has said otherwise none is condemned.
//! **Not here**: who asks (`probes`).
//! **Upstream**: `pkg/kubelet/prober/results`.

use api::k8s_openapi::api::core::v1::Container;
use runtime::ContainerId;
use std::collections::{HashMap, HashSet};

/// Which question a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Probe {
    Startup,
    Liveness,
    Readiness,
}

impl Probe {
    pub(crate) const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// As texts name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
        }
    }

    /// The container's probe of this kind.
    pub(crate) fn of(self, container: &Container) -> Option<&api::k8s_openapi::api::core::v1::Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// Why a container is to be killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) probe: Probe,
    /// Seconds of grace, where the probe says.
    pub(crate) grace: Option<i64>,
}

/// What is known of all containers of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    started: HashSet<ContainerId>,
    ready: HashSet<ContainerId>,
    failed: HashMap<ContainerId, Failure>,
}

impl Health {
    /// The startup probe has succeeded.
    pub(crate) fn start(&mut self, id: &ContainerId) {
        self.started.insert(id.clone());
    }

    /// The readiness probe's opinion.
    pub(crate) fn set_ready(&mut self, id: &ContainerId, ready: bool) {
        if ready {
            self.ready.insert(id.clone());
        } else {
            self.ready.remove(id);
        }
    }

    /// A liveness or startup probe has failed for good.
    pub(crate) fn fail(&mut self, id: &ContainerId, failure: Failure) {
        self.failed.insert(id.clone(), failure);
    }

    /// Forgets containers that the runtime does not have any more.
    pub(crate) fn retain(&mut self, keep: impl Fn(&ContainerId) -> bool) {
        self.started.retain(&keep);
        self.ready.retain(&keep);
        self.failed.retain(|id, _| keep(id));
    }

    /// Why this container is to be killed, if it is.
    pub(crate) fn failure(&self, id: &ContainerId) -> Option<&Failure> {
        self.failed.get(id)
    }

    /// Whether a container that runs has started.
    pub(crate) fn has_started(&self, container: &Container, id: &ContainerId) -> bool {
        container.startup_probe.is_none() || self.started.contains(id)
    }

    /// Whether a container that runs is ready.
    pub(crate) fn is_ready(&self, container: &Container, id: &ContainerId) -> bool {
        self.has_started(container, id) && (container.readiness_probe.is_none() || self.ready.contains(id))
    }
}
