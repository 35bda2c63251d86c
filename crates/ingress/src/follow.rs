//! What is followed of the API, what of it has changed, and the loop that brings things in line with it.
//!
//! **Contract**: whatever changes while things are brought in line counts for the next time; after a failure everything is
//! looked at once more, later and later.
//! **Not here**: what there is to bring in line (`controller.rs`, `gateway/controller.rs`).

use crate::endpoints::{self, Upstream};
use crate::routes::BackendKey;
use crate::tls;
use client::{Backoff, Index, Informer, Informers, Key, Selection, Watched};
use component_base::{Context, logging};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustls::sign::CertifiedKey;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A slice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const TLS_SECRETS: &str = "type=kubernetes.io/tls";
/// After a write that failed, or while a port is taken.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Who brings something in line with what is followed.
pub(crate) trait Follower {
    /// What it is about, for the log.
    const WHAT: &'static str;

    fn context(&self) -> &Context;

    fn dirty(&self) -> &Arc<Dirty>;

    /// Does what the marks ask for, or says why it could not.
    fn sync(&mut self, marks: Marks) -> impl Future<Output = Result<(), String>> + Send;
}

/// Brings everything in line, and then whatever is marked, for ever.
pub(crate) async fn keep_in_line<F: Follower>(follower: &mut F) {
    let (context, dirty) = (follower.context().clone(), follower.dirty().clone());
    dirty.mark(None);
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY, LAST_RETRY * 2);
    let mut retry = None;
    loop {
        tokio::select! {
            () = dirty.changed() => {}
            () = wait(&context, retry) => dirty.mark(None),
        }
        retry = match follower.sync(dirty.take()).await {
            Ok(()) => {
                backoff.reset();
                None
            }
            Err(why) => {
                tracing::warn!("{} is not as it should be, will retry: {why}", F::WHAT);
                Some(backoff.next(context.clock.instant(), &context.rng))
            }
        };
    }
}

async fn wait(context: &Context, delay: Option<Duration>) {
    match delay {
        Some(delay) => context.clock.sleep(delay).await,
        None => std::future::pending().await,
    }
}

/// What has changed since it was last looked at.
#[derive(Default)]
pub(crate) struct Dirty {
    marks: Mutex<Marks>,
    woken: Notify,
}

#[derive(Default)]
pub(crate) struct Marks {
    pub(crate) everything: bool,
    /// Services whose endpoints may be others.
    services: BTreeSet<Key>,
}

impl Dirty {
    pub(crate) fn mark(&self, service: Option<Key>) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        match service {
            Some(service) => drop(marks.services.insert(service)),
            None => marks.everything = true,
        }
        self.woken.notify_one();
    }

    fn take(&self) -> Marks {
        std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is marked.
    async fn changed(&self) {
        self.woken.notified().await;
    }

    /// Marks as dirty what a change of an object concerns: a Service's endpoints, or (none) everything.
    pub(crate) fn watch<K: Watched>(
        self: &Arc<Self>,
        context: &Context,
        informer: &Informer<K>,
        of: fn(&K) -> Option<Key>,
    ) {
        let (mut changes, dirty) = (informer.subscribe(), self.clone());
        context.shutdown.spawn(async move {
            while let Some(delta) = changes.recv().await {
                if let Some(object) = delta.object() {
                    dirty.mark(of(object));
                }
            }
        });
    }

    /// Starts to follow what routes lead to.
    pub(crate) async fn follow(self: &Arc<Self>, context: &Context, informers: &Informers) -> Followed {
        let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
        let secrets = informers.select::<Secret>(Selection::all().fields(TLS_SECRETS));
        let indexed = slices
            .index("service", |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
        services.synced().await;
        slices.synced().await;
        secrets.synced().await;
        self.watch(context, &services, |service| Some(Key::of(service)));
        // One that belongs to no Service concerns none.
        self.watch(context, &slices, |slice| Some(service_of(slice).unwrap_or(Key::cluster(""))));
        self.watch(context, &secrets, |_| None);
        Followed { services, slices: indexed, secrets }
    }
}

/// What is followed while there are Ingresses.
pub(crate) struct Followed {
    pub(crate) services: Informer<Service>,
    slices: Index<EndpointSlice>,
    secrets: Informer<Secret>,
}

impl Followed {
    /// Brings the endpoints of marked Services up to date.
    pub(crate) fn refresh(&self, marks: &Marks, upstreams: &HashMap<BackendKey, Arc<Upstream>>) {
        let concerned = |(key, _): &(&BackendKey, _)| marks.services.contains(&key.service);
        for (key, upstream) in upstreams.iter().filter(concerned) {
            self.set(key, upstream);
        }
    }

    /// Tells an upstream its endpoints.
    pub(crate) fn set(&self, key: &BackendKey, upstream: &Upstream) {
        let service = self.services.get_key(&key.service);
        let slices = self.slices.get(&key.service.to_string());
        upstream.set(endpoints::endpoints(service.as_deref(), &slices, &key.port));
    }

    /// The certificate of a Secret, or what is wrong with it.
    pub(crate) fn certificate(&self, key: &Key) -> Result<Arc<CertifiedKey>, String> {
        let secret = self.secrets.get_key(key);
        let secret = secret.ok_or_else(|| format!("secret {key} of type kubernetes.io/tls not found"))?;
        let part = |name: &str| {
            let part = secret.data.as_ref().and_then(|data| data.get(name));
            part.map(|bytes| bytes.0.as_slice()).unwrap_or_default()
        };
        tls::certified(part("tls.crt"), part("tls.key"))
            .map_err(|error| format!("secret {key}: {}", logging::chain(&error)))
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.clone()?, name.clone()))
}
