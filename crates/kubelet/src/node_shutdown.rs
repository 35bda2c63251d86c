//! The node's graceful end: pods go in the order of their priorities, each group with its part of the time.
//!
//! **Contract**: without a grace nothing is done, as upstream by default: containers stop with the node, pods stay and start
//! again with it. With one, the node says that it is not Ready, takes no more pods, and those that it has end as Failed.
//! **Not here**: who decides that the node ends (the launcher), how a pod ends (`pod_worker`).
//! **Upstream**: `pkg/kubelet/nodeshutdown`.

use crate::container_config::grace_period;
use crate::eviction::{CRITICAL, Cause, Eviction};
use crate::pod_worker::Node;
use crate::static_pods;
use api::k8s_openapi::api::core::v1::{ObjectReference, Pod};
use api::pod::is_terminal;
use client::events::Type;
use std::sync::Arc;
use std::time::Duration;

/// What a pod says that ended so.
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";

/// How long pods get when their node ends; by default nothing is done for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownGrace {
    total: Duration,
    critical: Duration,
}

impl ShutdownGrace {
    /// `shutdownGracePeriod`, and of it `shutdownGracePeriodCriticalPods` for those that the cluster needs.
    ///
    /// # Errors
    /// Upstream's words, if that makes no sense.
    pub fn new(total: Duration, critical: Duration) -> Result<Self, String> {
        if critical > total {
            let (critical, total) = (seconds(critical), seconds(total));
            return Err(format!(
                "invalid configuration: shutdownGracePeriodCriticalPods {critical} must be <= shutdownGracePeriod {total}"
            ));
        }
        for (name, period) in [("shutdownGracePeriod", total), ("shutdownGracePeriodCriticalPods", critical)]
        {
            if !period.is_zero() && period < Duration::from_secs(1) {
                return Err(format!(
                    "invalid configuration: {name} {} must be either zero or otherwise >= 1 sec",
                    seconds(period)
                ));
            }
        }
        Ok(Self { total, critical })
    }

    /// The longest that a node takes to end.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// The part of it that is for critical pods.
    pub fn critical(&self) -> Duration {
        self.critical
    }
}

fn seconds(period: Duration) -> String {
    format!("{}s", period.as_secs_f64())
}

/// Ends a node's pods.
pub(crate) struct NodeShutdown {
    node: Arc<Node>,
    grace: ShutdownGrace,
}

impl NodeShutdown {
    pub(crate) fn new(node: Arc<Node>, grace: ShutdownGrace) -> Self {
        Self { node, grace }
    }

    /// Ends all pods of the node, within the grace.
    pub(crate) async fn run(&self) {
        if self.grace.total.is_zero() {
            return;
        }
        self.tell();
        self.node.shutting_down.send_replace(true);
        let pods = self.node.pods.list().into_iter().filter(|pod| !is_terminal(pod));
        for (period, pods) in groups(self.grace, pods.collect()) {
            if pods.is_empty() {
                continue;
            }
            for pod in &pods {
                if self.node.evict.send(order(pod, period)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = self.node.ended(&pods) => {}
                () = self.node.context.clock.sleep(period) => {
                    tracing::warn!(?period, "pods did not end in time");
                }
            }
        }
    }

    fn tell(&self) {
        let name = &self.node.facts.node_name;
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(name.clone()),
            uid: Some(name.clone()),
            ..Default::default()
        };
        let message = "Shutdown manager detected shutdown event";
        self.node.recorder.event(&about, Type::Normal, "Shutdown", message);
    }
}

/// What a pod's worker is told.
fn order(pod: &Pod, period: Duration) -> Eviction {
    let own = pod.spec.as_ref().map_or(30, grace_period);
    let own = u64::try_from(own).unwrap_or(0);
    let uid = static_pods::mirrored(pod).or(pod.metadata.uid.as_deref()).unwrap_or_default();
    Eviction {
        uid: uid.to_owned(),
        cause: Cause::NodeShutdown,
        message: MESSAGE.to_owned(),
        grace: own.min(period.as_secs()),
    }
}

/// Ordinary pods with their time, then the critical with theirs.
fn groups(grace: ShutdownGrace, pods: Vec<Arc<Pod>>) -> [(Duration, Vec<Arc<Pod>>); 2] {
    let priority = |pod: &Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    let (critical, ordinary) = pods.into_iter().partition(|pod| priority(pod) >= CRITICAL);
    [(grace.total - grace.critical, ordinary), (grace.critical, critical)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ordinary_pods_go_first_and_nobody_gets_more_than_the_group_has() {
        let pod = |name: &str, priority: i32, grace: i64| -> Arc<Pod> {
            let value = json!({"metadata": {"name": name, "uid": name}, "spec": {
                "priority": priority, "terminationGracePeriodSeconds": grace, "containers": []}});
            Arc::new(serde_json::from_value(value).expect("a pod"))
        };
        let second = Duration::from_secs;
        let grace = ShutdownGrace::new(second(30), second(10)).expect("a grace");
        let pods = vec![pod("dns", CRITICAL, 60), pod("web", 0, 5), pod("db", 100, 60)];
        let got = groups(grace, pods).map(|(period, pods)| {
            pods.iter().map(|pod| order(pod, period)).map(|o| (o.uid, o.grace)).collect::<Vec<_>>()
        });
        let own = |uid: &str, grace| (uid.to_owned(), grace);
        assert_eq!(got, [vec![own("web", 5), own("db", 20)], vec![own("dns", 10)]]);
    }

    #[test]
    fn periods_that_make_no_sense_are_refused() {
        for (total, critical, part) in [
            (0, 0, None),
            (30_000, 10_000, None),
            (10_000, 30_000, Some("shutdownGracePeriodCriticalPods 30s must be <= shutdownGracePeriod 10s")),
            (500, 0, Some("shutdownGracePeriod 0.5s must be either zero or otherwise >= 1 sec")),
        ] {
            let got = ShutdownGrace::new(Duration::from_millis(total), Duration::from_millis(critical));
            assert_eq!(got.err().map(|why| why.contains(part.unwrap_or_default())), part.map(|_| true));
        }
    }
}
