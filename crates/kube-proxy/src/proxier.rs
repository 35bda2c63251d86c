//! The loop: follows services and their endpoints, and tells the data plane and the host's own ports what changed.
//!
//! **Contract**: one transaction a round; what changes during a round goes into the next together. A transaction that is
//! refused is followed by one that makes everything anew, with back-off.

use crate::dataplane::{Dataplane, Frontend};
use crate::health::HealthChecks;
use crate::localhost::Localhost;
use crate::rules::{base, objects, removal};
use crate::services::{SERVICE_NAME, ServicePort, health, service_ports};
use crate::table::Table;
use client::events::Type;
use client::{Backoff, Delta, Index, Informer, Informers, Interner, Key, Recorder};
use component_base::{Context, logging};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// After a refused transaction.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Configuration of the proxy.
#[derive(Clone)]
pub struct Config {
    /// Name of the table, unlike that of any other profile.
    pub table: String,
    /// The addresses that services have: those that none has lead nowhere.
    pub services: String,
    /// What carries rules out.
    pub dataplane: Arc<dyn Dataplane>,
    /// Whether connections to endpoints get this machine's address as source.
    pub masquerade_all: bool,
    /// The nodes on this machine.
    pub nodes: BTreeSet<String>,
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
}

struct Proxier {
    config: Config,
    services: Informer<Service>,
    slices: Index<EndpointSlice>,
    table: Table,
    localhost: Localhost,
    health: HealthChecks,
    /// The places of services over UDP, as the kernel's flows were last compared with them.
    udp: HashMap<Key, Vec<Frontend>>,
    recorder: Recorder,
    /// Whether the kernel has what `table` says.
    in_place: bool,
}

/// Keeps the rules as services and endpoints are, until the context ends; then there are none.
pub async fn run(context: Context, client: kube::Client, config: Config) {
    let (dataplane, table) = (config.dataplane.clone(), config.table.clone());
    tokio::select! {
        () = follow(context.clone(), client, config) => {}
        () = context.shutdown.requested() => {}
    }
    if let Err(error) = dataplane.apply(&removal("ip", &table)).await {
        tracing::warn!(error = %logging::Chain(&error), "service rules are still in place");
    }
}

async fn follow(context: Context, client: kube::Client, config: Config) {
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
    let recorder = Recorder::new(client, "kube-proxy", None, &context);
    let mut proxier = Proxier {
        slices: slices
            .index("service", |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect()),
        services: services.clone(),
        table: Table::default(),
        localhost: Localhost::new(&context),
        health: HealthChecks::new(&context),
        udp: HashMap::new(),
        recorder,
        in_place: false,
        config,
    };
    let (mut service_changes, mut slice_changes) = (services.subscribe(), slices.subscribe());
    services.synced().await;
    slices.synced().await;
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY, LAST_RETRY * 2);
    let mut retry = None;
    loop {
        let mut dirty = BTreeSet::new();
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
                () = wait(&context, retry) => {}
            }
        }
        while let Some(delta) = service_changes.try_recv() {
            gather(Some(Changed::Service(delta)));
        }
        while let Some(delta) = slice_changes.try_recv() {
            gather(Some(Changed::Slice(delta)));
        }
        retry = match proxier.sync(dirty).await {
            Ok(()) => {
                backoff.reset();
                None
            }
            Err(error) => {
                tracing::error!(error = %logging::Chain(&error), "service rules are not in place, will retry");
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
    async fn sync(&mut self, dirty: BTreeSet<Key>) -> Result<(), crate::Error> {
        let ports: Vec<(Key, Vec<ServicePort>)> =
            dirty.into_iter().map(|key| (key.clone(), self.ports(&key))).collect();
        let wanted = ports.iter().map(|(key, ports)| (key.clone(), objects(ports))).collect();
        let name = &self.config.table;
        let change = self.table.update(name, wanted);
        let transaction = match self.in_place {
            true => change,
            false => base(name, &self.config.services, self.config.masquerade_all) + &self.table.whole(name),
        };
        for (key, _) in &ports {
            self.tell_conflicts(key);
        }
        if !transaction.is_empty() {
            self.in_place = false;
            self.config.dataplane.apply(&transaction).await?;
        }
        self.in_place = true;
        self.forget_flows(&ports).await;
        for (key, ports) in ports {
            let service = self.services.get_key(&key);
            let slices = self.slices.get(&key.to_string());
            let told = service.and_then(|service| health(&service, &slices, &self.config.nodes));
            if let Some(refused) = self.health.update(&key, told).await {
                self.warn(&key, "FailedToStartServiceHealthcheck", &refused);
            }
            for refused in self.localhost.update(&key, &ports).await {
                self.warn(&key, "PortNotAvailable", &refused);
            }
        }
        Ok(())
    }

    fn ports(&self, key: &Key) -> Vec<ServicePort> {
        let Some(service) = self.services.get_key(key) else { return Vec::new() };
        service_ports(&service, &self.slices.get(&key.to_string()), &self.config.nodes)
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

    fn tell_conflicts(&self, key: &Key) {
        for (_, address) in self.table.taken(key) {
            self.warn(
                key,
                "AddressInUse",
                &format!("{} is used by another service", address.replace(" . ", " ")),
            );
        }
    }

    fn warn(&self, key: &Key, reason: &str, message: &str) {
        if let Some(service) = self.services.get_key(key) {
            self.recorder.on(&*service, Type::Warning, reason, message);
        }
    }
}
