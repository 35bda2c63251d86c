//! `/healthz`, `/livez`, `/readyz` and a path for each of their checks; `/metrics/slis`, which counts what they found.
//!
//! **Contract**: `ok`, or 500 with a line a check; reasons are logged, not told.
//! **Upstream**: `k8s.io/apiserver/pkg/server/healthz`, `k8s.io/component-base/metrics/prometheus/slis`.

use crate::body::Response;
use crate::request::RequestInfo;
use crate::respond;
use crate::server::Server;
use api::status::Status;
use component_base::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::BTreeSet;
use std::fmt::Write;

/// `name`, `type`
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CheckLabels {
    name: String,
    r#type: &'static str,
}

/// `name`, `status`, `type`
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    name: String,
    status: &'static str,
    r#type: &'static str,
}

/// What the checks found; apart from the other metrics, as it is read more often.
pub(crate) struct Indicators {
    metrics: Metrics,
    last: Family<CheckLabels, Gauge>,
    total: Family<ResultLabels, Counter>,
}

impl Default for Indicators {
    fn default() -> Self {
        let metrics = Metrics::default();
        let last = "This metric records the result of a single healthcheck.";
        let total = "This metric records the results of all healthcheck.";
        Self {
            last: metrics.register("kubernetes_healthcheck", last, Family::default()),
            total: metrics.register("kubernetes_healthchecks", total, Family::default()),
            metrics,
        }
    }
}

impl Indicators {
    /// For `/metrics/slis`.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn observe(&self, endpoint: &'static str, name: &str, is_healthy: bool) {
        let status = if is_healthy { "success" } else { "error" };
        let name = || name.to_owned();
        self.last.get_or_create(&CheckLabels { name: name(), r#type: endpoint }).set(i64::from(is_healthy));
        self.total.get_or_create(&ResultLabels { name: name(), status, r#type: endpoint }).inc();
    }
}

const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// What a post-start hook belongs to.
enum Part {
    Always,
    Flow,
    Aggregator,
}

/// Upstream's post-start hooks whose work is done here, in their order.
const HOOKS: [(&str, Part); 16] = [
    ("start-apiserver-admission-initializer", Part::Always),
    ("priority-and-fairness-config-consumer", Part::Flow),
    ("priority-and-fairness-filter", Part::Flow),
    ("start-apiextensions-controllers", Part::Always),
    ("crd-informer-synced", Part::Always),
    ("start-system-namespaces-controller", Part::Always),
    ("start-cluster-authentication-info-controller", Part::Always),
    ("start-kube-apiserver-identity-lease-controller", Part::Always),
    ("start-kube-apiserver-identity-lease-garbage-collector", Part::Always),
    ("start-legacy-token-tracking-controller", Part::Always),
    ("start-service-ip-repair-controllers", Part::Always),
    ("rbac/bootstrap-roles", Part::Always),
    ("scheduling/bootstrap-system-priority-classes", Part::Always),
    ("priority-and-fairness-config-producer", Part::Flow),
    ("bootstrap-controller", Part::Always),
    ("apiservice-registration-controller", Part::Aggregator),
];

/// The paths of all endpoints and their checks.
pub(crate) fn paths(server: &Server) -> Vec<String> {
    let of = |endpoint: &&str| {
        let checks = checks(server, endpoint).into_iter().map(move |(name, _)| format!("/{endpoint}/{name}"));
        std::iter::once(format!("/{endpoint}")).chain(checks).collect::<Vec<_>>()
    };
    ENDPOINTS.iter().flat_map(of).collect()
}

/// The checks of a server by name, in upstream's order; `Err` is the reason.
fn checks(server: &Server, endpoint: &str) -> Vec<(String, Result<(), String>)> {
    let following = || {
        if server.registry.is_following() { Ok(()) } else { Err("the storage is not followed".to_owned()) }
    };
    let mut checks =
        vec![("ping".to_owned(), Ok(())), ("log".to_owned(), Ok(())), ("etcd".to_owned(), following())];
    if endpoint == "readyz" {
        checks.push(("etcd-readiness".to_owned(), following()));
        checks.push(("informer-sync".to_owned(), following()));
    }
    // All have run, or what they start has, before the first connection was accepted.
    let hooks = HOOKS.iter().filter(|(_, part)| match part {
        Part::Always => true,
        Part::Flow => server.flow.is_some(),
        Part::Aggregator => server.aggregator.is_some(),
    });
    checks.extend(hooks.map(|(hook, _)| (format!("poststarthook/{hook}"), Ok(()))));
    checks.extend(server.context.health.results());
    if endpoint == "readyz" {
        let running = !server.context.shutdown.is_requested();
        let result = if running { Ok(()) } else { Err("process is shutting down".to_owned()) };
        checks.push(("shutdown".to_owned(), result));
    }
    checks
}

/// Answers a health endpoint.
pub(crate) fn serve(server: &Server, info: &RequestInfo) -> Result<Response, Status> {
    let path = info.path.trim_matches('/');
    let (endpoint, wanted) = path.split_once('/').unwrap_or((path, ""));
    let Some(endpoint) = ENDPOINTS.into_iter().find(|known| *known == endpoint) else {
        return Err(Status::no_such_path());
    };
    let checks = checks(server, endpoint);
    if !wanted.is_empty() {
        let (name, result) =
            checks.into_iter().find(|(name, _)| name == wanted).ok_or_else(Status::no_such_path)?;
        return Ok(match result {
            Ok(()) => respond::text(200, "ok"),
            Err(reason) => {
                tracing::warn!(check = name, reason, "health check failed");
                respond::text(500, format!("internal server error: {reason}\n"))
            }
        });
    }
    let exclude: BTreeSet<&str> = info.query.all("exclude").collect();
    let observed = checks.iter().filter(|(name, _)| !exclude.contains(&**name));
    for (name, result) in observed {
        server.indicators.observe(endpoint, name, result.is_ok());
    }
    Ok(report(endpoint, &checks, &exclude, info.query.get("verbose").is_some()))
}

fn report(
    endpoint: &str,
    checks: &[(String, Result<(), String>)],
    exclude: &BTreeSet<&str>,
    verbose: bool,
) -> Response {
    let mut text = String::new();
    let mut failed = Vec::new();
    for (name, result) in checks {
        let _ = match result {
            _ if exclude.contains(&**name) => writeln!(text, "[+]{name} excluded: ok"),
            Ok(()) => writeln!(text, "[+]{name} ok"),
            Err(reason) => {
                tracing::warn!(check = name, reason, "health check failed");
                failed.push(name.as_str());
                writeln!(text, "[-]{name} failed: reason withheld")
            }
        };
    }
    let unknown: Vec<String> = exclude
        .iter()
        .filter(|name| !checks.iter().any(|(n, _)| n == *name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        let _ = writeln!(
            text,
            "warn: some health checks cannot be excluded: no matches for {}",
            unknown.join(", ")
        );
    }
    if !failed.is_empty() {
        return respond::text(500, format!("{text}{endpoint} check failed\n"));
    }
    if verbose {
        return respond::text(200, format!("{text}{endpoint} check passed\n"));
    }
    respond::text(200, "ok")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{call, root, start};
    use http::Method;
    use http_body_util::BodyExt;
    use serde_json::Value;

    async fn read(response: Response) -> (u16, String) {
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn reports_as_upstream_does() {
        let good = vec![("ping".to_owned(), Ok(())), ("etcd".to_owned(), Ok(()))];
        let bad = vec![("ping".to_owned(), Ok(())), ("etcd".to_owned(), Err("why".to_owned()))];
        let none = BTreeSet::new();
        assert_eq!(read(report("readyz", &good, &none, false)).await, (200, "ok".to_owned()));
        assert_eq!(
            read(report("readyz", &good, &none, true)).await,
            (200, "[+]ping ok\n[+]etcd ok\nreadyz check passed\n".to_owned())
        );
        assert_eq!(
            read(report("livez", &bad, &none, false)).await,
            (500, "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n".to_owned())
        );
        assert_eq!(read(report("livez", &bad, &BTreeSet::from(["etcd"]), false)).await.0, 200);
    }

    #[tokio::test]
    async fn what_health_checks_found_is_counted() {
        let server = start().await;
        let get = async |path: &str| call(&server, root(), Method::GET, path, &[], Value::Null).await.text;
        for _ in 0..2 {
            assert_eq!(get("/readyz?exclude=ping").await, "ok");
        }
        let found = get("/metrics/slis").await;
        assert!(found.contains("kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1\n"), "{found}");
        let total = "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"readyz\"} 2\n";
        assert!(found.contains(total), "{found}");
        assert!(!found.contains("ping"), "{found}");
    }
}
