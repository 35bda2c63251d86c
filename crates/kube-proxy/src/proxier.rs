//! The loop: follows services and their endpoints, and tells the data plane and the host's own ports what changed.
//!
//! **Contract**: one transaction a round; what changes during a round goes into the next together. A transaction that is
//! refused is followed by one that makes everything anew, with back-off.

use crate::dataplane::{Dataplane, Frontend};
use crate::family::Family;
use crate::health::HealthChecks;
use crate::localhost::{Localhost, Reach};
use crate::metrics::Measured;
use crate::places::{self, Followed, Machine, Moved};
use crate::rules::{Base, Closed, base, closed, objects, opened, removal};
use crate::services::{SERVICE_NAME, ServicePort, health, service_ports};
use crate::table::Table;
use client::events::Type;
use client::{Backoff, Delta, Index, Informer, Informers, Interner, Key, Recorder};
use component_base::{Context, logging};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// After a refused transaction.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How often a port that another program has is tried again: nothing tells when it is free.
const TAKEN_RETRY: Duration = Duration::from_secs(1);

/// A family of addresses that the cluster has.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Which.
    pub family: Family,
    /// The addresses that services have: those that none has lead nowhere.
    pub services: String,
    /// Addresses of pods that get this machine's on their way out, where the engine does not see to it.
    pub masqueraded: Option<String>,
    /// Whether connections to endpoints get this machine's address as source.
    pub masquerade_all: bool,
    /// What pods have of the other family, where it leads nowhere.
    pub closed: Option<Closed>,
}

impl Stack {
    /// What takes its tables away.
    fn removal(&self, table: &str) -> String {
        let others = self.closed.as_ref().map(|closed| opened(table, closed));
        removal(self.family.nft(), table) + &others.unwrap_or_default()
    }
}

/// Configuration of the proxy.
#[derive(Clone)]
pub struct Config {
    /// Name of the tables, one a family, unlike that of any other profile.
    pub table: String,
    /// The families, each once.
    pub stacks: Vec<Stack>,
    /// What carries rules out.
    pub dataplane: Arc<dyn Dataplane>,
    /// Where sockets stand in for rules.
    pub reach: Reach,
    /// The nodes on this machine.
    pub nodes: Vec<String>,
    /// Who may list pods; asked once a service depends on where its clients are.
    pub pods: kube::Client,
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
    /// Says whether the kernel has the rules that it should have.
    pub in_place: Arc<AtomicBool>,
}

/// An event's reason and message.
type Complaint = (&'static str, String);

struct Proxier {
    context: Context,
    config: Config,
    /// Informers of the proxy, and of who may list pods.
    informers: [Informers; 2],
    machine: Machine,
    /// Where clients are, once that matters.
    followed: Option<Followed>,
    measured: Measured,
    services: Informer<Service>,
    slices: Index<EndpointSlice>,
    /// What the kernel's tables are to have, one a family.
    tables: Vec<(Stack, Table)>,
    localhost: Localhost,
    health: HealthChecks,
    /// The places of services over UDP, as the kernel's flows were last compared with them.
    udp: HashMap<Key, Vec<Frontend>>,
    recorder: Recorder,
    /// What services were told of what others have, so that they are told once.
    told: BTreeMap<Key, Vec<Complaint>>,
    /// Services with ports that another program has.
    taken: BTreeSet<Key>,
    /// Whether the kernel has what `tables` say.
    in_place: bool,
}

/// Keeps the rules as services and endpoints are, until the context ends; then there are none.
pub async fn run(context: Context, client: kube::Client, config: Config) {
    let dataplane = config.dataplane.clone();
    let removal: String = config.stacks.iter().map(|stack| stack.removal(&config.table)).collect();
    tokio::select! {
        () = follow(context.clone(), client, config) => {}
        () = context.shutdown.requested() => {}
    }
    if let Err(error) = dataplane.apply(&removal).await {
        tracing::warn!(error = %logging::Chain(&error), "service rules are still in place");
    }
}

async fn follow(context: Context, client: kube::Client, config: Config) {
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
    let recorder = Recorder::new(client, "kube-proxy", None, &context);
    let pods = Informers::new(config.pods.clone(), &context).sharing(&config.interner);
    let families: Vec<Family> = config.stacks.iter().map(|stack| stack.family).collect();
    let mut proxier = Proxier {
        context: context.clone(),
        informers: [informers, pods],
        machine: Machine::new(config.nodes.iter().cloned()),
        followed: None,
        measured: Measured::new(&context.metrics),
        slices: slices
            .index("service", |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect()),
        services: services.clone(),
        tables: config.stacks.iter().map(|stack| (stack.clone(), Table::new(stack.family))).collect(),
        localhost: Localhost::new(&context, config.reach, families.clone()),
        health: HealthChecks::new(&context, &families),
        udp: HashMap::new(),
        recorder,
        told: BTreeMap::new(),
        taken: BTreeSet::new(),
        in_place: false,
        config,
    };
    let (mut service_changes, mut slice_changes) = (services.subscribe(), slices.subscribe());
    services.synced().await;
    slices.synced().await;
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY, LAST_RETRY * 2);
    let (mut retry, mut refused) = (None, BTreeSet::new());
    loop {
        // What a refused transaction or port was for is not done yet.
        let (mut dirty, mut moved) = (std::mem::take(&mut refused), Moved::default());
        // What has gathered, or else the next change or retry.
        let mut gather = |changed: Option<Changed>| match changed {
            Some(Changed::Service(delta)) => dirty.extend(delta.object().map(|service| Key::of(&**service))),
            Some(Changed::Slice(delta)) => {
                dirty.extend(delta.object().and_then(|slice| service_of(slice)));
                if let Delta::Updated { old, .. } = &delta {
                    dirty.extend(service_of(old));
                }
            }
            None => {}
        };
        if proxier.in_place || retry.is_some() {
            tokio::select! {
                delta = service_changes.recv() => match delta {
                    Some(delta) => gather(Some(Changed::Service(delta))),
                    None => return,
                },
                delta = slice_changes.recv() => match delta {
                    Some(delta) => gather(Some(Changed::Slice(delta))),
                    None => return,
                },
                change = proxier.moved() => match change {
                    Some(change) => moved = change,
                    None => return,
                },
                () = wait(&context, retry) => {}
            }
        }
        while let Some(delta) = service_changes.try_recv() {
            gather(Some(Changed::Service(delta)));
        }
        while let Some(delta) = slice_changes.try_recv() {
            gather(Some(Changed::Slice(delta)));
        }
        retry = match proxier.sync(dirty.clone(), moved).await {
            Ok(()) => {
                backoff.reset();
                if !proxier.config.in_place.swap(true, Ordering::Relaxed) {
                    tracing::info!(table = proxier.config.table, "service rules are in place");
                }
                refused = proxier.taken.clone();
                (!refused.is_empty()).then_some(TAKEN_RETRY)
            }
            Err(error) => {
                proxier.config.in_place.store(false, Ordering::Relaxed);
                tracing::error!(error = %logging::Chain(&error), "service rules are not in place, will retry");
                refused = dirty;
                Some(backoff.next(context.clock.instant(), &context.rng))
            }
        };
    }
}

enum Changed {
    Service(Delta<Service>),
    Slice(Delta<EndpointSlice>),
}

async fn wait(context: &Context, delay: Option<Duration>) {
    match delay {
        Some(delay) => context.clock.sleep(delay).await,
        None => std::future::pending().await,
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.clone()?, name.clone()))
}

impl Proxier {
    async fn sync(&mut self, mut dirty: BTreeSet<Key>, moved: Moved) -> Result<(), crate::Error> {
        let began = self.context.clock.instant();
        let moved = self.follow_clients(&mut dirty, moved).await;
        let ports: Vec<(Key, Vec<ServicePort>)> =
            dirty.into_iter().map(|key| (key.clone(), self.ports(&key))).collect();
        let full = !self.in_place;
        let transaction = self.transaction(&ports, &moved, full);
        if !transaction.is_empty() {
            self.in_place = false;
            self.config.dataplane.apply(&transaction).await?;
            let measured = if full { &self.measured.full } else { &self.measured.partial };
            measured.observe(self.context.clock.instant().duration_since(began).as_secs_f64());
        }
        self.in_place = true;
        self.forget_flows(&ports).await;
        for (key, ports) in ports {
            let service = self.services.get_key(&key);
            let slices = self.slices.get(&key.to_string());
            let told = service.and_then(|service| health(&service, &slices, &self.machine));
            let health = self.health.update(&key, told).await.into_iter();
            let ports = self.localhost.update(&key, &ports).await.into_iter();
            let health = health.map(|why| ("FailedToStartServiceHealthcheck", why));
            let mut complaints: Vec<Complaint> = health.collect();
            complaints.extend(ports.map(|why| ("PortNotAvailable", why)));
            if complaints.is_empty() {
                self.taken.remove(&key);
            } else {
                self.taken.insert(key.clone());
            }
            complaints.extend(self.conflicts(&key).map(|why| ("AddressInUse", why)));
            self.tell(key, complaints);
        }
        Ok(())
    }

    /// Says what of a service others have, unless that was said before.
    fn tell(&mut self, key: Key, complaints: Vec<Complaint>) {
        let told = self.told.remove(&key).unwrap_or_default();
        if let Some(service) = self.services.get_key(&key) {
            for (reason, why) in complaints.iter().filter(|new| !told.contains(new)) {
                self.recorder.on(&*service, Type::Warning, reason, why.as_str());
            }
        }
        if !complaints.is_empty() {
            self.told.insert(key, complaints);
        }
    }

    /// What makes the kernel's tables so for these services and pods, or as they must be in whole.
    fn transaction(&mut self, ports: &[(Key, Vec<ServicePort>)], moved: &Moved, full: bool) -> String {
        let followed = self.followed.as_ref().filter(|_| self.machine.places().next().is_some());
        let (name, pods) = (&self.config.table, if full { self.machine.sets() } else { Vec::new() });
        let mut transaction = String::new();
        for (stack, table) in &mut self.tables {
            let family = stack.family;
            let mut wanted: Vec<_> = ports
                .iter()
                .map(|(key, ports)| {
                    (key.clone(), objects(ports.iter().filter(|port| port.family() == family)))
                })
                .collect();
            if let Some(followed) = followed {
                let of = |pod| (places::table_key(pod), followed.objects(family, pod, &self.machine));
                wanted.extend(moved.pods.iter().map(of));
            }
            if full {
                table.take(wanted);
                let Stack { services, masqueraded, masquerade_all, .. } = &*stack;
                let (masqueraded, masquerade_all) = (masqueraded.as_deref(), *masquerade_all);
                let made = Base { family, services, pods: &pods, masqueraded, masquerade_all };
                transaction += &(base(name, &made) + &table.whole(name));
                transaction.extend(stack.closed.as_ref().map(|others| closed(name, others)));
            } else {
                transaction += &table.update(name, wanted);
            }
        }
        transaction
    }

    /// The ports of a service in all families.
    fn ports(&self, key: &Key) -> Vec<ServicePort> {
        let Some(service) = self.services.get_key(key) else { return Vec::new() };
        let slices = self.slices.get(&key.to_string());
        let families = self.config.stacks.iter().map(|stack| stack.family);
        families.flat_map(|family| service_ports(family, &service, &slices, &self.machine)).collect()
    }

    /// The next change of where clients are.
    async fn moved(&mut self) -> Option<Moved> {
        match &mut self.followed {
            Some(followed) => followed.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Learns where clients are, from the first service on that asks; with a node's zone all services may change.
    async fn follow_clients(&mut self, dirty: &mut BTreeSet<Key>, mut moved: Moved) -> Moved {
        let needed = |key: &Key| {
            let slices = self.slices.get(&key.to_string());
            self.services.get_key(key).is_some_and(|service| places::needed(&service, &slices, &self.machine))
        };
        if self.followed.is_none() && dirty.iter().any(needed) {
            let [own, pods] = &self.informers;
            self.followed = Some(Followed::start(pods, own).await);
        }
        let Some(followed) = &mut self.followed else { return moved };
        followed.gather(&mut moved);
        let mut other = false;
        for node in &moved.nodes {
            other |= self.machine.learn(node, followed.zone(node));
        }
        if other {
            dirty.extend(self.services.list().iter().map(|service| Key::of(&**service)));
        }
        moved
    }

    /// Clients over UDP whose endpoint is gone are sent to another.
    async fn forget_flows(&mut self, changed: &[(Key, Vec<ServicePort>)]) {
        let mut places = Vec::new();
        for (key, ports) in changed {
            let (before, now) = (self.udp.remove(key).unwrap_or_default(), Frontend::of(ports));
            if before != now {
                places.extend(Frontend::changed(&before, now.clone()));
            }
            if !now.is_empty() {
                self.udp.insert(key.clone(), now);
            }
        }
        if places.is_empty() {
            return;
        }
        if let Err(error) = self.config.dataplane.forget(places).await {
            tracing::warn!(error = %logging::Chain(&error), "clients over UDP may be sent to where nobody is");
        }
    }

    /// The addresses of a service that another one has.
    fn conflicts(&self, key: &Key) -> impl Iterator<Item = String> + use<> {
        let taken = self.tables.iter().flat_map(|(_, table)| table.taken(key));
        // A place is the key of several maps.
        let places: BTreeSet<String> = taken.map(|(_, place)| place.replace(" . ", " ")).collect();
        places.into_iter().map(|place| format!("{place} is used by another service"))
    }
}
