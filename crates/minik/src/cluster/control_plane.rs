//! The scheduler and the controllers: one copy of each, or several of which those that hold the leases work.
//!
//! **Contract**: a copy that crashes gives no lease back; another takes over when it expires. A single copy that ends by itself
//! may be started again ([`Supervised`]).
//! **Upstream**: `--leader-elect` of kube-scheduler and kube-controller-manager. Where a copy that loses its lease ends and is
//! started again by the kubelet, this one waits for the lease again.

use super::{Cluster, WrapClient, report};
use crate::control_plane::Supervised;
use client::leader::LeaderElector;
use component_base::Context;
use futures::FutureExt as _;
use std::sync::Arc;

/// Where the leases are (`--leader-elect-resource-namespace`).
const NAMESPACE: &str = "kube-system";

/// One copy of a component.
struct Copy {
    /// The lease's name.
    name: &'static str,
    /// Its number, if there are several, and what says that the component has ended when all have let it go.
    number: Option<(usize, Arc<()>)>,
    client: kube::Client,
}

impl Cluster {
    /// Starts so many copies of scheduler and controllers; of several, those that hold the leases work.
    pub(super) fn start_control_planes(
        &mut self,
        copies: usize,
        controllers: Option<&WrapClient>,
        configuration: &scheduler::Configuration,
    ) {
        let several = (copies > 1).then(|| (self.watched("scheduler"), self.watched("controller-manager")));
        for copy in 0..copies {
            let (of_scheduler, of_controllers) = several
                .clone()
                .map(|(scheduler, controllers)| ((copy, scheduler), (copy, controllers)))
                .unzip();
            let mut contexts = Vec::new();

            let client = self.client_of("system:kube-scheduler");
            let config =
                scheduler::Config { configuration: configuration.clone(), interner: self.interner.clone() };
            let copy = Copy { name: "kube-scheduler", number: of_scheduler, client: client.clone() };
            contexts.push(self.start_copy(copy, move |context| {
                let (client, config) = (client.clone(), config.clone());
                async move { report("scheduler", scheduler::run(context, client, config).await) }
            }));

            let client = self.client_of("system:kube-controller-manager");
            let client = controllers.map_or_else(|| client.clone(), |wrap| wrap(client.clone()));
            let config = controller_manager::Config {
                interner: self.interner.clone(),
                signing_key: Some(controller_manager::SigningKey(self.server.pki.ca.key.clone())),
                token_key: Some(controller_manager::SigningKey(self.server.pki.token_key.clone())),
                ..controller_manager::Config::new(self.server.pki.ca.cert.clone())
            };
            let copy =
                Copy { name: "kube-controller-manager", number: of_controllers, client: client.clone() };
            contexts.push(self.start_copy(copy, move |context| {
                let (client, config) = (client.clone(), config.clone());
                async move {
                    report("controller-manager", controller_manager::run(context, client, config).await);
                }
            }));

            self.components.extend(contexts.iter().cloned());
            self.copies.push(contexts);
        }
    }

    fn start_copy<F>(&mut self, copy: Copy, work: impl Fn(Context) -> F + Send + Sync + 'static) -> Context
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let context = self.context.child();
        let running = context.clone();
        let Copy { name, number, client } = copy;
        match number {
            None => {
                let start = move || work(running.clone()).map(Ok).boxed();
                let component = Supervised::new(name.trim_start_matches("kube-"), context.clone(), start);
                component.register(&self.server.health);
                component.start();
                self.supervised.push(component);
            }
            Some((number, alive)) => {
                let identity = format!("copy-{number}_{}", context.rng.uuid());
                let elector = LeaderElector::new(client, &context, NAMESPACE, name, &identity);
                context.shutdown.spawn_graceful(async move {
                    while_leading(&running, elector, work).await;
                    drop(alive);
                });
            }
        }
        context
    }

    /// Ends one of several copies of scheduler and controllers as a crash would: it gives no lease back. Its number is in
    /// the identity of a lease's holder: `copy-0_…`.
    pub fn crash(&self, copy: usize) {
        for context in self.copies.get(copy).into_iter().flatten() {
            context.shutdown.trigger();
        }
    }
}

/// Does this work while the lease is held, and waits for it before and after. The work's context ends with the lead.
///
/// Work that ends by itself has failed: so does the copy, as upstream's process, and another takes over.
async fn while_leading<F>(context: &Context, mut elector: LeaderElector, work: impl Fn(Context) -> F)
where
    F: Future<Output = ()>,
{
    let mut lost = true;
    while lost {
        tokio::select! {
            () = context.shutdown.requested() => return,
            () = elector.acquire() => {}
        }
        let term = context.child();
        lost = tokio::select! {
            () = context.shutdown.requested() => false,
            () = elector.hold() => true,
            () = work(term.clone()) => false,
        };
        term.shutdown.trigger();
        term.shutdown.finished().await;
    }
}
