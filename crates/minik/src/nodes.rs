//! The API server's way to kubelets of this process: the same HTTP, over a pair of pipes in memory.

use apiserver::subresources::{NodeDialer, NodeStream, NodeTarget};
use async_trait::async_trait;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that either end of a connection may be ahead of the other.
const BUFFER: usize = 64 * 1024;

/// The kubelets of this process, by node.
#[derive(Default)]
pub(crate) struct Nodes(Mutex<HashMap<String, Arc<kubelet::Server>>>);

impl Nodes {
    /// A kubelet is ready to answer.
    pub(crate) fn insert(&self, node: String, server: Arc<kubelet::Server>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node, server);
    }

    /// All kubelets.
    pub(crate) fn all(&self) -> Vec<Arc<kubelet::Server>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[async_trait]
impl NodeDialer for Nodes {
    async fn dial(&self, node: &NodeTarget) -> io::Result<Box<dyn NodeStream>> {
        let server = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node.name).cloned();
        let Some(server) = server else {
            let text = format!("no kubelet of node {:?} runs here", node.name);
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        };
        let (near, far) = tokio::io::duplex(BUFFER);
        tokio::spawn(server.serve(far));
        Ok(Box::new(near))
    }
}
