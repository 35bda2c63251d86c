//! The frame of a controller: workers that take keys and reconcile them.
//!
//! **Contract**: one key is reconciled by one worker at a time; a failure is logged once with its chain of causes
//! and retried by the queue with backoff; a reconciler takes no input but the key.
//! **Upstream**: the `worker`/`processNextWorkItem` loop of every controller.

use crate::Queue;
use component_base::{Context, Metrics, logging};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// What a reconciler wants next for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes.
    Done,
    /// Once more after this span, changes or not.
    RequeueAfter(Duration),
}

/// Runs workers over a queue until the context ends.
pub async fn run<K, E, F, R>(
    name: &'static str,
    context: &Context,
    workers: usize,
    queue: Queue<K>,
    reconcile: R,
) where
    K: Clone + Display + Eq + Hash + Send + Sync + 'static,
    E: Error + Send + 'static,
    F: Future<Output = Result<Action, E>> + Send,
    R: Fn(K) -> F + Send + Sync + 'static,
{
    let reconcile = Arc::new(reconcile);
    let metrics = QueueMetrics::of(&context.metrics);
    for _ in 0..workers {
        let (queue, reconcile, metrics) = (queue.clone(), reconcile.clone(), metrics.clone());
        let clock = context.clock.clone();
        context.shutdown.spawn(async move {
            while let Some((key, waited)) = queue.get_with_wait().await {
                let started = clock.instant();
                let result = reconcile(key.clone()).await;
                metrics.observe(name, &queue, waited, clock.instant().duration_since(started));
                settle(name, &queue, &key, result);
            }
        });
    }
    context.shutdown.requested().await;
    queue.close();
}

fn settle<K, E>(name: &str, queue: &Queue<K>, key: &K, result: Result<Action, E>)
where
    K: Clone + Display + Eq + Hash,
    E: Error + 'static,
{
    match result {
        Ok(Action::Done) => queue.forget(key),
        Ok(Action::RequeueAfter(delay)) => {
            queue.forget(key);
            queue.add_after(key.clone(), delay);
        }
        Err(error) => {
            tracing::warn!(controller = name, %key, error = %logging::Chain(&error), "reconciling failed, will retry");
            queue.add_rate_limited(key.clone());
        }
    }
    queue.done(key);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    name: &'static str,
}

/// Upstream's metrics of work queues, one set a registry.
#[derive(Clone, Debug)]
struct QueueMetrics {
    adds: Family<Name, Counter>,
    retries: Family<Name, Counter>,
    depth: Family<Name, Gauge>,
    waited: Family<Name, Histogram, fn() -> Histogram>,
    worked: Family<Name, Histogram, fn() -> Histogram>,
}

impl QueueMetrics {
    fn of(metrics: &Metrics) -> Self {
        fn seconds() -> Histogram {
            Histogram::new(exponential_buckets(1e-8, 10.0, 12))
        }
        Self {
            adds: metrics.shared(
                "workqueue_adds",
                "Total number of adds handled by workqueue",
                Family::default,
            ),
            retries: metrics.shared(
                "workqueue_retries",
                "Total number of retries handled by workqueue",
                Family::default,
            ),
            depth: metrics.shared("workqueue_depth", "Current depth of workqueue", Family::default),
            waited: metrics.shared(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested.",
                || Family::new_with_constructor(seconds as fn() -> Histogram),
            ),
            worked: metrics.shared(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes.",
                || Family::new_with_constructor(seconds as fn() -> Histogram),
            ),
        }
    }

    fn observe<K: Clone + Eq + Hash>(
        &self,
        name: &'static str,
        queue: &Queue<K>,
        waited: Duration,
        worked: Duration,
    ) {
        let labels = Name { name };
        let counters = queue.counters();
        self.waited.get_or_create(&labels).observe(waited.as_secs_f64());
        self.worked.get_or_create(&labels).observe(worked.as_secs_f64());
        self.adds.get_or_create(&labels).inner().store(counters.added, std::sync::atomic::Ordering::Relaxed);
        self.retries
            .get_or_create(&labels)
            .inner()
            .store(counters.retried, std::sync::atomic::Ordering::Relaxed);
        self.depth.get_or_create(&labels).set(i64::try_from(counters.depth).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Debug, thiserror::Error)]
    #[error("not yet")]
    struct NotYet;

    #[tokio::test(start_paused = true)]
    async fn retries_until_a_success_and_ends_with_its_context() {
        let context = Context::simulated(1);
        let queue = Queue::new(&context.clock);
        let (tries, done) = (Arc::new(AtomicU32::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (counted, told) = (tries.clone(), done.clone());
        queue.add("a");
        let running = tokio::spawn({
            let (context, queue) = (context.clone(), queue.clone());
            async move {
                run("test", &context, 2, queue, move |_| {
                    let (counted, told) = (counted.clone(), told.clone());
                    async move {
                        if counted.fetch_add(1, Ordering::SeqCst) < 3 {
                            return Err(NotYet);
                        }
                        told.notify_one();
                        Ok(Action::Done)
                    }
                })
                .await;
            }
        });
        done.notified().await;
        assert_eq!(tries.load(Ordering::SeqCst), 4);
        context.shutdown.trigger();
        running.await.unwrap();
        context.shutdown.finished().await;
        assert_eq!(queue.requeues(&"a"), 0);
        assert!(context.metrics.encode().contains("workqueue_adds_total{name=\"test\"}"));
    }
}
