//! What a probe or a lifecycle hook may be.
//!
//! **Upstream**: `validateProbe`, `validateHandler`.

use crate::resources::check;
use crate::resources::edit::{items, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;

const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Which probe it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Failing restarts the container.
    Liveness,
    /// Failing takes the pod out of its Services.
    Readiness,
    /// Until it succeeds the others wait.
    Startup,
}

/// All errors of a probe; none if there is no probe.
pub(super) fn check_probe(errors: &mut ErrorList, path: &Path, probe: &Value, kind: Kind) {
    if probe.is_null() {
        return;
    }
    check_handler(errors, path, probe);
    let fields =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    for field in fields {
        check::not_negative(errors, &path.child(field), &probe[field]);
    }
    let success = probe["successThreshold"].as_i64().unwrap_or(1);
    if kind != Kind::Readiness && success != 1 {
        errors.push(Error::invalid(&path.child("successThreshold"), success, "must be 1"));
    }
    let grace = &probe["terminationGracePeriodSeconds"];
    let grace_path = path.child("terminationGracePeriodSeconds");
    match grace.as_i64() {
        Some(_) if kind == Kind::Readiness => {
            errors.push(Error::invalid(&grace_path, grace.clone(), "must not be set for readinessProbes"));
        }
        Some(seconds) if seconds <= 0 => {
            errors.push(Error::invalid(&grace_path, seconds, "must be greater than 0"));
        }
        _ => {}
    }
}

/// All errors of a hook that sleeps: it ends before its pod's grace does.
pub(super) fn check_sleep(errors: &mut ErrorList, path: &Path, sleep: &Value, spec: &Value) {
    let Some(grace) = spec["terminationGracePeriodSeconds"].as_i64().filter(|_| sleep.is_object()) else {
        return;
    };
    let seconds = sleep["seconds"].as_i64().unwrap_or(0);
    if !(0..=grace).contains(&seconds) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(Error::invalid(path, seconds, &detail));
    }
}

/// All errors of what is done: exactly one handler, and that one in order.
pub(super) fn check_handler(errors: &mut ErrorList, path: &Path, handler: &Value) {
    let kinds: Vec<&str> = HANDLERS.into_iter().filter(|h| !handler[*h].is_null()).collect();
    if kinds.is_empty() {
        errors.push(Error::required(path, "must specify a handler type"));
    }
    for extra in kinds.iter().skip(1) {
        errors.push(Error::forbidden(&path.child(extra), "may not specify more than 1 handler type"));
    }
    let Some(kind) = kinds.first() else { return };
    let (path, handler) = (path.child(kind), &handler[*kind]);
    match *kind {
        "exec" if items(handler, "command").is_empty() => {
            errors.push(Error::required(&path.child("command"), ""));
        }
        "httpGet" => {
            check::required(errors, &path.child("path"), &handler["path"]);
            check::port_or_name(errors, &path.child("port"), &handler["port"]);
            check::one_of(errors, &path.child("scheme"), &handler["scheme"], &["HTTP", "HTTPS"]);
            for (i, header) in items(handler, "httpHeaders").iter().enumerate() {
                let name = text(header, "name");
                let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
                if name.is_empty() || !name.bytes().all(token) {
                    let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
                    errors.push(Error::invalid(
                        &path.child("httpHeaders").index(i).child("name"),
                        name,
                        detail,
                    ));
                }
            }
        }
        "tcpSocket" => check::port_or_name(errors, &path.child("port"), &handler["port"]),
        "grpc" => {
            let port = handler["port"].as_i64().unwrap_or(0);
            check::invalid(errors, &path.child("port"), &port.into(), names::port_number(port));
        }
        _ => {}
    }
}
