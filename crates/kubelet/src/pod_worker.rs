//! One task per pod: observes, decides, acts, publishes, and waits for the next reason to do so.
//!
//! **Contract**: level-triggered. A worker is woken by a change of its pod, by an event of the runtime and by the
//! time its last plan named; it may be dropped at any await and another may take over from what the runtime has.
//! A pod's end interrupts what may take long (pulls, stops), never a creation: none is left behind unseen.
//! **Not here**: what is to be done (`sync_pod`), how a pod ends (`termination`), who starts workers (`kubelet`).
//! **Upstream**: `pkg/kubelet/pod_workers.go`, `SyncPod` of `pkg/kubelet/kuberuntime`.

mod claims;
mod kill;
mod news;
mod node;
mod reset;
mod resizing;
mod start;
mod termination;
mod volumes;

use crate::backoff::Backoff;
use crate::eviction::{Cause, Eviction};
use crate::health::Probe;
use crate::images::EventKind;
use crate::limits::{self, Limits};
use crate::log_links::{self, Links};
use crate::observed::{Observed, observe};
use crate::pod_status::{self, Knowledge, Waiting, is_own, pod_status};
use crate::probes::{Probes, Target};
use crate::references::Held;
use crate::static_pods;
use crate::sync_pod::{Circumstances, Plan, sync_pod};
use crate::volumes::{Volumes, blocking};
use api::k8s_openapi::api::core::v1::{Pod, PodStatus};
use component_base::logging::chain;
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{Patch, PatchParams};
pub(crate) use news::Told;
use news::{Listener, News};
pub(crate) use node::Node;
use runtime::ContainerId;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long a worker waits after something failed that will not announce its recovery: `backOffPeriod`.
const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// The same for a request to the API server.
const RETRY_API: SignedDuration = SignedDuration::from_secs(1);
/// How long a container that could not be started says so, before the next try or a back-off has the word.
const SHOW_ERROR: SignedDuration = SignedDuration::from_secs(2);

/// The worker's end of the wire to the kubelet.
pub(crate) struct Handle {
    news: watch::Sender<News>,
    pub(crate) wake: Arc<Notify>,
    evicted: Arc<Mutex<Option<Eviction>>>,
}

impl Handle {
    /// Tells the worker how its pod is now.
    pub(crate) fn tell(&self, told: Told) {
        self.news.send_replace(Some(told));
    }

    /// Tells the worker that its pod must go from this node.
    pub(crate) fn evict(&self, eviction: Eviction) {
        *self.evicted.lock().unwrap_or_else(PoisonError::into_inner) = Some(eviction);
        self.wake.notify_one();
    }

    /// Whether the worker has nothing left to do for its pod, ever.
    pub(crate) fn has_ended(&self) -> bool {
        self.news.is_closed()
    }
}

/// Whether the worker is needed any longer.
enum Next {
    Wait(Option<Timestamp>),
    Done,
}

pub(crate) struct PodWorker {
    node: Arc<Node>,
    news: Listener,
    wake: Arc<Notify>,
    observed: Observed,
    /// Nothing of this pod can be in the runtime yet, so it need not be asked.
    fresh: bool,
    knowledge: Knowledge,
    backoff: Backoff,
    /// Containers that failed to start, and when to try again.
    retry: BTreeMap<String, Timestamp>,
    /// The generation of the pod that `retry` is about.
    generation: Option<i64>,
    published: Option<Box<PodStatus>>,
    /// The same as JSON, while the worker waits: that is a third of it.
    resting: Option<Box<str>>,
    /// The pod's revision as of `published`.
    revision: u64,
    held: Held,
    volumes: Volumes,
    /// When volumes that failed are tried again, and after how long then.
    volumes_retry: Option<(Timestamp, SignedDuration)>,
    /// The pod's revision as the volumes were made or brought up to date.
    volumes_of: Option<u64>,
    /// The pod may use its resource claims.
    claims_ready: bool,
    /// When claims that were not ready are tried again, and after how long then.
    claims_retry: Option<(Timestamp, SignedDuration)>,
    probes: Probes,
    limits: Limits,
    /// The links to the logs of what was observed.
    log_links: Links,
    /// The node has been asked for a place.
    admitted: bool,
    /// Why the pod must go from this node, once it must.
    evicted: Arc<Mutex<Option<Eviction>>>,
    /// Seconds that the pod gets instead of its own grace.
    grace: Option<u64>,
    /// Nothing is left to run but sidecars.
    finished: bool,
    /// The handler of the pod's RuntimeClass, once it is known.
    handler: Option<String>,
    /// The generation of the pod whose resize has begun.
    resizing: Option<i64>,
    /// Containers whose preStop hook has run.
    hooked: Mutex<HashSet<ContainerId>>,
}

/// Starts a worker. `fresh`: the runtime is known to have nothing of this pod.
pub(crate) fn spawn(node: Arc<Node>, told: Told, fresh: bool) -> Handle {
    let namespace = told.pod().metadata.namespace.clone().unwrap_or_default();
    let (teller, news) = Listener::new(told);
    let wake = Arc::new(Notify::new());
    let evicted: Arc<Mutex<Option<Eviction>>> = Arc::default();
    let knowledge = Knowledge {
        host_ips: node.facts.host_ips.clone(),
        scheme: node.scheme.clone(),
        may_mount: node.may_mount,
        ..Knowledge::default()
    };
    let worker = Box::new(PodWorker {
        held: Held::new(&node.context, &namespace, wake.clone()),
        volumes: Volumes::default(),
        volumes_retry: None,
        volumes_of: None,
        claims_ready: false,
        claims_retry: None,
        probes: Probes::new(&node.context, wake.clone()),
        limits: Limits::default(),
        log_links: Links::new(),
        admitted: false,
        evicted: evicted.clone(),
        grace: None,
        finished: false,
        handler: None,
        resizing: None,
        hooked: Mutex::default(),
        news,
        wake: wake.clone(),
        observed: Observed::default(),
        fresh,
        knowledge,
        backoff: Backoff::kubelet(),
        retry: BTreeMap::new(),
        generation: None,
        published: None,
        resting: None,
        revision: 0,
        node: node.clone(),
    });
    node.context.shutdown.spawn(worker.run());
    Handle { news: teller, wake, evicted }
}

impl PodWorker {
    async fn run(mut self: Box<Self>) {
        loop {
            let Some(told) = self.news.take_up(&self.node.pods) else {
                self.wait(None).await;
                continue;
            };
            let pod = told.pod().clone();
            self.wake_up();
            if std::mem::replace(&mut self.generation, pod.metadata.generation) != pod.metadata.generation {
                // What failed may succeed now: another image, for example.
                self.retry.clear();
            }
            self.take_eviction(&pod);
            // Boxed: a worker that waits is small, and there may be ten thousand of them.
            let next = if told.is_ending() || self.has_ended(&pod) {
                Box::pin(self.terminate(&told)).await
            } else {
                Box::pin(self.sync(&pod)).await
            };
            match next {
                Next::Done => return self.node.release(&pod),
                Next::Wait(until) => {
                    drop(pod);
                    self.news.put_down(told);
                    self.rest();
                    self.wait(until).await;
                }
            }
        }
    }

    /// Keeps of what was published as little as can be: there may be ten thousand workers that wait.
    fn rest(&mut self) {
        self.resting =
            self.published.as_ref().and_then(|status| serde_json::to_string(status).ok()).map(Into::into);
        if self.resting.is_some() {
            self.published = None;
        }
    }

    fn wake_up(&mut self) {
        if let Some(resting) = self.resting.take() {
            self.published = Some(serde_json::from_str(&resting).expect("what was encoded can be decoded"));
        }
    }

    /// Takes up an order to leave this node, unless the pod has ended already.
    fn take_eviction(&mut self, pod: &Pod) {
        let order = self.evicted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(order) = order.filter(|_| !self.has_ended(pod)) else { return };
        let (reason, message) = (order.cause.reason(), order.message);
        if order.cause != Cause::NodeShutdown {
            self.event(pod, None, EventKind::Warning, reason, &message);
        }
        self.knowledge.disrupted = order.cause.disruption(&message);
        self.knowledge.failed = Some((reason.to_owned(), message));
        self.grace = Some(order.grace);
    }

    async fn wait(&mut self, until: Option<Timestamp>) {
        let clock = &self.node.context.clock;
        let alarm = async {
            match until {
                Some(until) => {
                    let left = until.duration_since(clock.now());
                    clock.sleep(Duration::try_from(left).unwrap_or_default()).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.news.changed() => {}
            () = self.wake.notified() => {}
            () = alarm => {}
        }
    }

    /// Resolves when the pod is to end, so that what may take long can give way.
    fn doom(&self) -> impl Future<Output = ()> + use<> {
        self.news.doom()()
    }

    fn is_doomed(&self) -> bool {
        self.news.is_ending()
    }

    fn now(&self) -> Timestamp {
        self.node.context.clock.now()
    }

    /// Whether the pod has reached a phase from which nothing starts again.
    fn has_ended(&self, pod: &Pod) -> bool {
        let phase = |status: Option<&PodStatus>| status.and_then(|s| s.phase.clone());
        let phase = phase(self.published.as_deref()).or_else(|| phase(pod.status.as_ref()));
        self.finished
            || self.knowledge.failed.is_some()
            || matches!(phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Goes from plan to plan until nothing is left to do now.
    async fn sync(&mut self, pod: &Arc<Pod>) -> Next {
        if !std::mem::replace(&mut self.admitted, true) && pod_is_new(pod) {
            let node = self.node.clone();
            let rejection = tokio::select! {
                rejection = node.admit(pod) => rejection,
                // Others may have to go first.
                () = self.doom() => return Next::Wait(Some(self.now())),
            };
            if let Some(rejection) = rejection {
                self.event(pod, None, EventKind::Warning, &rejection.reason, &rejection.message);
                let message = rejection.status_message();
                self.knowledge.failed = Some((rejection.reason.into_owned(), message));
                return Next::Wait(Some(self.now()));
            }
        }
        loop {
            if self.is_doomed() {
                return Next::Wait(Some(self.now()));
            }
            if let Err(retry_at) = self.look(pod).await {
                return Next::Wait(Some(retry_at));
            }
            let ready = match self.mount(pod).await {
                Ok(()) => self.prepare_claims(pod).await,
                waits => waits,
            };
            if let Err(retry_at) = ready {
                return match self.publish(pod).await {
                    Ok(()) => Next::Wait(earliest(Some(retry_at), deadline(pod, self.published.as_deref()))),
                    Err(at) => Next::Wait(earliest(Some(retry_at), Some(at))),
                };
            }
            if let Some(deadline) = deadline(pod, self.published.as_deref())
                && self.now() >= deadline
            {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                self.event(pod, None, EventKind::Normal, "DeadlineExceeded", &message);
                self.knowledge.failed = Some(("DeadlineExceeded".to_owned(), message));
                return Next::Wait(Some(self.now()));
            }
            self.weigh_resources(pod);
            let given = Circumstances {
                backoff: &self.backoff,
                health: &self.knowledge.health,
                limits: &self.limits,
                status: self.published.as_deref().or(pod.status.as_ref()),
                now: self.now(),
            };
            let mut plan = sync_pod(pod, &self.observed, &given);
            if plan.finished && self.observed.running().next().is_some() {
                self.finished = true;
                return Next::Wait(Some(self.now()));
            }
            self.hold_back(pod, &mut plan);
            let wake_at = earliest(plan.wake_at, deadline(pod, self.published.as_deref()));
            let wake_at = earliest(wake_at, self.volumes_due());
            if plan.is_idle() {
                return match self.publish(pod).await {
                    Ok(()) if self.has_ended(pod) => Next::Wait(Some(self.now())),
                    Ok(()) => Next::Wait(wake_at),
                    Err(retry_at) => Next::Wait(earliest(wake_at, Some(retry_at))),
                };
            }
            if let Err(retry_at) = self.act(pod, plan).await {
                let published = self.publish(pod).await;
                let at = earliest(earliest(wake_at, Some(retry_at)), published.err());
                return Next::Wait(at);
            }
        }
    }

    /// Observes the pod in the runtime, and what its ended containers had to say.
    async fn look(&mut self, pod: &Arc<Pod>) -> Result<(), Timestamp> {
        if std::mem::take(&mut self.fresh) {
            return Ok(());
        }
        match observe(&*self.node.runtime, uid(pod), &self.observed).await {
            Ok(observed) => self.observed = observed,
            Err(error) => {
                tracing::warn!(pod = pod.metadata.name, "{}", chain(&error));
                // An engine that comes back wakes all workers.
                return Err(self.now() + RETRY);
            }
        }
        self.link_logs(pod).await;
        self.read_last_words(pod).await;
        self.watch_health(pod, |_| true);
        Ok(())
    }

    /// Keeps the links to the containers' logs.
    async fn link_logs(&mut self, pod: &Pod) {
        let Some(log_dir) = self.node.log_dir.clone() else { return };
        let now = log_links::links(&log_dir, pod, uid(pod), &self.observed);
        if now == self.log_links {
            return;
        }
        let before = std::mem::replace(&mut self.log_links, now.clone());
        let update = {
            let log_dir = log_dir.clone();
            move || log_links::update(&log_dir, &before, &now)
        };
        if let Err(error) = blocking("link logs in", &log_dir, update).await {
            tracing::warn!(pod = pod.metadata.name, "{}", chain(&error));
        }
    }

    /// Probes what runs, and takes up what the probes have found out.
    fn watch_health(&mut self, pod: &Arc<Pod>, which: impl Fn(Probe) -> bool) {
        let Some(spec) = &pod.spec else { return };
        let pod_ip = self.pod_ips(pod).into_iter().next();
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let probed = containers.filter(|c| Probe::ALL.iter().any(|probe| probe.of(c).is_some()));
        let mut targets = Vec::new();
        for container in probed {
            let running = self.observed.running().find(|s| s.metadata.name == container.name);
            targets.extend(running.map(|status| Target {
                pod: pod.clone(),
                container: container.clone(),
                id: status.id.clone(),
                started_at: status.started_at.unwrap_or(status.created_at),
                pod_ip: pod_ip.clone(),
            }));
        }
        let known: HashSet<&ContainerId> =
            self.observed.containers.values().flatten().map(|s| &s.id).collect();
        self.probes.update(&self.node, &targets, |id| known.contains(id), which);
        self.knowledge.health = self.probes.health();
    }

    /// Decides whether the pod gets the resources that it asks for now.
    fn weigh_resources(&mut self, pod: &Pod) {
        let published = self.published.as_deref().or(pod.status.as_ref());
        let asked = published.is_some_and(|status| limits::is_asked_for(pod, status));
        let before = self.knowledge.pending.take();
        if asked {
            let others = self.node.pods.list();
            self.knowledge.pending = limits::pending(pod, others.iter().map(|pod| &**pod), &self.node.facts);
        }
        self.tell_of_resize(pod, asked, before);
        self.limits.want(pod, &self.node.facts, self.knowledge.pending.is_none());
        let spec = pod.spec.iter();
        let containers = spec.flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
        let settled = containers.filter(|c| {
            let latest = self.observed.latest(&c.name);
            latest.is_some_and(|status| self.limits.is_settled(c, status))
        });
        self.knowledge.settled = settled.map(|c| c.name.clone()).collect();
    }

    /// Takes out of the plan what waits for a retry, and notes why everything that waits does.
    fn hold_back(&mut self, pod: &Pod, plan: &mut Plan) {
        let now = self.now();
        for held in &plan.waiting {
            let waiting = Waiting { reason: "CrashLoopBackOff", message: held.message.clone() };
            if self.knowledge.waiting.get(&held.name) != Some(&waiting) {
                let text = format!(
                    "Back-off restarting failed container {} in pod {}",
                    held.name,
                    crate::sync_pod::full_name(pod)
                );
                self.event(pod, Some(&held.name), EventKind::Warning, "BackOff", &text);
            }
            self.knowledge.waiting.insert(held.name.clone(), waiting);
        }
        let named = |plan: &Plan, name: &str| {
            plan.waiting.iter().any(|h| h.name == name) || plan.start.iter().any(|s| s.name == name)
        };
        self.knowledge.waiting.retain(|name, _| named(plan, name));
        self.retry.retain(|name, at| *at > now && plan.start.iter().any(|s| &s.name == name));
        for at in self.retry.values() {
            plan.wake_at = earliest(plan.wake_at, Some(*at));
        }
        plan.start.retain(|start| !self.retry.contains_key(&start.name));
    }

    /// The status that the API is to show now.
    fn status(&self, pod: &Pod) -> PodStatus {
        let mut base = pod.clone();
        if let Some(published) = &self.published {
            let theirs = pod.status.clone().unwrap_or_default().conditions.unwrap_or_default();
            let mut status = PodStatus::clone(published);
            let ours = status.conditions.get_or_insert_default();
            for condition in theirs {
                match ours.iter_mut().find(|c| c.type_ == condition.type_) {
                    // Our own conditions may be ahead of what the watch has brought.
                    Some(own) if is_own(&own.type_) => {}
                    Some(own) => *own = condition,
                    None => ours.push(condition),
                }
            }
            base.status = Some(status);
        }
        pod_status(&base, &self.observed, &self.knowledge, self.now())
    }

    /// Writes the status if it differs from what was written last, or if somebody else has changed it since.
    async fn publish(&mut self, pod: &Pod) -> Result<(), Timestamp> {
        let status = self.status(pod);
        let revision = self.write(pod, &status).await?;
        self.wrote(status, revision);
        Ok(())
    }

    fn wrote(&mut self, status: PodStatus, revision: Option<u64>) {
        self.published = Some(Box::new(status));
        self.revision = revision.unwrap_or(self.revision);
    }

    /// The pod's revision afterwards, if there was anything to write.
    async fn write(&self, pod: &Pod, status: &PodStatus) -> Result<Option<u64>, Timestamp> {
        if static_pods::is_static(pod) {
            return self.write_mirror(pod, status).await;
        }
        let last = self.published.as_deref().or(pod.status.as_ref());
        let overwritten = revision(pod) > self.revision
            && pod.status.as_ref().is_some_and(|s| !pod_status::agree(s, status));
        if last == Some(status) && !overwritten {
            return Ok(None);
        }
        let body = pod_status::patch(uid(pod), last, status);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match self.api(pod).patch_status(name, &PatchParams::default(), &Patch::Strategic(body)).await {
            Ok(written) => Ok(Some(revision(&written))),
            // The watch will say so.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => {
                tracing::warn!(pod = name, "update pod status: {}", chain(&error));
                Err(self.now() + RETRY_API)
            }
        }
    }

    /// Shows the status of a pod from a file on its mirror, once there is one.
    async fn write_mirror(&self, pod: &Pod, status: &PodStatus) -> Result<Option<u64>, Timestamp> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mirror = self.node.pods.get(namespace, name);
        let Some(mirror) = mirror.filter(|mirror| static_pods::mirrored(mirror) == Some(uid(pod))) else {
            return Ok(None);
        };
        if mirror.status.as_ref().is_some_and(|shown| pod_status::agree(shown, status)) {
            return Ok(None);
        }
        let body = pod_status::patch(uid(&mirror), mirror.status.as_ref(), status);
        match self.api(pod).patch_status(name, &PatchParams::default(), &Patch::Strategic(body)).await {
            Ok(_) => Ok(None),
            // Its successor's arrival wakes this worker.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            Err(error) => {
                tracing::warn!(pod = name, "update a mirror pod's status: {}", chain(&error));
                Err(self.now() + RETRY_API)
            }
        }
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.node.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default())
    }

    /// Records an event about the pod, or about one of its containers.
    fn event(&self, pod: &Pod, container: Option<&str>, kind: EventKind, reason: &str, message: &str) {
        self.node.event(pod, container, kind, reason, message);
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or_default()
}

/// A pod that this kubelet has never said anything about: only such a pod may be refused.
fn pod_is_new(pod: &Pod) -> bool {
    pod.status.as_ref().is_none_or(|s| s.start_time.is_none())
}

/// When the pod's `activeDeadlineSeconds` end.
fn deadline(pod: &Pod, published: Option<&PodStatus>) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let start = published.or(pod.status.as_ref())?.start_time.as_ref()?;
    start.0.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
