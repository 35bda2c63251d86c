//! A component that is started again after it has ended.
//!
//! **Contract**: one of it runs at a time; what ends it, a panic too, is an end. Nothing is started any more once its context
//! ends.
//! **Not here**: when it is started again (the kubelet, as with any container).

use component_base::{Context, Health};
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::watch;

type Start = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A component that may be started more than once.
#[derive(Clone)]
pub(crate) struct Supervised(Arc<Inner>);

struct Inner {
    name: &'static str,
    context: Context,
    start: Start,
    runs: watch::Sender<bool>,
}

/// Notes the end, however it comes.
struct End(Arc<Inner>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.runs.send_replace(false);
    }
}

impl Supervised {
    /// Not started yet; `start` makes what runs until it fails or the context ends.
    pub(crate) fn new(
        name: &'static str,
        context: Context,
        start: impl Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { name, context, start: Box::new(start), runs: watch::Sender::new(false) }))
    }

    /// Starts it, unless it runs.
    pub(crate) fn start(&self) {
        if self.0.runs.send_replace(true) {
            return;
        }
        let (end, task, name) = (End(self.0.clone()), (self.0.start)(), self.0.name);
        self.0.context.shutdown.spawn(async move {
            let _end = end;
            if let Err(error) = task.await {
                tracing::error!("{name} ended: {error}");
            }
        });
    }

    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        match *self.0.runs.borrow() {
            true => Ok(()),
            false => Err(format!("the {} has ended", self.0.name)),
        }
    }

    /// Has its health shown under its name.
    pub(crate) fn register(&self, health: &Health) {
        let this = self.clone();
        health.register(self.0.name, move || this.check());
    }

    /// Waits until it has failed: its end together with its context is none.
    pub(crate) async fn failed(&self) {
        let mut runs = self.0.runs.subscribe();
        // Both are for good: the sender lives as long as this value.
        let _ = runs.wait_for(|runs| !runs).await;
        if self.0.context.shutdown.is_requested() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn what_has_failed_is_started_again_and_what_was_stopped_has_not_failed() {
        let (starts, fail) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let context = Context::system();
        let (count, told) = (starts.clone(), fail.clone());
        let component = Supervised::new("thing", context.clone(), move || {
            count.fetch_add(1, Ordering::Relaxed);
            let told = told.clone();
            Box::pin(async move {
                told.notified().await;
                Err("broken".to_owned())
            })
        });
        assert_eq!(component.check(), Err("the thing has ended".to_owned()));
        component.start();
        component.start();
        assert_eq!((component.check(), starts.load(Ordering::Relaxed)), (Ok(()), 1));
        fail.notify_one();
        component.failed().await;
        assert!(component.check().is_err());
        component.start();
        assert_eq!((component.check(), starts.load(Ordering::Relaxed)), (Ok(()), 2));
        context.shutdown.trigger();
        context.shutdown.finished().await;
        assert!(component.check().is_err());
        assert!(futures::FutureExt::now_or_never(component.failed()).is_none());
    }
}
