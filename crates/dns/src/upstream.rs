//! Names that are not the cluster's: asked at the host's resolvers, and kept for as long as these say.
//!
//! **Contract**: the host's `resolv.conf` is read when there is none yet and when its servers do not answer, so a machine
//! that changes networks goes on. A question of our own that comes back shows that the host asks us: then nothing is asked
//! any more until the file changes.
//! **Upstream**: CoreDNS's `plugin/forward`, `plugin/cache`, `plugin/loop`.

use arc_swap::{ArcSwap, ArcSwapOption};
use component_base::{Context, Rng, Shutdown};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver, system_conf};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// For one attempt. **Upstream**: `plugin/forward`, `readTimeout`; clients give up after 5 s.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// Questions under way. **Upstream**: `max_concurrent` in kubeadm's configuration.
const CONCURRENT: usize = 1000;
/// How long an answer is kept at most. **Upstream**: `plugin/cache`, and kubeadm's `cache 30` for what does not exist.
const KEPT: Duration = Duration::from_secs(3600);
const KEPT_NEGATIVE: Duration = Duration::from_secs(30);

/// A zone that nobody has.
const PROBES: &str = "minik-probe";

/// The host's resolvers.
pub(crate) struct Upstream {
    read: Read,
    /// Not a server to ask: it is us.
    own: IpAddr,
    current: ArcSwapOption<Servers>,
    /// Of zones that others answer for, the longest first.
    forwards: ArcSwap<Vec<(Name, Arc<Servers>)>>,
    under_way: Semaphore,
    rng: Rng,
    shutdown: Shutdown,
}

/// Tells which servers there are now.
type Read = Box<dyn Fn() -> Result<(ResolverConfig, ResolverOpts), NetError> + Send + Sync>;

struct Servers {
    addresses: Vec<SocketAddr>,
    resolver: TokioResolver,
    /// Nobody asks for this name but we.
    probe: Name,
    circle: AtomicBool,
}

/// What the resolvers say.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) code: ResponseCode,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
}

/// Why there is nothing to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No resolver answers, or there is none.
    Failed,
    /// Too much is asked at once.
    Busy,
}

impl Upstream {
    /// The resolvers in this host's `/etc/resolv.conf`.
    pub(crate) fn of_host(context: &Context, own: IpAddr) -> Self {
        Self::new(context, own, Box::new(system_conf::read_system_conf))
    }

    pub(crate) fn new(context: &Context, own: IpAddr, read: Read) -> Self {
        Self {
            read,
            own,
            current: ArcSwapOption::empty(),
            forwards: ArcSwap::default(),
            under_way: Semaphore::new(CONCURRENT),
            rng: context.rng.clone(),
            shutdown: context.shutdown.clone(),
        }
    }

    /// Asks, or remembers what was answered.
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Heard, Refusal> {
        let _under_way = self.under_way.try_acquire().map_err(|_| Refusal::Busy)?;
        let forwards = self.forwards.load_full();
        if let Some((_, servers)) = forwards.iter().find(|(zone, _)| zone.zone_of(name)) {
            return servers.ask(name, kind).await;
        }
        let known = self.current.load_full();
        let servers = match &known {
            Some(servers) => servers.clone(),
            None => self.read_again(None).ok_or(Refusal::Failed)?,
        };
        let heard = servers.ask(name, kind).await;
        if heard.is_err()
            && let Some(others) = self.read_again(Some(&servers))
        {
            return others.ask(name, kind).await;
        }
        heard
    }

    /// Asks others about these zones, from now on.
    pub(crate) fn forward(&self, zones: &[(Name, Vec<SocketAddr>)]) {
        let mut forwards = Vec::new();
        for (zone, addresses) in zones {
            let servers = addresses.iter().filter(|at| at.ip() != self.own).map(|at| {
                let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
                (udp.port, tcp.port) = (at.port(), at.port());
                NameServerConfig::new(at.ip(), true, vec![udp, tcp])
            });
            let servers = servers.collect();
            forwards.extend(
                self.servers(servers, ResolverOpts::default()).map(|servers| (zone.clone(), servers)),
            );
        }
        forwards.sort_by_key(|(zone, _)| std::cmp::Reverse(zone.iter().count()));
        self.forwards.store(Arc::new(forwards));
    }

    /// Whether this is the name that nobody asks for but we: then what we ask comes back to us.
    pub(crate) fn is_own(&self, name: &Name) -> bool {
        if name.iter().next_back() != Some(PROBES.as_bytes()) {
            return false;
        }
        let forwards = self.forwards.load_full();
        let mut all = forwards.iter().map(|(_, servers)| servers.clone()).chain(self.current.load_full());
        let Some(servers) = all.find(|servers| servers.probe == *name) else { return false };
        if !servers.circle.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the resolvers ask the cluster's DNS server in turn: they are not asked any more"
            );
        }
        true
    }

    /// The servers as the file has them now, if they are others.
    fn read_again(&self, before: Option<&Arc<Servers>>) -> Option<Arc<Servers>> {
        let (config, options) = match (self.read)() {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "cannot read the host's resolvers");
                return None;
            }
        };
        let (_, _, mut servers) = config.into_parts();
        servers.retain(|server| server.ip != self.own);
        if before.is_some_and(|before| before.addresses == addresses(&servers)) || servers.is_empty() {
            return None;
        }
        let servers = self.servers(servers, options)?;
        self.current.store(Some(servers.clone()));
        Some(servers)
    }

    /// Servers, of which we learn whether they ask us.
    fn servers(&self, servers: Vec<NameServerConfig>, options: ResolverOpts) -> Option<Arc<Servers>> {
        let probe = Name::from_ascii(format!("{}.{PROBES}.", self.rng.suffix(16))).ok()?;
        let servers = match Servers::new(servers, options, probe) {
            Ok(servers) => Arc::new(servers),
            Err(error) => {
                tracing::warn!(%error, "cannot use resolvers");
                return None;
            }
        };
        let probed = servers.clone();
        self.shutdown.spawn(async move {
            let _ = probed.ask(&probed.probe, RecordType::HINFO).await;
        });
        Some(servers)
    }
}

impl Servers {
    fn new(servers: Vec<NameServerConfig>, host: ResolverOpts, probe: Name) -> Result<Self, NetError> {
        let addresses = addresses(&servers);
        let config = ResolverConfig::from_name_servers(servers);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.edns0 = host.edns0;
        options.timeout = TIMEOUT.min(host.timeout);
        options.attempts = ATTEMPTS;
        options.use_hosts_file = ResolveHosts::Never;
        options.positive_max_ttl = Some(KEPT);
        options.negative_max_ttl = Some(KEPT_NEGATIVE);
        options.max_active_requests = CONCURRENT;
        Ok(Self { addresses, resolver: builder.build()?, probe, circle: AtomicBool::new(false) })
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Heard, Refusal> {
        if self.circle.load(Ordering::Relaxed) {
            return Err(Refusal::Failed);
        }
        match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => Ok(Heard {
                code: lookup.message().metadata.response_code,
                answers: lookup.answers().to_vec(),
                authorities: lookup.authorities().to_vec(),
            }),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Ok(Heard {
                code: none.response_code,
                answers: Vec::new(),
                authorities: none.soa.map(|soa| soa.into_record_of_rdata()).into_iter().collect(),
            }),
            Err(NetError::Busy) => Err(Refusal::Busy),
            Err(error) => {
                tracing::debug!(%error, %name, "the host's resolvers do not answer");
                Err(Refusal::Failed)
            }
        }
    }
}

fn addresses(servers: &[NameServerConfig]) -> Vec<SocketAddr> {
    let of = |server: &NameServerConfig| {
        let ip = server.ip;
        server.connections.iter().map(move |connection| (ip, connection.port).into()).collect::<Vec<_>>()
    };
    servers.iter().flat_map(of).collect()
}

#[cfg(test)]
pub(crate) mod tests;
