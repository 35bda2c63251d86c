//! Reads the files of `--authentication-config` and `--authorization-config` again when they change.
//!
//! **Contract**: what makes no sense is logged and counted, and what was said before stays. A folder is watched, and in case its
//! changes are not told (the file is a link) the file is read now and then.
//! **Upstream**: `pkg/util/filesystem` (`WatchUntil`), `pkg/server/options/{authentication,authorization}config/metrics`.

use super::Configured;
use super::authentication::Issuers;
use crate::options::Options;
use component_base::{Clock, Context, Folder, Metrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// **Upstream**: the interval that both files are polled in.
const PERIOD: Duration = Duration::from_secs(60);

type Labels = [(&'static str, String); 2];
type Seconds = Gauge<f64, AtomicU64>;

/// Follows the files as long as the server runs. `server_id` is its name among several.
pub(crate) fn follow(
    context: &Context,
    options: &Options,
    (issuers, own_issuer): (Arc<Issuers>, String),
    authorizers: Configured,
    server_id: &str,
) {
    let counted = |what: &str| Reloads::register(&context.metrics, what, server_id);
    if let Some(file) = options.authentication_config.clone() {
        let (reloads, clock) = (counted("authentication"), context.clock.clone());
        let read = move |file: &Path| issuers.reload(file, &own_issuer, &clock);
        context.shutdown.spawn(watch(file, context.clock.clone(), reloads, read));
    }
    if let Some(file) = options.authorization_config.clone() {
        let reloads = counted("authorization");
        let read = move |file: &Path| authorizers.reload(file);
        context.shutdown.spawn(watch(file, context.clock.clone(), reloads, read));
    }
}

async fn watch(
    file: PathBuf,
    clock: Clock,
    reloads: Reloads,
    read: impl Fn(&Path) -> Result<(), String> + Send,
) {
    let name = file.display().to_string();
    let folder = Folder::watch(file.parent().unwrap_or(Path::new(".")));
    let folder = folder.map_err(|error| tracing::warn!("watch the folder of {name}: {error}")).ok();
    let mut last = std::fs::read(&file).ok();
    loop {
        let changed = async {
            match &folder {
                Some(folder) => folder.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = clock.sleep(PERIOD) => {}
        }
        let found = std::fs::read(&file).ok();
        if found.is_some() && found == last {
            continue;
        }
        let outcome = read(&file);
        match &outcome {
            Ok(()) => tracing::info!("reloaded {name}"),
            Err(why) => tracing::error!("{name} has changed, but what it says does not count: {why}"),
        }
        reloads.count(&clock, outcome.is_ok());
        last = found;
    }
}

/// What is counted about one of the files.
struct Reloads {
    total: Family<Labels, Counter>,
    last: Family<Labels, Seconds>,
    server: String,
}

impl Reloads {
    fn register(metrics: &Metrics, what: &str, server_id: &str) -> Self {
        let name = |what_of: &str| format!("apiserver_{what}_config_controller_{what_of}");
        let by = format!("of {what} configuration split by status and apiserver identity");
        Self {
            total: metrics.register(
                &name("automatic_reloads"),
                &format!("Total number of automatic reloads {by}"),
                Family::default(),
            ),
            last: metrics.register(
                &name("automatic_reload_last_timestamp_seconds"),
                &format!("Timestamp of the last automatic reload {by}"),
                Family::default(),
            ),
            server: format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(server_id))),
        }
    }

    fn count(&self, clock: &Clock, is_good: bool) {
        let status = if is_good { "success" } else { "failure" };
        let labels = [("status", status.to_owned()), ("apiserver_id_hash", self.server.clone())];
        self.total.get_or_create(&labels).inc();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
        let seconds = clock.now().as_millisecond() as f64 / 1000.0;
        self.last.get_or_create(&labels).set(seconds);
    }
}
