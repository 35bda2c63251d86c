//! The state of one API server: what every handler gets.
//!
//! **Contract**: nothing here is global; several servers live in one process.
//! **Not here**: how connections are accepted (`serve`), what a request passes through (`chain`).

use crate::admission::Chain;
use crate::auth::{Authenticator, Authorizer};
use crate::config::Config;
use crate::limits::Limits;
use crate::metrics::ServerMetrics;
use crate::registry::Registry;
use crate::subresources::{NodeDialer, Subresource};
use component_base::Context;
use std::sync::Arc;

/// One API server.
pub struct Server {
    /// Clock, randomness, shutdown, metrics, health.
    pub context: Context,
    /// Every kind's store and watch cache.
    pub registry: Arc<Registry>,
    /// Who asks?
    pub authenticator: Authenticator,
    /// May they?
    pub authorizer: Arc<dyn Authorizer>,
    /// What looks at more than the object itself before it is written.
    pub admission: Chain,
    /// Paths below an object that are no plain reads or writes of it.
    pub subresources: Vec<Arc<dyn Subresource>>,
    /// The way to a node's kubelet.
    pub nodes: Arc<dyn NodeDialer>,
    /// What the launcher decided.
    pub config: Config,
    pub(crate) limits: Limits,
    pub(crate) metrics: ServerMetrics,
}
