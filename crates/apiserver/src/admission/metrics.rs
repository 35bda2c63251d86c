//! What is counted of webhooks and policies.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/metrics`, `pkg/admission/plugin/policy/{validating,mutating}/metrics`: names
//! and labels are upstream's.

use super::Operation;
use component_base::{Clock, Metrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use tokio::time::Instant;

const WEBHOOK_BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
const POLICY_BUCKETS: [f64; 5] = [0.000_000_5, 0.001, 0.01, 0.1, 1.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// A call of a webhook.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

/// The same with the code of its answer.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

/// A no, or what counts as one.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rejection {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailedOpen {
    name: String,
    r#type: &'static str,
}

/// A policy's verdict.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Check {
    policy: String,
    policy_binding: String,
    error_type: &'static str,
    enforcement_action: &'static str,
}

/// A policy's change.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Mutation {
    policy: String,
    policy_binding: String,
    error_type: &'static str,
}

/// Which kind of webhook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hooks {
    Mutating,
    Validating,
}

impl Hooks {
    fn name(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Allowed,
    /// With the code of the refusal.
    Denied(u16),
    /// There was no answer; whether the request goes on.
    Failed {
        open: bool,
    },
}

/// The metrics of one server.
pub(crate) struct AdmissionMetrics {
    clock: Clock,
    calls: Histograms<Call>,
    answered: Family<Answered, Counter>,
    // Counters of upstream's whose names do not end as counters' do here.
    rejections: Family<Rejection, Gauge>,
    failed_open: Family<FailedOpen, Gauge>,
    checks: Family<Check, Counter>,
    check_times: Histograms<Check>,
    mutations: Family<Mutation, Counter>,
    mutation_times: Histograms<Mutation>,
}

impl std::fmt::Debug for AdmissionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdmissionMetrics").finish_non_exhaustive()
    }
}

impl AdmissionMetrics {
    pub(crate) fn register(metrics: &Metrics, clock: &Clock) -> Arc<Self> {
        let webhooks: fn() -> Histogram = || Histogram::new(WEBHOOK_BUCKETS);
        let policies: fn() -> Histogram = || Histogram::new(POLICY_BUCKETS);
        Arc::new(Self {
            clock: clock.clone(),
            calls: metrics.register(
                "apiserver_admission_webhook_admission_duration_seconds",
                "Latency of admission webhooks, by name, operation and type (admit or validating)",
                Family::new_with_constructor(webhooks),
            ),
            answered: metrics.register(
                "apiserver_admission_webhook_request",
                "Calls of admission webhooks, by name, operation, type and HTTP status code",
                Family::default(),
            ),
            rejections: metrics.register(
                "apiserver_admission_webhook_rejection_count",
                "Requests rejected by admission webhooks, by name, operation, type, error type and code",
                Family::default(),
            ),
            failed_open: metrics.register(
                "apiserver_admission_webhook_fail_open_count",
                "Requests that went on although an admission webhook did not answer",
                Family::default(),
            ),
            checks: metrics.register(
                "apiserver_validating_admission_policy_check",
                "Checks by validating admission policies, by policy, binding, error type and enforcement action",
                Family::default(),
            ),
            check_times: metrics.register(
                "apiserver_validating_admission_policy_check_duration_seconds",
                "Latency of checks by validating admission policies",
                Family::new_with_constructor(policies),
            ),
            mutations: metrics.register(
                "apiserver_mutating_admission_policy_check",
                "Changes by mutating admission policies, by policy, binding and error type",
                Family::default(),
            ),
            mutation_times: metrics.register(
                "apiserver_mutating_admission_policy_check_duration_seconds",
                "Latency of changes by mutating admission policies",
                Family::new_with_constructor(policies),
            ),
        })
    }

    /// The beginning of what is measured.
    pub(super) fn start(&self) -> Instant {
        self.clock.instant()
    }

    fn since(&self, start: Instant) -> f64 {
        self.clock.instant().duration_since(start).as_secs_f64()
    }

    /// Counts the call of a webhook.
    pub(super) fn called(
        &self,
        name: &str,
        hooks: Hooks,
        operation: Operation,
        outcome: Outcome,
        start: Instant,
    ) {
        let (name, r#type, operation) = (name.to_owned(), hooks.name(), operation.name());
        let rejected = if outcome == Outcome::Allowed || outcome == (Outcome::Failed { open: true }) {
            "false"
        } else {
            "true"
        };
        let labels = Call { name: name.clone(), r#type, operation, rejected };
        self.calls.get_or_create(&labels).observe(self.since(start));
        let code = match outcome {
            Outcome::Allowed | Outcome::Denied(_) => 200,
            Outcome::Failed { .. } => 0,
        };
        self.answered
            .get_or_create(&Answered { name: name.clone(), r#type, operation, code, rejected })
            .inc();
        let (error_type, rejection_code) = match outcome {
            Outcome::Allowed => return,
            Outcome::Denied(code) => ("no_error", code),
            Outcome::Failed { .. } => ("calling_webhook_error", 0),
        };
        if outcome == (Outcome::Failed { open: true }) {
            self.failed_open.get_or_create(&FailedOpen { name: name.clone(), r#type }).inc();
        }
        let rejection = Rejection { name, r#type, operation, error_type, rejection_code };
        self.rejections.get_or_create(&rejection).inc();
    }

    /// Counts the verdict of a policy; `action`: what it leads to, `allow` if to nothing.
    pub(super) fn checked(
        &self,
        (policy, binding): (&str, &str),
        failed: bool,
        action: &'static str,
        start: Instant,
    ) {
        let labels = Check {
            policy: policy.to_owned(),
            policy_binding: binding.to_owned(),
            error_type: error_type(failed),
            enforcement_action: action,
        };
        self.checks.get_or_create(&labels).inc();
        self.check_times.get_or_create(&labels).observe(self.since(start));
    }

    /// Counts the changes of a policy.
    pub(super) fn mutated(&self, (policy, binding): (&str, &str), failed: bool, start: Instant) {
        let labels = Mutation {
            policy: policy.to_owned(),
            policy_binding: binding.to_owned(),
            error_type: error_type(failed),
        };
        self.mutations.get_or_create(&labels).inc();
        self.mutation_times.get_or_create(&labels).observe(self.since(start));
    }
}

fn error_type(failed: bool) -> &'static str {
    if failed { "invalid_error" } else { "no_error" }
}
