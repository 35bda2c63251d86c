//! `/healthz`, `/livez`, `/readyz` and a path for each of their checks.
//!
//! **Contract**: `ok`, or 500 with a line a check; reasons are logged, not told.
//! **Upstream**: `k8s.io/apiserver/pkg/server/healthz`.

use crate::body::Response;
use crate::request::RequestInfo;
use crate::respond;
use crate::server::Server;
use api::status::Status;
use std::collections::BTreeSet;
use std::fmt::Write;

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
    // Both have run before the first connection was accepted.
    for hook in ["rbac/bootstrap-roles", "scheduling/bootstrap-system-priority-classes"] {
        checks.push((format!("poststarthook/{hook}"), Ok(())));
    }
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
    use http_body_util::BodyExt;

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
}
