//! What a worker is told of its pod, and how it listens.
//!
//! **Contract**: the last news count. A worker that waits keeps no pod that the informer has, too: there may be ten thousand
//! workers, and a decoded pod takes some 15 KiB.
//! **Not here**: who tells (`kubelet`), what follows from it (`pod_worker`).

use super::uid;
use crate::static_pods::is_static;
use api::k8s_openapi::api::core::v1::Pod;
use client::{Informer, Key};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::watch;

/// A pod as its worker is told of it.
#[derive(Clone)]
pub(crate) enum Told {
    /// The API has it.
    Present(Arc<Pod>),
    /// The API has it no more; this is how it was last seen.
    Gone(Arc<Pod>),
    /// The API does not have it; this is what the runtime says of it.
    Orphan(Arc<Pod>),
}

impl Told {
    pub(super) fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Present(pod) | Self::Gone(pod) | Self::Orphan(pod) => pod,
        }
    }

    /// Whether the pod is to stop, whatever it is doing.
    pub(super) fn is_ending(&self) -> bool {
        !matches!(self, Self::Present(_)) || self.pod().metadata.deletion_timestamp.is_some()
    }
}

/// The last that a worker was told. None: it is as the informer has it.
pub(super) type News = Option<Told>;

fn is_ending(news: &News) -> bool {
    news.as_ref().is_some_and(Told::is_ending)
}

/// The worker's side.
pub(super) struct Listener {
    news: watch::Receiver<News>,
    /// The other end, to put down what is not needed for a while.
    teller: watch::Sender<News>,
    /// Where the informer has the pod, and its UID.
    key: Key,
    uid: String,
}

impl Listener {
    /// And the end for whoever tells.
    pub(super) fn new(told: Told) -> (watch::Sender<News>, Self) {
        let (key, uid) = (Key::of(&**told.pod()), uid(told.pod()).to_owned());
        let (teller, news) = watch::channel(Some(told));
        (teller.clone(), Self { news, teller, key, uid })
    }

    /// How the pod is. None: it is gone, which the worker will be told.
    pub(super) fn take_up(&mut self, pods: &Informer<Pod>) -> Option<Told> {
        if let Some(told) = &*self.news.borrow_and_update() {
            return Some(told.clone());
        }
        let told = Told::Present(pods.get_key(&self.key).filter(|pod| uid(pod) == self.uid)?);
        self.replace(Option::is_none, Some(told.clone()));
        Some(told)
    }

    /// Lets go of a pod that the informer has, too, unless there are other news meanwhile.
    pub(super) fn put_down(&self, told: Told) {
        let Told::Present(pod) = told else { return };
        if !is_static(&pod) {
            self.replace(|news| matches!(news, Some(Told::Present(known)) if Arc::ptr_eq(known, &pod)), None);
        }
    }

    /// Replaces the news if they are these, as if nobody had.
    fn replace(&self, which: impl Fn(&News) -> bool, by: News) {
        self.teller.send_if_modified(|news| {
            if which(news) {
                *news = by;
            }
            false
        });
    }

    /// Waits for other news.
    pub(super) async fn changed(&mut self) {
        // It has an end of its own that tells.
        let _ = self.news.changed().await;
    }

    /// Resolves when there are such news.
    pub(super) fn until(&self, such: impl Fn(&News) -> bool) -> impl Future<Output = ()> {
        until(self.news.clone(), such)
    }

    /// What resolves when the pod is to stop, for those who ask several times.
    pub(super) fn doom(&self) -> impl Fn() -> BoxFuture<'static, ()> + use<> {
        let news = self.news.clone();
        move || until(news.clone(), is_ending).boxed()
    }

    pub(super) fn is_ending(&self) -> bool {
        is_ending(&self.news.borrow())
    }
}

async fn until(mut news: watch::Receiver<News>, such: impl Fn(&News) -> bool) {
    if news.wait_for(such).await.is_err() {
        // Whoever tells is gone, and the worker with it.
        std::future::pending::<()>().await;
    }
}
