//! Probes: a task for each probe of each container that runs.
//!
//! **Contract**: a task asks at its times, counts, and writes what it concluded into the pod's [`Health`]; the pod's worker
//! is woken when a conclusion changed. Liveness and readiness wait for startup. A task ends with its container, or when it
//! has nothing more to say: after the startup probe has succeeded, or the container is condemned.
//! **Not here**: what follows from it (`sync_pod`, `pod_status`).
//! **Upstream**: `pkg/kubelet/prober`, `pkg/probe`.

mod ask;
mod exec;
mod grpc;
pub(crate) mod http;
mod metrics;
mod tcp;

use crate::health::{Failure, Health, Probe};
use crate::images::EventKind;
use crate::pod_worker::Node;
use api::k8s_openapi::api::core::v1::{Container, Pod, Probe as ApiProbe};
pub(crate) use ask::port;
use ask::{Ask, Said, ask};
use component_base::Context;
use jiff::Timestamp;
pub(crate) use metrics::Results;
use runtime::ContainerId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// `maxProbeRetries`: how often an attempt is made that ended in an error, not in an answer.
const ATTEMPTS: usize = 3;

/// The probes of one pod.
pub(crate) struct Probes {
    context: Context,
    /// What they have found out; most pods have none.
    health: Option<Arc<watch::Sender<Health>>>,
    wake: Arc<Notify>,
    /// Ends with its value.
    tasks: HashMap<(ContainerId, Probe), Task>,
}

/// A task's life.
struct Task(Context);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.shutdown.trigger();
    }
}

/// A container that runs, as a probe sees it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) pod: Arc<Pod>,
    pub(crate) container: Container,
    pub(crate) id: ContainerId,
    pub(crate) started_at: Timestamp,
    pub(crate) pod_ip: Option<String>,
}

impl Probes {
    /// None yet. `wake` is told when a conclusion changes.
    pub(crate) fn new(context: &Context, wake: Arc<Notify>) -> Self {
        Self { context: context.clone(), health: None, wake, tasks: HashMap::new() }
    }

    /// What the probes have found out.
    pub(crate) fn health(&self) -> Health {
        self.health.as_ref().map(|health| health.borrow().clone()).unwrap_or_default()
    }

    /// Probes exactly these containers; `known` are all that the runtime has, running or not.
    pub(crate) fn update(
        &mut self,
        node: &Arc<Node>,
        targets: &[Target],
        known: impl Fn(&ContainerId) -> bool,
        which: impl Fn(Probe) -> bool,
    ) {
        self.tasks.retain(|(id, probe), _| which(*probe) && targets.iter().any(|target| target.id == *id));
        for target in targets {
            for probe in Probe::ALL.into_iter().filter(|probe| which(*probe)) {
                let key = (target.id.clone(), probe);
                if let Some(spec) = probe.of(&target.container).filter(|_| !self.tasks.contains_key(&key)) {
                    let context = self.context.child();
                    let worker = Worker {
                        node: node.clone(),
                        target: target.clone(),
                        probe,
                        spec: spec.clone(),
                        health: self.health.get_or_insert_default().clone(),
                        wake: self.wake.clone(),
                    };
                    context.shutdown.spawn(worker.run());
                    self.tasks.insert(key, Task(context));
                }
            }
        }
        if let Some(health) = &self.health {
            health.send_if_modified(|health| {
                let before = health.clone();
                health.retain(known);
                *health != before
            });
        }
    }
}

/// One probe of one container.
struct Worker {
    node: Arc<Node>,
    target: Target,
    probe: Probe,
    spec: ApiProbe,
    health: Arc<watch::Sender<Health>>,
    wake: Arc<Notify>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.node.probe_results.forget(&self.target, self.probe);
    }
}

impl Worker {
    async fn run(self) {
        let clock = &self.node.context.clock;
        let seconds = |n: Option<i32>, default: u64| {
            Duration::from_secs(n.and_then(|n| u64::try_from(n).ok()).unwrap_or(default))
        };
        let period = seconds(self.spec.period_seconds, 10).max(Duration::from_secs(1));
        let first = self.target.started_at + seconds(self.spec.initial_delay_seconds, 0);
        let wait = Duration::try_from(first.duration_since(clock.now())).unwrap_or_default();
        // Containers that were there before this kubelet are not all asked at once.
        let adopted = self.target.started_at < self.node.started;
        let jitter = if adopted {
            self.node.context.rng.jitter(period, 1.0).saturating_sub(period)
        } else {
            Duration::ZERO
        };
        clock.sleep(wait + jitter).await;
        if self.probe != Probe::Startup {
            let mut health = self.health.subscribe();
            let Target { container, id, .. } = &self.target;
            if health.wait_for(|health| health.has_started(container, id)).await.is_err() {
                return;
            }
        }
        let mut counter = Counter::new(self.probe, &self.spec);
        let mut next = clock.instant();
        loop {
            let succeeded = self.attempt().await;
            self.node.probe_results.count(&self.target, self.probe, succeeded);
            if let Some(result) = counter.count(succeeded) {
                self.conclude(result);
                let is_final = match self.probe {
                    Probe::Startup => true,
                    Probe::Liveness => !result,
                    Probe::Readiness => false,
                };
                if is_final {
                    return;
                }
            }
            next += period;
            let now = clock.instant();
            while next < now {
                // A slow answer does not make later questions come in a rush.
                next += period;
            }
            clock.sleep(next - now).await;
        }
    }

    /// Writes a conclusion down and wakes the pod's worker if it is news.
    fn conclude(&self, result: bool) {
        let id = &self.target.id;
        let changed = self.health.send_if_modified(|health| {
            let before = health.clone();
            match (self.probe, result) {
                (Probe::Readiness, ready) => health.set_ready(id, ready),
                (Probe::Startup, true) => health.start(id),
                (Probe::Liveness, true) => {}
                (probe, false) => {
                    let grace = self.spec.termination_grace_period_seconds;
                    health.fail(id, Failure { probe, grace });
                }
            }
            *health != before
        });
        if changed {
            self.wake.notify_one();
        }
    }

    /// Asks once; errors are no answers and are tried again at once.
    async fn attempt(&self) -> bool {
        let timeout = self.spec.timeout_seconds.and_then(|n| u64::try_from(n).ok()).unwrap_or(1).max(1);
        let question = Ask { node: &self.node, target: &self.target, timeout: Duration::from_secs(timeout) };
        let mut answer = Said::Error(String::new());
        for _ in 0..ATTEMPTS {
            answer = ask(&question, &self.spec).await;
            if !matches!(answer, Said::Error(_)) {
                break;
            }
        }
        let name = self.probe.as_str();
        let title = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        match answer {
            Said::Success => true,
            Said::Warning(text) => {
                self.tell("ProbeWarning", &format!("{title} probe warning: {text}"));
                true
            }
            Said::Failure(text) => {
                self.tell("Unhealthy", &format!("{title} probe failed: {text}"));
                false
            }
            Said::Error(text) => {
                let message = format!("{title} probe errored and resulted in failure state: {text}");
                self.tell("Unhealthy", &message);
                false
            }
        }
    }

    fn tell(&self, reason: &str, message: &str) {
        let Target { pod, container, .. } = &self.target;
        self.node.event(pod, Some(&container.name), EventKind::Warning, reason, message);
    }
}

/// Turns answers into conclusions: so many alike in a row.
struct Counter {
    last: Option<bool>,
    run: i32,
    success: i32,
    failure: i32,
}

impl Counter {
    fn new(probe: Probe, spec: &ApiProbe) -> Self {
        let at_least_one = |n: Option<i32>, default: i32| n.unwrap_or(default).max(1);
        let success = if probe == Probe::Readiness { at_least_one(spec.success_threshold, 1) } else { 1 };
        Self { last: None, run: 0, success, failure: at_least_one(spec.failure_threshold, 3) }
    }

    /// The conclusion, once there are enough answers for one.
    fn count(&mut self, succeeded: bool) -> Option<bool> {
        if self.last == Some(succeeded) {
            self.run = self.run.saturating_add(1);
        } else {
            (self.last, self.run) = (Some(succeeded), 1);
        }
        let enough = if succeeded { self.success } else { self.failure };
        (self.run >= enough).then_some(succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_alike_in_a_row_make_a_conclusion() {
        let spec = ApiProbe { success_threshold: Some(2), failure_threshold: Some(3), ..Default::default() };
        let (yes, no) = (Some(true), Some(false));
        for (probe, answers, expected) in [
            (Probe::Readiness, vec![true, true, true], vec![None, yes, yes]),
            (Probe::Readiness, vec![true, false, true, true], vec![None, None, None, yes]),
            (Probe::Liveness, vec![false, false, false], vec![None, None, no]),
            (Probe::Liveness, vec![false, false, true, false], vec![None, None, yes, None]),
        ] {
            let mut counter = Counter::new(probe, &spec);
            let got: Vec<_> = answers.iter().map(|answer| counter.count(*answer)).collect();
            assert_eq!(got, expected, "{answers:?}");
        }
    }
}
