//! The server process of a profile: from the claim on its folder to the last container's stop.
//!
//! **Contract**: tells its progress as lines of JSON ([`Report`]) to whoever started it; ends on SIGTERM and SIGINT,
//! workload included. After SIGHUP, or killed, it leaves containers running, and the next start adopts them.
//! **Not here**: how it is put into the background (`daemon`).

use crate::cluster::{Cluster, Ingress, Runtime};
use crate::mounts::Mounts;
use crate::pki::Pki;
use crate::ports::Forwarder;
use crate::profile::{Profile, RuntimeKind, Settings, StoreKind};
use crate::readiness::{Part, Wait};
use crate::{etcd, extra_config, memory, preflight, problem, registry};
use anyhow::{Context as _, Result};
use component_base::Context;
use component_base::logging::{self, Tail};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;
use storage::{EtcdConfig, Location};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What the server process tells its parent, a line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Report {
    /// A step is done.
    Step { name: String, milliseconds: u64 },
    /// Everything is up.
    Ready,
    /// It will not come up.
    Failed { error: String, hint: Option<String> },
}

/// Where reports go.
pub(crate) type Tell = Arc<dyn Fn(Report) + Send + Sync>;

/// Runs the server until it is told to end.
pub(crate) fn run(profile: &Profile, settings: &Settings, wait: &Wait, log: &str, tell: &Tell) -> Result<()> {
    let context = Context::system();
    let tail = Tail::new(context.clock.clone());
    logging::init(log, Some(tail.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(serve(context, profile, settings, wait, tail, tell));
    if let Err(error) = &result {
        tracing::error!("{error:#}");
        tell(Report::Failed { error: format!("{error:#}"), hint: problem::hint(error).map(str::to_owned) });
    }
    result
}

async fn serve(
    context: Context,
    profile: &Profile,
    settings: &Settings,
    wait: &Wait,
    log: Tail,
    tell: &Tell,
) -> Result<()> {
    let started = context.clock.instant();
    let done = {
        let (tell, clock) = (tell.clone(), context.clock.clone());
        move |name: &str| {
            let elapsed = clock.instant().duration_since(started);
            let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(milliseconds, "{name}");
            tell(Report::Step { name: name.to_owned(), milliseconds });
        }
    };
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;

    let extra = extra_config::read(&settings.extra_config)?;
    let _claim = profile.claim()?;
    let pki = Pki::load_or_generate(&profile.path("pki"), context.clock.now(), &context.rng)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.api_port))
        .await
        .map_err(|error| preflight::port_taken(settings.api_port, &error))?;
    let forwarder = Forwarder::bind(&settings.ports, settings.ip_family).await?;
    // Gone with the last container.
    let _mounts = Mounts::mount(profile, &settings.mounts)?;
    let registry = match settings.registry && settings.runtime == RuntimeKind::Docker {
        true => {
            let registry = registry::start(profile, settings, &context).await?;
            done("Registry");
            Some(registry)
        }
        false => None,
    };
    let mut own_etcd = None;
    let location = match settings.store {
        StoreKind::Memory => Location::Memory,
        StoreKind::Embedded => Location::Embedded(profile.path("store.redb")),
        StoreKind::Etcd => {
            let mut endpoints = settings.etcd_servers.clone();
            if endpoints.is_empty() {
                let etcd = etcd::start(&profile.path("etcd"), &context).await?;
                endpoints = vec![etcd.endpoint().to_owned()];
                own_etcd = Some(etcd);
                done("etcd");
            }
            // Several profiles may share servers; each has its own part of the keys.
            let prefix = format!("/minik/{}", profile.name);
            Location::Etcd(EtcdConfig { endpoints, prefix, ..EtcdConfig::default() })
        }
    };
    let runtime = match settings.runtime {
        RuntimeKind::Simulated => Runtime::Simulated,
        RuntimeKind::Docker => Runtime::Docker { host: preflight::docker_host() },
    };
    let mut cluster = Cluster::builder();
    if settings.storage {
        cluster = cluster.volumes_dir(profile.path("volumes"));
    }
    let cluster = cluster
        .name(&profile.name)
        .context(context.clone())
        .nodes(settings.nodes)
        .simulated_nodes(settings.simulated_nodes)
        .runtime(runtime)
        .store(location)
        .pki(pki)
        .listener(listener)
        .options(extra.apiserver)
        .scheduler(extra.scheduler)
        .shutdown_grace(extra.shutdown_grace)
        .root_dir(profile.path("kubelet"))
        .log_dir(preflight::log_dir())
        .ip_family(settings.ip_family)
        .service_range(Some(settings.service_range()?))
        // Pods on paper answer nobody.
        .ingress(
            (settings.ingress && settings.runtime == RuntimeKind::Docker)
                .then(|| Ingress::of(settings.ip_family)),
        )
        .gateway_api(settings.gateway_api)
        .network_helper(std::env::current_exe().ok())
        .registry_mirrors(settings.registries.mirrors.clone())
        .dns(settings.dns)
        .stopped_nodes(settings.stopped_nodes.clone())
        .control_plane(log)
        .on_step(Arc::new(done.clone()))
        .start()
        .await
        .map_err(|error| preflight::explain(profile, error))?;
    forwarder.start(&context);
    let nodes = settings.running_nodes();
    let ready = |part: Part| match part {
        // That was told when it came up.
        Part::ApiServer => {}
        part => done(part.step(nodes)),
    };
    cluster.ready(wait, nodes, ready).await?;
    tracing::info!(port = settings.api_port, "ready");
    tell(Report::Ready);
    memory::keep_small(&context, cluster.cool());

    let workload_ends = tokio::select! {
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
        // Another server takes over, and adopts the containers.
        _ = hangup.recv() => false,
    };
    tracing::info!(workload_ends, "stopping");
    let stopped = if workload_ends {
        cluster.stop_with_workload().await
    } else {
        cluster.stop().await;
        Ok(())
    };
    if let Some(registry) = registry {
        registry.stop().await;
    }
    if let Some(etcd) = own_etcd {
        etcd.stop().await;
    }
    stopped
}
