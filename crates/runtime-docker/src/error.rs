//! The engine's failures as the runtime's errors.
//!
//! Contract: only the engine's message is kept, without the client library's words around it.

use bollard::errors::Error as Engine;
use runtime::Error;

/// The engine's own text.
pub(crate) fn message(error: &Engine) -> String {
    match error {
        Engine::DockerResponseServerError { message, .. } => message.trim_end().to_owned(),
        Engine::DockerStreamError { error } => error.clone(),
        other => chain(other),
    }
}

/// Whether the engine answered with this status.
pub(crate) fn is_status(error: &Engine, status: u16) -> bool {
    matches!(error, Engine::DockerResponseServerError { status_code, .. } if *status_code == status)
}

/// Whether the engine answered at all.
fn is_answer(error: &Engine) -> bool {
    matches!(error, Engine::DockerResponseServerError { .. } | Engine::DockerStreamError { .. })
}

/// For failures that a verb knows nothing more about.
pub(crate) fn other(operation: &'static str) -> impl Fn(Engine) -> Error {
    move |error| match error {
        ref answer if is_answer(answer) => Error::Other { operation, message: message(&error) },
        Engine::JsonDataError { .. } | Engine::JsonSerdeError { .. } => {
            Error::Other { operation, message: error.to_string() }
        }
        error => Error::Unavailable { message: message(&error) },
    }
}

/// Like [`other`], with 404 as a missing container.
pub(crate) fn container<'a>(operation: &'static str, id: &'a str) -> impl Fn(Engine) -> Error + 'a {
    move |error| {
        if is_status(&error, 404) { Error::container_not_found(id) } else { other(operation)(error) }
    }
}

/// Like [`other`], with 404 as a missing sandbox.
pub(crate) fn sandbox<'a>(operation: &'static str, id: &'a str) -> impl Fn(Engine) -> Error + 'a {
    move |error| {
        if is_status(&error, 404) { Error::sandbox_not_found(id) } else { other(operation)(error) }
    }
}

/// The id in `Conflict. The container name "/x" is already in use by container "ID". You have to …`.
pub(crate) fn conflicting_id(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("already in use by container ")?;
    rest.trim_start_matches('"').split(['"', '.', ' ']).next().filter(|id| !id.is_empty())
}

/// A refusal to start a container.
pub(crate) fn start(id: &str, error: Engine) -> Error {
    if is_status(&error, 404) {
        // 404 is also the answer to a command that is not in the image.
        let text = message(&error);
        if text.starts_with("No such container") {
            return Error::container_not_found(id);
        }
    }
    if !is_answer(&error) {
        return other("start container")(error);
    }
    let message = message(&error);
    if message.contains("port is already allocated") || message.contains("address already in use") {
        return Error::PortInUse { message };
    }
    let exit_code = start_exit_code(&message);
    Error::CannotStart { message, exit_code }
}

/// Upstream: moby's `translateContainerdStartErr`.
fn start_exit_code(message: &str) -> i32 {
    let has = |text: &str| message.contains(text);
    if has("executable file not found") || has("no such file or directory") {
        127
    } else if has("permission denied") || has("is a directory") || has("not a directory") {
        126
    } else {
        128
    }
}

/// A failed pull.
pub(crate) fn pull(image: &str, error: Engine) -> Error {
    if !is_answer(&error) {
        return other("pull image")(error);
    }
    let not_found = is_status(&error, 404);
    let (image, message) = (image.to_owned(), message(&error));
    let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if has(&["repository does not exist", "manifest unknown", "not found: "])
        || (not_found && has(&["not found"]))
    {
        Error::ImageNotFound { image, message }
    } else if has(&["unauthorized", "authentication required", "access denied", "no basic auth", "denied:"]) {
        Error::ImageUnauthorized { image, message }
    } else if has(&[
        "dial tcp",
        "dial unix",
        "lookup ",
        "i/o timeout",
        "connection refused",
        "connection reset",
        "TLS handshake",
        "x509:",
        "Client.Timeout",
        "deadline exceeded",
        "EOF",
        "Service Unavailable",
        "Bad Gateway",
        "no route to host",
        "proxyconnect",
    ]) {
        Error::RegistryUnavailable { image, message }
    } else if not_found {
        Error::ImageNotFound { image, message }
    } else {
        Error::Other { operation: "pull image", message }
    }
}

/// An error with all its causes, colon by colon; a cause that the text already has is not repeated.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Engine {
        Engine::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[test]
    fn finds_who_has_the_name() {
        let text = "Conflict. The container name \"/k8s_a\" is already in use by container \"0a1b\". You have to remove";
        assert_eq!(conflicting_id(text), Some("0a1b"));
        assert_eq!(conflicting_id("something else"), None);
    }

    #[test]
    fn types_failed_pulls() {
        type Is = fn(&Error) -> bool;
        let cases: [(u16, &str, Is); 5] = [
            (404, "manifest for busybox:no not found: manifest unknown: manifest unknown", |e| {
                matches!(e, Error::ImageNotFound { .. })
            }),
            (404, "pull access denied for x, repository does not exist or may require 'docker login'", |e| {
                matches!(e, Error::ImageNotFound { .. })
            }),
            (
                500,
                "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                |e| matches!(e, Error::RegistryUnavailable { .. }),
            ),
            (500, "Head \"https://r/v2/x\": unauthorized: authentication required", |e| {
                matches!(e, Error::ImageUnauthorized { .. })
            }),
            (500, "no space left on device", |e| matches!(e, Error::Other { .. })),
        ];
        for (status, message, is) in cases {
            let error = pull("x", answer(status, message));
            assert!(is(&error), "{error:?}");
        }
    }

    #[test]
    fn types_failed_starts() {
        for (message, code) in [
            ("OCI runtime create failed: exec: \"x\": executable file not found in $PATH: unknown", 127),
            ("OCI runtime create failed: exec: \"/x\": permission denied: unknown", 126),
            ("OCI runtime create failed: something: unknown", 128),
        ] {
            let Error::CannotStart { exit_code, .. } = start("c", answer(400, message)) else {
                panic!("{message}")
            };
            assert_eq!(exit_code, code, "{message}");
        }
        let taken = "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated";
        assert!(matches!(start("c", answer(500, taken)), Error::PortInUse { .. }));
        assert!(start("c", answer(404, "No such container: c")).is_not_found());
    }
}
