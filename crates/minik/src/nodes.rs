//! The API server's way to kubelets of this process: the same HTTP, over a pair of pipes in memory.

use apiserver::subresources::{NodeDialer, NodeStream, NodeTarget};
use async_trait::async_trait;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Bytes that either end of a connection may be ahead of the other.
const BUFFER: usize = 64 * 1024;
/// How long to wait for a kubelet that starts. **Upstream**: the timeout of `net.Dialer` in `k8s.io/client-go/transport`.
const DIAL_LIMIT: Duration = Duration::from_secs(30);

/// A kubelet; none as long as it starts.
type Starting = watch::Receiver<Option<Arc<kubelet::Server>>>;

/// The kubelets of this process, by node.
#[derive(Default)]
pub(crate) struct Nodes(Mutex<HashMap<String, Starting>>);

impl Nodes {
    /// A kubelet starts; what is returned is to be called when it is ready to answer. Who dials it waits until then: after
    /// a restart, its node is known and Ready from before.
    pub(crate) fn starts(&self, node: String) -> impl FnOnce(Arc<kubelet::Server>) + Send + 'static {
        let (sender, starting) = watch::channel(None);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node, starting);
        move |server| {
            sender.send_replace(Some(server));
        }
    }

    /// All kubelets that answer.
    pub(crate) fn all(&self) -> Vec<Arc<kubelet::Server>> {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.values().filter_map(|starting| starting.borrow().clone()).collect()
    }

    async fn kubelet(&self, node: &str) -> Option<Arc<kubelet::Server>> {
        let mut starting = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()?;
        let ready = tokio::time::timeout(DIAL_LIMIT, starting.wait_for(Option::is_some)).await;
        // It may have ended before it was ready.
        ready.ok()?.ok()?.clone()
    }
}

#[async_trait]
impl NodeDialer for Nodes {
    async fn dial(&self, node: &NodeTarget) -> io::Result<Box<dyn NodeStream>> {
        let Some(server) = self.kubelet(&node.name).await else {
            let text = format!("no kubelet of node {:?} runs here", node.name);
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        };
        let (near, far) = tokio::io::duplex(BUFFER);
        tokio::spawn(server.serve(far));
        Ok(Box::new(near))
    }
}
