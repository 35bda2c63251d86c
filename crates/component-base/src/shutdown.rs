//! An orderly end: who is to stop, and when everybody has.
//!
//! **Contract**: `trigger` may be called often; tasks spawned here are awaited by `finished`, each observes
//! `requested`. A child ends with its parent, never the other way round.

use std::future::Future;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle on the end of a component and its tasks; cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Asks everybody who holds this handle, or a child of it, to end.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the end is asked for.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Spawns a task that `finished` waits for and that is dropped when the end is asked for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        // A future that another takes in by value takes its room twice.
        let task = Box::pin(task);
        self.tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Spawns a task that sees to its own end; `finished` waits for it.
    pub fn spawn_graceful(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until every task has ended; call after `trigger`.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A handle that ends with this one but can also end alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), tasks: TaskTracker::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_ends_with_its_parent_but_not_the_other_way_round() {
        let parent = Shutdown::default();
        let (one, two) = (parent.child(), parent.child());
        one.trigger();
        assert!(!parent.is_requested() && !two.is_requested());
        two.spawn(std::future::pending());
        parent.trigger();
        two.finished().await;
    }
}
