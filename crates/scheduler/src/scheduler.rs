//! The loop: watches feed cache and queue, each pod whose turn it is gets a cycle, and its binding a task.
//!
//! **Contract**: decisions are made one after the other on one task; bindings and preemptions are carried out beside it.
//! A failed binding gives the room back and holds the pod back.
//! **Upstream**: `pkg/scheduler/schedule_one.go`.

use crate::binding::{self, Binder};
use crate::cache::Cache;
use crate::cycle::{Decision, Search};
use crate::decisions::Decisions;
use crate::diagnosis::Diagnosis;
use crate::extender::{self, Extenders};
use crate::framework::{ClusterEvent, PodInfo, Preparation, Rejection, Snapshot, extended_of};
use crate::memory::Memory;
use crate::plugins::has_claims;
use crate::preemption::{Candidate, Preemption, best, preempt};
use crate::profile::Profile;
use crate::queue::{Queue, Waiting};
use crate::{Configuration, Error, pod_status, watches};
use api::k8s_openapi::api::core::v1::Pod;
use client::events::Type;
use client::{Informer, Informers, Interner, Recorder};
use component_base::Context;
use component_base::logging::chain;
use jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What the launcher decides about a scheduler.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What its users have configured.
    pub configuration: Configuration,
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
}

/// Something that is to be done with the scheduler's state, on its own task.
pub(crate) type Act = Box<dyn FnOnce(&mut Scheduler) + Send>;

/// Schedules pods until the context ends.
pub async fn run(context: Context, client: kube::Client, config: Config) -> Result<(), Error> {
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let profiles = config.configuration.profiles();
    for profile in &profiles {
        tracing::info!(profile = %profile.name, "starting");
    }
    let timeouts = profiles.iter().map(|profile| config.configuration.bind_timeout(&profile.name)).collect();
    let extenders = Extenders::connect(config.configuration.extenders()).await;
    let extenders = extenders.map_err(|error| Error::Extender(error.to_string()))?;
    let decisions = Decisions::default();
    let told = decisions.clone();
    context.pages.register("scheduler/decisions", move |path| told.page(path));
    let (acts, mut changes) = mpsc::unbounded_channel();
    let kinds = watches::start(&informers, &context, &acts);
    let recorders =
        profiles.iter().map(|profile| Recorder::new(client.clone(), &profile.name, None, &context)).collect();
    let mut scheduler = Scheduler {
        binder: Binder {
            context: context.clone(),
            client: client.clone(),
            claims: informers.of(),
            devices: informers.of(),
            extenders: extenders.clone(),
        },
        extenders,
        timeouts,
        context: context.clone(),
        client,
        recorders,
        profiles,
        cache: Cache::default(),
        queue: Queue::new(config.configuration.backoff()),
        pods: informers.of(),
        preempting: HashSet::new(),
        decisions,
        memory: Memory::default(),
        start: 0,
        synced: 0,
        acts,
    };
    loop {
        let next = scheduler.queue.next_at();
        tokio::select! {
            biased;
            () = context.shutdown.requested() => return Ok(()),
            act = changes.recv() => act.ok_or(Error::WatchEnded("everything"))?(&mut scheduler),
            () = alarm(&context, next) => {}
        }
        // Everything that is known comes before the next decision.
        while let Ok(act) = changes.try_recv() {
            act(&mut scheduler);
        }
        // A decision on half of the nodes, or without the pods on them, would be wrong.
        if scheduler.synced < kinds {
            continue;
        }
        scheduler.cache.snapshot.refresh();
        while let Some(waiting) = scheduler.queue.pop(context.clock.now()) {
            scheduler.schedule_one(waiting).await;
        }
    }
}

async fn alarm(context: &Context, at: Option<Timestamp>) {
    match at {
        Some(at) => {
            let left = at.duration_since(context.clock.now());
            context.clock.sleep(Duration::try_from(left).unwrap_or_default()).await;
        }
        None => std::future::pending().await,
    }
}

/// All of a scheduler's state.
pub(crate) struct Scheduler {
    context: Context,
    client: kube::Client,
    binder: Binder,
    pub(crate) extenders: Extenders,
    /// One a profile, in the same order.
    recorders: Vec<Recorder>,
    /// How long volumes may take, by profile.
    timeouts: Vec<Duration>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) cache: Cache,
    pub(crate) queue: Queue,
    pods: Informer<Pod>,
    /// Pods for which others are being told to leave.
    preempting: HashSet<String>,
    decisions: Decisions,
    memory: Memory,
    start: usize,
    /// How many of the watches have told everything that existed.
    pub(crate) synced: usize,
    acts: mpsc::UnboundedSender<Act>,
}

impl Scheduler {
    /// One pod: choose, assume, bind; or make room; or say why not.
    async fn schedule_one(&mut self, mut waiting: Waiting) {
        let pod = waiting.info.clone();
        let Some(at) = self.profile_of(&pod) else { return };
        let now = self.context.clock.now();
        self.cache.snapshot.now = now;
        let profile = &self.profiles[at];
        if let Some(rejection) = unready(profile, &pod, &self.cache.snapshot) {
            self.queue.wait(waiting, rejection.plugin, now);
            let nodes = self.cache.snapshot.len();
            let diagnosis =
                Diagnosis { nodes, others: Some(rejection), before: true, ..Diagnosis::default() };
            let message = diagnosis.message();
            let decision = Decision { chosen: None, diagnosis, scores: None };
            self.decisions.record(pod.key(), decision, message, &self.cache.snapshot, now);
            return;
        }
        let (snapshot, rng) = (&self.cache.snapshot, &self.context.rng);
        let mut search = Search::run(profile, &pod, snapshot, &mut self.memory, &mut self.start);
        let points = match consult(&self.extenders, &pod, &mut search, &mut self.start).await {
            Ok(points) => points,
            Err(error) => {
                drop(search);
                return self.decision_failed(waiting, at, &error.to_string());
            }
        };
        let (decision, cycle) = search.choose(points, rng);
        if let Some(slot) = decision.chosen {
            let node = snapshot.at(slot);
            let plugins = profile.plugins.iter().filter(|enabled| enabled.filters);
            let preparations: Vec<Preparation> =
                plugins.flat_map(|enabled| enabled.plugin.prepare(&pod, snapshot, node)).collect();
            let node = node.name().to_owned();
            drop(cycle);
            let text = format!("Successfully assigned {} to {node}", pod.key());
            self.decisions.record(pod.key(), decision, text, snapshot, now);
            self.bind(waiting, at, node, preparations);
            return;
        }
        let args = profile.preemption.as_ref().filter(|_| !snapshot.is_empty());
        let preemption = args
            .filter(|_| !self.preempting.contains(pod.uid()))
            .map(|args| preempt(cycle, &pod, &decision.diagnosis, args, rng));
        let reasons = decision.diagnosis.message();
        let mut message = String::new();
        let nominated = match preemption {
            Some(Preemption::Candidates(candidates)) => {
                let left = self.extenders.preempt(&pod, candidates, snapshot).await;
                match left.map(best) {
                    Ok(Some(candidate)) => {
                        let node = snapshot.at(candidate.slot).name().to_owned();
                        self.make_room(&pod, at, &node, candidate);
                        Some(node)
                    }
                    Ok(None) => {
                        message.push_str(" preemption: no candidate node for preemption");
                        None
                    }
                    Err(error) => {
                        message.push_str(&format!(" preemption: {error}"));
                        None
                    }
                }
            }
            Some(Preemption::Hopeless(why)) => {
                message.push_str(&format!(" preemption: {why}"));
                self.cache.snapshot.remove_nomination(pod.uid());
                Some(String::new())
            }
            Some(Preemption::NotEligible(why)) => {
                message.push_str(&format!(" preemption: {why}"));
                None
            }
            None => None,
        };
        let told = self.deallocate(&pod, at, &decision.diagnosis).filter(|_| !self.cache.snapshot.is_empty());
        let told = told.map_or_else(String::new, |told| match message.as_str() {
            "" => format!(" {told}"),
            _ => format!(" {told},"),
        });
        let message = format!("{reasons}{told}{message}");
        self.recorders[at].on(&*pod.pod(), Type::Warning, "FailedScheduling", message.clone());
        self.explain(&mut waiting, &pod.pod(), "Unschedulable", &message, nominated.as_deref());
        self.queue.park(waiting, decision.diagnosis.plugins(), now);
        self.decisions.record(pod.key(), decision, message, &self.cache.snapshot, now);
    }

    /// Somebody who was to be asked did not answer: the pod is tried again after a while.
    fn decision_failed(&mut self, mut waiting: Waiting, profile: usize, message: &str) {
        let pod = waiting.info.pod();
        self.recorders[profile].on(&*pod, Type::Warning, "FailedScheduling", message.to_owned());
        self.explain(&mut waiting, &pod, "SchedulerError", message, None);
        self.queue.hold_back(waiting, self.context.clock.now());
    }

    /// Counts the pod on its node from now on, and tells the API.
    fn bind(&mut self, waiting: Waiting, profile: usize, node: String, preparations: Vec<Preparation>) {
        self.cache.assume(&waiting.info, &node);
        self.cache.snapshot.volumes.assume(&preparations);
        self.cache.snapshot.devices.assume(&preparations);
        self.cache.snapshot.remove_nomination(waiting.info.uid());
        let (binder, recorder, acts) =
            (self.binder.clone(), self.recorders[profile].clone(), self.acts.clone());
        let timeout = self.timeouts[profile];
        self.context.shutdown.spawn(async move {
            let pod = waiting.info.pod();
            // Else the pod would be told to be unschedulable after it was bound.
            finished(waiting.told.clone()).await;
            let mut written = BTreeSet::new();
            let done = binder.run(&pod, &node, &preparations, (timeout, &recorder), &mut written).await;
            let done: Act = match done {
                Ok(()) => {
                    let key = waiting.info.key();
                    let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                    recorder.on(&*pod, Type::Normal, "Scheduled", text);
                    if preparations.is_empty() {
                        return;
                    }
                    Box::new(move |scheduler| scheduler.cache.snapshot.volumes.forget(&preparations))
                }
                Err(failure) => {
                    tracing::warn!(pod = %waiting.info.key(), "{failure}");
                    recorder.on(&*pod, Type::Warning, "FailedScheduling", failure.to_string());
                    let message = failure.to_string();
                    Box::new(move |scheduler| {
                        scheduler.cache.snapshot.volumes.forget(&preparations);
                        if scheduler.cache.snapshot.devices.give_up(&preparations, &written) {
                            scheduler.happened(&ClusterEvent::DevicesChanged);
                        }
                        scheduler.binding_failed(waiting, &message);
                    })
                }
            };
            // Without a receiver the scheduler has ended, and the next one starts from the API.
            let _ = acts.send(done);
        });
    }

    /// Takes devices back from a claim of the pod's that nobody uses, where they keep it from nodes; what is told of that.
    fn deallocate(&self, pod: &PodInfo, profile: usize, diagnosis: &Diagnosis) -> Option<&'static str> {
        if !has_claims(pod, &self.cache.snapshot) {
            return None;
        }
        if diagnosis.before {
            return Some("no new claims to deallocate");
        }
        let mut plugins = self.profiles[profile].plugins.iter().filter(|enabled| enabled.filters);
        let Some(claim) = plugins.find_map(|enabled| enabled.plugin.give_back(pod, &self.cache.snapshot))
        else {
            return Some("still not schedulable");
        };
        let (client, is_extended) = (self.client.clone(), extended_of(&claim).is_some());
        self.context.shutdown.spawn(async move {
            let done = match is_extended {
                true => binding::delete(&client, &claim).await,
                false => binding::deallocate(&client, &claim).await,
            };
            if let Err(error) = done {
                tracing::debug!(claim = claim.metadata.name, "deallocate: {}", chain(&error));
            }
        });
        Some(match is_extended {
            true => "deletion of ResourceClaim completed",
            false => "deallocation of ResourceClaim completed",
        })
    }

    /// What was found out about nodes may be otherwise.
    pub(crate) fn forget(&mut self) {
        self.memory = Memory::default();
    }

    fn binding_failed(&mut self, mut waiting: Waiting, message: &str) {
        if let Some(event) = self.cache.remove_pod(waiting.info.uid()) {
            self.happened(&event);
        }
        // It may be gone, or somebody else has bound it.
        let Some(pod) = self.pods.get_key(&waiting.info.key()) else { return };
        if pod.metadata.uid.as_deref() == Some(waiting.info.uid()) && api::pod::node_name(&pod).is_empty() {
            self.explain(&mut waiting, &pod, "SchedulerError", message, None);
            waiting.info = Arc::new(PodInfo::new(pod));
            self.queue.hold_back(waiting, self.context.clock.now());
        }
    }

    /// Keeps room on a node for a pod, and tells those who must leave.
    fn make_room(&mut self, pod: &Arc<PodInfo>, profile: usize, node: &str, candidate: Candidate) {
        let victims = candidate.victims;
        let nominated = self.cache.snapshot.nominated(node);
        let less: Vec<Arc<PodInfo>> =
            nominated.iter().filter(|other| other.priority() < pod.priority()).cloned().collect();
        for other in &less {
            self.cache.snapshot.remove_nomination(other.uid());
        }
        self.cache.snapshot.nominate(pod.clone(), node);
        let victims: Vec<_> = victims.iter().filter(|victim| !victim.is_terminating()).cloned().collect();
        if victims.is_empty() && less.is_empty() {
            return;
        }
        self.preempting.insert(pod.uid().to_owned());
        let (client, recorder, acts) =
            (self.client.clone(), self.recorders[profile].clone(), self.acts.clone());
        let (pod, node, name) = (pod.clone(), node.to_owned(), self.profiles[profile].name.clone());
        let clock = self.context.clock.clone();
        self.context.shutdown.spawn(async move {
            let clear = serde_json::json!({"nominatedNodeName": null});
            for other in less {
                if let Err(error) = pod_status::write(client.clone(), &other.pod(), clear.clone()).await {
                    tracing::debug!(pod = %other.key(), "clear the nominated node: {}", chain(&error));
                }
            }
            let mut failed = false;
            for victim in victims {
                match evict(client.clone(), &victim, &name, clock.now()).await {
                    Ok(()) => {
                        let text = format!("Preempted by pod {} on node {node}", pod.uid());
                        recorder.on(&*victim.pod(), Type::Normal, "Preempted", text);
                    }
                    Err(error) => {
                        failed = true;
                        tracing::warn!(pod = %victim.key(), "preempt: {}", chain(&error));
                    }
                }
            }
            let done: Act = Box::new(move |scheduler| {
                scheduler.preempting.remove(pod.uid());
                if failed {
                    scheduler.queue.retry(&pod.key());
                }
            });
            let _ = acts.send(done);
        });
    }

    /// Writes why a pod is not scheduled into its status, and where room is kept for it if that is said.
    fn explain(
        &self,
        waiting: &mut Waiting,
        pod: &Arc<Pod>,
        reason: &str,
        message: &str,
        nominated: Option<&str>,
    ) {
        let now = self.context.clock.now();
        let Some(change) = pod_status::unscheduled(pod, reason, message, nominated, now) else { return };
        let (pod, client) = (pod.clone(), self.client.clone());
        let (telling, told) = watch::channel(());
        let before = waiting.told.replace(told);
        self.context.shutdown.spawn(async move {
            finished(before).await;
            if let Err(error) = pod_status::write(client, &pod, change).await {
                tracing::debug!(pod = pod.metadata.name, "update the pod's status: {}", chain(&error));
            }
            drop(telling);
        });
    }

    /// The profile by whose rules a pod is scheduled; none if it is not ours.
    pub(crate) fn profile_of(&self, pod: &PodInfo) -> Option<usize> {
        let name = pod.spec()?.scheduler_name.as_deref()?;
        self.profiles.iter().position(|profile| profile.name == name)
    }

    /// A pod waits for its turn, or has changed while it does.
    pub(crate) fn enqueue(&mut self, pod: Arc<PodInfo>, profile: usize) {
        let profile = &self.profiles[profile];
        self.queue.set(pod, |name, pod, event| helps(profile, name, pod, event), self.context.clock.now());
    }

    /// Something happened that may help pods that wait.
    pub(crate) fn happened(&mut self, event: &ClusterEvent) {
        let profiles = &self.profiles;
        let helps = |name: &str, pod: &PodInfo, event: &ClusterEvent| {
            let wanted = pod.spec().and_then(|spec| spec.scheduler_name.as_deref());
            let profile = profiles.iter().find(|profile| Some(profile.name.as_str()) == wanted);
            profile.is_some_and(|profile| helps(profile, name, pod, event))
        };
        self.queue.happened(event, helps, self.context.clock.now());
    }
}

/// Asks the extenders about what was found: leaves the nodes that they accept, and says what they give them.
async fn consult(
    extenders: &Extenders,
    pod: &PodInfo,
    search: &mut Search<'_>,
    start: &mut usize,
) -> Result<Vec<i64>, extender::Error> {
    if extenders.is_empty() {
        return Ok(Vec::new());
    }
    let mut asked = extenders.filter(pod, &mut search.feasible, &mut search.diagnosis).await;
    if search.is_nominated && (asked.is_err() || search.feasible.is_empty()) {
        search.everywhere(start);
        asked = extenders.filter(pod, &mut search.feasible, &mut search.diagnosis).await;
    }
    asked?;
    match search.feasible.len() {
        0 | 1 => Ok(Vec::new()),
        _ => Ok(extenders.points(pod, &search.feasible).await),
    }
}

/// Waits until what was being written is written.
async fn finished(told: Option<watch::Receiver<()>>) {
    if let Some(mut told) = told {
        // Nothing is sent: it closes.
        let _closed = told.changed().await;
    }
}

/// Why a pod waits for something that it names. Only claims for devices are waited for so far.
fn unready(profile: &Profile, pod: &PodInfo, cluster: &Snapshot) -> Option<Rejection> {
    if api::resource_claim::of_pod(&pod.pod()).is_empty() {
        return None;
    }
    let mut plugins = profile.plugins.iter().filter(|enabled| enabled.enqueues);
    plugins.find_map(|enabled| enabled.plugin.is_ready(pod, cluster).err())
}

fn helps(profile: &Profile, plugin: &str, pod: &PodInfo, event: &ClusterEvent) -> bool {
    profile.plugin(plugin).is_none_or(|plugin| plugin.may_help(pod, event))
}

/// Marks a pod as having to make room, and deletes it with its own grace; one that is gone already is no error.
async fn evict(
    client: kube::Client,
    victim: &PodInfo,
    scheduler: &str,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let gone =
        |error: &kube::Error| matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
    let pod = victim.pod();
    let change = pod_status::disrupted(&pod, scheduler, now);
    match pod_status::write(client.clone(), &pod, change).await {
        Err(error) if !gone(&error) => return Err(error),
        _ => {}
    }
    let same = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
    let (pods, name) = pod_status::pods(client, &pod);
    match pods.delete(name, &params).await {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}
