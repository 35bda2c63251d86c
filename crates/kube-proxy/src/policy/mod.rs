//! NetworkPolicies: packets between pods that no policy allows are dropped.
//!
//! **Contract**: what policies mean is decided by [`rules`], and the way from one state to the next by [`state`]; both are
//! pure. The rules are in a table of their own, which is there as long as there are policies to enforce. Packets from and to
//! the machine itself always pass, and so do answers.
//! **Upstream**: the documentation of NetworkPolicy; `kube-network-policies` is the reference.

pub mod rules;
pub mod state;

use self::rules::{Cluster, PodFacts};
use self::state::State;
use crate::dataplane::Dataplane;
use crate::family::Family;
use crate::rules::removal;
use client::{Backoff, Informer, Informers, Interner, Subscription};
use component_base::{Context, logging};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// After a refused transaction.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Where policies are enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// For packets of this family.
    pub family: Family,
    /// The kernel's family of the table: that of the packets, or `bridge` where packets within a bridge do not pass that.
    pub kind: &'static str,
    /// Name of the table.
    pub name: String,
    /// The pods' bridge, if they have IPv6: on it each of them has an address besides that of its status, which would lead
    /// around all policies.
    pub bridge: Option<String>,
}

/// Configuration of the enforcement.
#[derive(Clone)]
pub struct Config {
    /// The tables, whose names are unlike those of any other's.
    pub tables: Vec<Place>,
    /// What carries rules out.
    pub dataplane: Arc<dyn Dataplane>,
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
}

/// Keeps the rules as the policies are, until the context ends; then there are none.
pub async fn run(context: Context, client: kube::Client, config: Config) {
    tokio::select! {
        () = follow(&context, client, &config) => {}
        () = context.shutdown.requested() => {}
    }
    let removal: String = config.tables.iter().map(|place| removal(place.kind, &place.name)).collect();
    if let Err(error) = config.dataplane.apply(&removal).await {
        tracing::warn!(error = %logging::Chain(&error), "network policies are still in place");
    }
}

/// What the tables have, by family; nothing where none is named.
type States = BTreeMap<Family, State>;

/// What policies are about: watched only if there is one.
struct Selected {
    pods: Informer<Pod>,
    namespaces: Informer<Namespace>,
    pod_changes: Subscription<Pod>,
    namespace_changes: Subscription<Namespace>,
}

impl Selected {
    async fn watch(informers: &Informers) -> Self {
        let (pods, namespaces) = (informers.of::<Pod>(), informers.of::<Namespace>());
        let (pod_changes, namespace_changes) = (pods.subscribe(), namespaces.subscribe());
        pods.synced().await;
        namespaces.synced().await;
        Self { pods, namespaces, pod_changes, namespace_changes }
    }

    /// Whether there will be more changes after this one.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            change = self.pod_changes.recv() => change.is_some(),
            change = self.namespace_changes.recv() => change.is_some(),
        }
    }

    fn drain(&mut self) {
        while self.pod_changes.try_recv().is_some() {}
        while self.namespace_changes.try_recv().is_some() {}
    }

    fn cluster(&self, family: Family) -> Cluster {
        let labels = |namespace: Arc<Namespace>| {
            let meta = &namespace.metadata;
            (meta.name.clone().unwrap_or_default(), meta.labels.clone().unwrap_or_default())
        };
        Cluster {
            pods: self.pods.list().iter().filter_map(|pod| PodFacts::of(family, pod)).collect(),
            namespaces: self.namespaces.list().into_iter().map(labels).collect(),
        }
    }
}

async fn follow(context: &Context, client: kube::Client, config: &Config) {
    let informers = Informers::new(client, context).sharing(&config.interner);
    let policies = informers.of::<NetworkPolicy>();
    let mut changes = policies.subscribe();
    policies.synced().await;
    let mut selected: Option<Selected> = None;
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY, LAST_RETRY * 2);
    // What the kernel has; none: unknown.
    let mut applied = Some(States::new());
    loop {
        while changes.try_recv().is_some() {}
        let present = policies.list();
        if selected.is_none() && !present.is_empty() {
            selected = Some(Selected::watch(&informers).await);
        }
        let wanted = selected.as_mut().map(|selected| {
            selected.drain();
            let families: BTreeSet<Family> = config.tables.iter().map(|place| place.family).collect();
            let state = |family| (family, rules::state(family, &present, &selected.cluster(family)));
            families.into_iter().map(state).collect()
        });
        let wanted = wanted.unwrap_or_default();
        let transaction = transaction(config, applied.as_ref(), &wanted);
        if !transaction.is_empty() {
            if let Err(error) = config.dataplane.apply(&transaction).await {
                tracing::error!(error = %logging::Chain(&error), "network policies are not in place, will retry");
                applied = None;
                context.clock.sleep(backoff.next(context.clock.instant(), &context.rng)).await;
                continue;
            }
            backoff.reset();
            applied = Some(wanted);
        }
        let others = async {
            match &mut selected {
                Some(selected) => selected.changed().await,
                None => std::future::pending().await,
            }
        };
        let more = tokio::select! {
            change = changes.recv() => change.is_some(),
            more = others => more,
        };
        if !more {
            return;
        }
    }
}

/// From what the kernel has to what is wanted; the tables come with the first policy that selects anything.
fn transaction(config: &Config, applied: Option<&States>, wanted: &States) -> String {
    let nothing = State::default();
    let one = |place: &Place| {
        let wanted = wanted.get(&place.family).unwrap_or(&nothing);
        match applied.map(|applied| applied.get(&place.family).unwrap_or(&nothing)) {
            Some(applied) if *applied != nothing => state::transition(place, applied, wanted),
            Some(_) if *wanted == nothing => String::new(),
            _ => state::base(place) + &state::transition(place, &nothing, wanted),
        }
    };
    config.tables.iter().map(one).collect()
}
