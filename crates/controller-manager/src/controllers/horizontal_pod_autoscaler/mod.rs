//! HorizontalPodAutoscalers: as many replicas as metrics ask for, not too many and not too fast.
//!
//! **Contract**: looks at each autoscaler every [`PERIOD`], as upstream does: metrics cannot be watched.
//! **Upstream**: `pkg/controller/podautoscaler`.

mod behavior;
mod evaluate;
mod metrics;
mod replicas;

use crate::discovery::{self, Resource};
use crate::workload::{message, owned, seconds, write_status};
use crate::{Error, Manager};
use api::selector::LabelSelector;
use behavior::History;
use client::events::Type;
use client::{Action, Informer, Key, Queue, Recorder, controller};
use evaluate::{Question, Unknown};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus, MetricSpec, MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::core::Request;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "horizontal-pod-autoscaler-controller";

/// Autoscalers worked on at a time (`--concurrent-horizontal-pod-autoscaler-syncs`).
const WORKERS: usize = 5;
/// Between two looks (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Duration = Duration::from_secs(15);
/// The target of an autoscaler that names no metric (`autoscaling.DefaultCPUUtilization`).
const DEFAULT_CPU: i32 = 80;

struct Shell {
    manager: Manager,
    recorder: Recorder,
    scalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    kinds: Mutex<Vec<Resource>>,
    histories: Mutex<HashMap<String, History>>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let scalers = manager.informers.of::<HorizontalPodAutoscaler>();
    let pods = manager.informers.of::<Pod>();
    scalers.feed(&manager.context, &queue, |scaler| [Key::of(scaler)]);
    scalers.synced().await;
    pods.synced().await;
    let recorder = Recorder::new(manager.client.clone(), "horizontal-pod-autoscaler", None, &manager.context);
    let context = manager.context.clone();
    let (kinds, histories) = (Mutex::default(), Mutex::default());
    let shell = Arc::new(Shell { manager, recorder, scalers, pods, kinds, histories });
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

/// A look at one autoscaler while it lasts.
struct Look<'a> {
    shell: &'a Shell,
    scaler: &'a HorizontalPodAutoscaler,
    status: HorizontalPodAutoscalerStatus,
    now: Timestamp,
}

/// Where the target's scale is.
struct Target {
    request: Request,
    scale: Scale,
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(scaler) = self.scalers.get_key(key) else {
            return Ok(Action::Done);
        };
        let known = scaler.status.clone().unwrap_or_default();
        let status = HorizontalPodAutoscalerStatus {
            observed_generation: scaler.metadata.generation,
            ..known.clone()
        };
        let now = self.manager.context.clock.now();
        let mut look = Look { shell: self, scaler: &scaler, status, now };
        look.run().await;
        let status = look.status;
        if status != known {
            let changed = HorizontalPodAutoscaler { status: Some(status), ..scaler.as_ref().clone() };
            write_status(&self.manager, &self.scalers, &changed).await?;
        }
        Ok(Action::RequeueAfter(PERIOD))
    }

    /// The resource that a target's kind means.
    async fn resource(&self, target: &CrossVersionObjectReference) -> Result<Resource, String> {
        let version = target.api_version.clone().unwrap_or_else(|| "v1".to_owned());
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let find = || {
            let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            kinds.iter().find(|known| known.group == group && known.kind == target.kind).cloned()
        };
        if let Some(found) = find() {
            return Ok(found);
        }
        let (all, _) = discovery::discover(&self.manager.client).await.map_err(|error| error.to_string())?;
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = all;
        find().ok_or_else(|| format!("no matches for kind \"{}\" in group \"{group}\"", target.kind))
    }

    async fn target(&self, namespace: &str, target: &CrossVersionObjectReference) -> Result<Target, String> {
        let request = Request::new(self.resource(target).await?.path(namespace));
        let ask = request.get_subresource("scale", &target.name).map_err(|error| error.to_string())?;
        let scale = self.manager.client.request::<Scale>(ask).await.map_err(|error| message(&error))?;
        Ok(Target { request, scale })
    }
}

impl Look<'_> {
    fn condition(&mut self, kind: &str, value: &str, reason: &str, message: String) {
        let conditions = self.status.conditions.get_or_insert_default();
        let known = conditions.iter_mut().find(|condition| condition.type_ == kind);
        match known {
            Some(known) => {
                if known.status != value {
                    known.last_transition_time = Some(seconds(self.now));
                }
                known.status = value.to_owned();
                known.reason = Some(reason.to_owned());
                known.message = Some(message);
            }
            None => conditions.push(HorizontalPodAutoscalerCondition {
                type_: kind.to_owned(),
                status: value.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(seconds(self.now)),
            }),
        }
    }

    fn warn(&self, reason: &str, message: &str) {
        self.shell.recorder.on(self.scaler, Type::Warning, reason, message);
    }

    async fn run(&mut self) {
        let spec = &self.scaler.spec;
        let namespace = self.scaler.metadata.namespace.clone().unwrap_or_default();
        let target = match self.shell.target(&namespace, &spec.scale_target_ref).await {
            Ok(target) => target,
            Err(why) => {
                self.warn("FailedGetScale", &why);
                let told = format!("the HPA controller was unable to get the target's current scale: {why}");
                return self.condition("AbleToScale", "False", "FailedGetScale", told);
            }
        };
        let told = "the HPA controller was able to get the target's current scale".to_owned();
        self.condition("AbleToScale", "True", "SucceededGetScale", told);
        let current = target.scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        self.status.current_replicas = Some(current);
        let least = spec.min_replicas.unwrap_or(1);
        let (wanted, reason) = if current == 0 && least != 0 {
            let told = "scaling is disabled since the replica count of the target is zero".to_owned();
            self.condition("ScalingActive", "False", "ScalingDisabled", told);
            (0, String::new())
        } else if current > spec.max_replicas {
            (spec.max_replicas, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < least {
            (least, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            match self.by_metrics(&namespace, &target.scale, current).await {
                Some(found) => found,
                None => return,
            }
        };
        self.status.desired_replicas = wanted;
        if wanted != current {
            self.rescale(target, current, wanted, &reason).await;
        }
    }

    /// The size that metrics ask for, within limits, and why; none if no metric is known.
    async fn by_metrics(&mut self, namespace: &str, scale: &Scale, current: i32) -> Option<(i32, String)> {
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
        let parsed = match LabelSelector::parse(&selector) {
            Ok(parsed) if !selector.is_empty() => parsed,
            _ => {
                let told = "the HPA target's scale is missing a selector".to_owned();
                self.condition("ScalingActive", "False", "InvalidSelector", told);
                self.warn("SelectorRequired", "selector is required");
                return None;
            }
        };
        let mut pods = self.shell.pods.list_in(namespace);
        pods.retain(|pod| owned::selects(&parsed, pod.metadata.labels.as_ref()));
        let spec = &self.scaler.spec;
        let question = Question {
            manager: &self.shell.manager,
            namespace,
            selector: &selector,
            pods: &pods,
            current,
            tolerance: behavior::tolerance(spec),
            now: self.now,
        };
        let (mut answers, mut unknown) = (Vec::new(), Vec::new());
        let default = [default_metric()];
        let specs = spec.metrics.as_deref().filter(|specs| !specs.is_empty()).unwrap_or(&default);
        for metric in specs {
            match question.ask(metric).await {
                Ok(answer) => answers.push(answer),
                Err(why) => unknown.push(why),
            }
        }
        for Unknown { reason, message } in &unknown {
            self.warn(reason, message);
        }
        let best = answers.iter().max_by_key(|answer| answer.replicas);
        // Without an answer from each one nobody may make it smaller.
        let usable = best.filter(|best| unknown.is_empty() || best.replicas >= current);
        let Some(best) = usable else {
            if let Some(first) = unknown.first() {
                let told = format!("the HPA was unable to compute the replica count: {}", first.message);
                self.condition("ScalingActive", "False", first.reason, told);
                let told = format!(
                    "invalid metrics ({} invalid out of {}), first error is: {}",
                    unknown.len(),
                    specs.len(),
                    first.message
                );
                self.warn("FailedComputeMetricsReplicas", &told);
            }
            return None;
        };
        let (proposed, name) = (best.replicas, best.name.clone());
        let told = format!("the HPA was able to successfully calculate a replica count from {name}");
        self.condition("ScalingActive", "True", "ValidMetricFound", told);
        self.status.current_metrics = Some(answers.into_iter().map(|answer| answer.status).collect());
        let uid = self.scaler.metadata.uid.clone().unwrap_or_default();
        let (wanted, limited) = {
            let mut histories = self.shell.histories.lock().unwrap_or_else(PoisonError::into_inner);
            behavior::limit(spec, histories.entry(uid).or_default(), current, proposed, self.now)
        };
        match limited.stabilized {
            Some((reason, message)) => self.condition("AbleToScale", "True", reason, message.to_owned()),
            None => {
                let told = "recommended size matches current size".to_owned();
                self.condition("AbleToScale", "True", "ReadyForNewScale", told);
            }
        }
        let value = if limited.limited { "True" } else { "False" };
        self.condition("ScalingLimited", value, limited.reason, limited.message);
        let reason = if wanted > current {
            format!("{name} above target")
        } else {
            "All metrics below target".to_owned()
        };
        Some((wanted, reason))
    }

    async fn rescale(&mut self, target: Target, current: i32, wanted: i32, reason: &str) {
        let Target { request, mut scale } = target;
        scale.spec.get_or_insert_default().replicas = Some(wanted);
        let name = self.scaler.spec.scale_target_ref.name.clone();
        let body = serde_json::to_vec(&scale).expect("a scale can be written as JSON");
        let request = request.replace_subresource("scale", &name, &PostParams::default(), body);
        let result = match request {
            Ok(request) => {
                self.shell.manager.client.request_text(request).await.map_err(|error| message(&error))
            }
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(_) => {
                let told = format!("the HPA controller was able to update the target scale to {wanted}");
                self.condition("AbleToScale", "True", "SucceededRescale", told);
                let told = format!("New size: {wanted}; reason: {reason}");
                self.shell.recorder.on(self.scaler, Type::Normal, "SuccessfulRescale", told);
                self.status.last_scale_time = Some(seconds(self.now));
                let uid = self.scaler.metadata.uid.clone().unwrap_or_default();
                let mut histories = self.shell.histories.lock().unwrap_or_else(PoisonError::into_inner);
                histories.entry(uid).or_default().changed(self.now, wanted - current);
            }
            Err(why) => {
                self.warn("FailedRescale", &format!("New size: {wanted}; reason: {reason}; error: {why}"));
                let told = format!("the HPA controller was unable to update the target scale: {why}");
                self.condition("AbleToScale", "False", "FailedUpdateScale", told);
                self.status.desired_replicas = current;
            }
        }
    }
}

fn default_metric() -> MetricSpec {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(DEFAULT_CPU),
        ..MetricTarget::default()
    };
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    }
}
