//! The state of one API server: what every handler gets; and its start.
//!
//! **Contract**: nothing here is global; several servers live in one process. When [`Server::start`] returns, the
//! bootstrap objects exist and requests are served; the server ends with `context.shutdown`.
//! **Not here**: how connections are accepted (`serve`), what a request passes through (`chain`).

use crate::admission::{self, AdmissionMetrics, Chain, plugins};
use crate::aggregation::Aggregator;
use crate::audit::Audit;
use crate::auth::configuration::{self, Authentication, Configured};
use crate::auth::impersonation::Impersonation;
use crate::auth::token::Tokens;
use crate::auth::{Authenticator, Authorizer, Objects, UserInfo, token_tracking};
use crate::computed::resource_metrics::Scraper;
use crate::computed::{self, Computed};
use crate::config::Config;
use crate::error::Error;
use crate::flowcontrol::{self, FlowControl};
use crate::limits::Limits;
use crate::metrics::ServerMetrics;
use crate::outbound::Dial;
use crate::registry::Registry;
use crate::resources;
use crate::reviews::{self, ReviewKind};
use crate::serve::Call;
use crate::service_dialer::ServiceDialer;
use crate::subresources::{self, NodeDialer, Subresource};
use crate::{aggregation, bootstrap, crd, health, identity, serve, service_addresses};
use component_base::Context;
use std::sync::Arc;
use storage::Storage;
use tokio::io::DuplexStream;

/// One API server.
pub struct Server {
    /// Clock, randomness, shutdown, metrics, health.
    pub context: Context,
    /// Every kind's store and watch cache.
    pub registry: Arc<Registry>,
    /// Since when it runs.
    pub(crate) started: jiff::Timestamp,
    /// Who asks?
    pub authenticator: Authenticator,
    /// As whom else?
    pub(crate) impersonation: Impersonation,
    /// May they?
    pub authorizer: Arc<dyn Authorizer>,
    /// What looks at more than the object itself before it is written.
    pub admission: Chain,
    /// The servers of other group-versions.
    pub(crate) aggregator: Option<Arc<Aggregator>>,
    /// Paths below an object that are no plain reads or writes of it.
    pub subresources: Vec<Arc<dyn Subresource>>,
    /// Kinds that are questions: created, answered, never stored.
    pub reviews: Vec<Arc<dyn ReviewKind>>,
    /// Kinds whose objects are made when somebody asks.
    pub(crate) computed: Vec<Computed>,
    /// What nodes and pods use.
    pub(crate) resource_metrics: Scraper,
    /// The way to a node's kubelet.
    pub nodes: Arc<dyn NodeDialer>,
    /// What the launcher decided.
    pub config: Config,
    /// What is recorded about requests, if anything.
    pub(crate) audit: Option<Arc<Audit>>,
    /// Who is served when more is asked than can be done; `None`: plain limits.
    pub(crate) flow: Option<Arc<FlowControl>>,
    pub(crate) limits: Limits,
    pub(crate) metrics: ServerMetrics,
    /// What health checks found.
    pub(crate) indicators: health::Indicators,
    /// What is served.
    pub(crate) catalog: crate::catalog::Kept,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Server {
    /// Loads what is stored, makes what must exist, and serves.
    pub async fn start(
        storage: Arc<dyn Storage>,
        context: Context,
        mut config: Config,
    ) -> Result<Arc<Self>, Error> {
        let tokens = Tokens::new(&config.token_issuer, &config.token_key_pem)
            .map_err(Error::Tokens)?
            .counted(&context.metrics);
        let tls = (!config.listeners.is_empty()).then(|| serve::Tls::new(&config)).transpose()?;
        let listeners = std::mem::take(&mut config.listeners);
        if let Some(file) = &config.options.admission_config {
            config.options.admission.configuration =
                admission::Configuration::read(file).map_err(Error::Configuration)?;
        }
        let strategies = resources::with_service_cidrs(&config.service_cidrs(), &config.components);
        let registry = Registry::open(storage, &context, strategies).await.map_err(Error::Registry)?;
        let store = Arc::downgrade(&registry);
        config.components.register("etcd-0", move || match store.upgrade() {
            Some(registry) if registry.is_following() => Ok(()),
            _ => Err("the storage is not followed".to_owned()),
        });
        let objects: Arc<dyn Objects> = Arc::clone(&registry) as _;
        let (options, clock) = (&config.options, &context.clock);
        let own_issuer = tokens.issuer().to_owned();
        let authentication =
            Authentication::read(options, &own_issuer, clock).map_err(Error::Configuration)?;
        let authorizers = Configured::read(options, &registry, clock).map_err(Error::Configuration)?;
        let authorizer = authorizers.authorizer();
        let issuers = (Arc::clone(&authentication.issuers), own_issuer);
        let audit = Audit::open(options, &context)?;
        let flow = options.priority_and_fairness.then(|| {
            let total = options.max_reading + options.max_mutating;
            Arc::new(FlowControl::new(clock.clone(), &context.metrics, total, options.request_timeout))
        });
        let limits = Limits::new(options.max_reading as usize, options.max_mutating as usize);
        let services: Arc<dyn Dial> = Arc::new(ServiceDialer {
            registry: Arc::clone(&registry),
            nodes: Arc::clone(&config.nodes),
            rng: context.rng.clone(),
        });
        let outsiders = {
            let metrics = AdmissionMetrics::register(&context.metrics, &context.clock);
            admission::outsiders(&registry, &services, &authorizer, &metrics)
        };
        let aggregator = Aggregator::new(&registry, &config, &services).map(Arc::new);
        let server = Arc::new(Self {
            started: clock.now(),
            aggregator,
            authenticator: Authenticator::new(Arc::new(tokens), objects, clock.clone(), authentication),
            admission: plugins::chain(&authorizer, &config.options.admission, outsiders)
                .map_err(|error| Error::Configuration(error.to_string()))?,
            impersonation: Impersonation::default(),
            authorizer,
            subresources: subresources::all(),
            reviews: reviews::all(),
            computed: computed::all(),
            resource_metrics: Scraper::default(),
            nodes: Arc::clone(&config.nodes),
            config,
            audit,
            flow,
            limits,
            metrics: ServerMetrics::register(&context.metrics),
            indicators: health::Indicators::default(),
            catalog: crate::catalog::Kept::default(),
            registry,
            context,
        });
        crd::controller::start(&server.registry, &server.context, &services).await;
        bootstrap::run(&server).await.map_err(Error::Bootstrap)?;
        bootstrap::follow(&server);
        admission::policies::status::follow(&server.registry, &server.context);
        service_addresses::follow(&server);
        identity::follow(&server);
        let id = identity::lease_name(&server.config.hostname);
        configuration::follow(&server.context, &server.config.options, issuers, authorizers, &id);
        token_tracking::follow(&server);
        if let Some(aggregator) = &server.aggregator {
            aggregation::follow(&server, aggregator);
            aggregation::registration::follow(&server);
        }
        if let Some(flow) = &server.flow {
            flowcontrol::keeper::start(flow, &server.registry, &server.context);
        }
        if let Some(tls) = tls {
            for listener in listeners {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(%address, version = crate::version::GIT_VERSION, "serving securely");
                }
                serve::listen(&server, listener, tls.clone());
            }
        }
        Ok(server)
    }

    /// A way in without a connection, by which every request comes from `identity`, through the same chain and the same
    /// authorizer as any other. ([`UserInfo::anonymous`]: the requests' own credentials count.) What is to be upgraded
    /// needs [`Self::connect`].
    pub fn call_as(self: &Arc<Self>, identity: UserInfo) -> Call {
        serve::call_as(self, identity)
    }

    /// A connection in memory on which every request comes from `identity`, through the same authorizer as any other.
    /// ([`UserInfo::anonymous`]: the requests' own credentials count.) Must be called inside a tokio runtime.
    pub fn connect(self: &Arc<Self>, identity: UserInfo) -> DuplexStream {
        serve::connect(self, identity)
    }
}

#[cfg(test)]
mod form_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
