//! `create token`: a token of a service account, printed and nothing else.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::generate::{Generator, Given, failed};
use crate::cli;
use crate::commands::print_object;
use crate::connection::JSON;
use crate::output::{self, Format};
use crate::report::{Error, message};
use crate::{connection, duration};

/// Kinds that a token can be bound to, with their versions.
const BOUND: [(&str, &str); 3] = [("Node", "v1"), ("Pod", "v1"), ("Secret", "v1")];

/// `create token`
// A static has one address, by which the one that goes its own way is known.
pub(super) static TOKEN: Generator = Generator {
    names: &["token"],
    about: "Request a service account token",
    required: &[],
    flags: || {
        vec![
            cli::text("audience", "Audience of the requested token. If unset, defaults to requesting a token for use with the Kubernetes API server. May be repeated to request a token valid for multiple audiences.")
                .action(clap::ArgAction::Append),
            cli::text("duration", "Requested lifetime of the issued token. If not set or if set to 0, the lifetime will be determined by the server automatically. The server may return a token with a longer or shorter lifetime.")
                .default_value("0s"),
            cli::text("bound-object-kind", "Kind of an object to bind the token to. Supported kinds are Node, Pod, Secret. If set, --bound-object-name must be provided."),
            cli::text("bound-object-name", "Name of an object to bind the token to. The token will expire when the object is deleted. Requires --bound-object-kind."),
            cli::text("bound-object-uid", "UID of an object to bind the token to. Requires --bound-object-kind and --bound-object-name. If unset, the UID of the existing object is used."),
        ]
    },
    // It stores nothing, so it goes its own way: `request`.
    make: |_| Box::pin(std::future::ready(Ok(Value::Null))),
    plural: "serviceaccounts",
    failure: "failed to create token: ",
};

/// Asks for a token and prints it.
pub(super) async fn request(given: &Given<'_>) -> Result<(), Error> {
    let format = output::from_matches(given.matches)?;
    let body = body(given)?;
    let account = connection::encode(&given.name);
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", given.context.namespace());
    let sent = given.context.connection().await?.request(Method::POST, &path, JSON, Some(&body)).await;
    let mut answer = sent.map_err(|error| failed(error, TOKEN.failure))?;
    let token = answer["status"]["token"].as_str().unwrap_or("").to_owned();
    if token.is_empty() {
        return Err(message("failed to create token: no token in server response"));
    }
    let text = match &format {
        // Colours are shown where a person looks, who wants a line to end.
        Format::Human { .. } if given.context.terminal.colors() => token + "\n",
        Format::Human { .. } => token,
        format => print_object(format, &mut answer, false)?,
    };
    given.context.terminal.out(&text)
}

fn body(given: &Given<'_>) -> Result<Value, Error> {
    let text = given.value("duration");
    if text.starts_with('-') {
        return Err(message("--duration must be greater than or equal to 0"));
    }
    let lifetime = duration::parse(text).ok_or_else(|| {
        Error::Usage(format!(
            "invalid argument {text:?} for \"--duration\" flag: time: invalid duration {text:?}\nSee 'kctl create token --help' for usage."
        ))
    })?;
    if lifetime.subsec_nanos() != 0 {
        return Err(message("--duration cannot be expressed in units less than seconds"));
    }
    let audiences: Vec<String> =
        given.matches.get_many::<String>("audience").into_iter().flatten().cloned().collect();
    if audiences.iter().any(String::is_empty) {
        return Err(message("--audience must not be an empty string"));
    }
    let [kind, name, uid] = ["kind", "name", "uid"].map(|part| given.value(&format!("bound-object-{part}")));
    let mut spec = json!({"audiences": if audiences.is_empty() { Value::Null } else { audiences.into() }});
    if kind.is_empty() {
        for (flag, text) in [("name", name), ("uid", uid)] {
            if !text.is_empty() {
                return Err(message(format!(
                    "--bound-object-{flag} can only be set if --bound-object-kind is provided"
                )));
            }
        }
    } else {
        let Some((_, version)) = BOUND.iter().find(|(known, _)| *known == kind) else {
            return Err(message("supported --bound-object-kind values are Node, Pod, Secret"));
        };
        if name.is_empty() {
            return Err(message("--bound-object-name is required if --bound-object-kind is provided"));
        }
        spec["boundObjectRef"] = json!({"kind": kind, "apiVersion": version, "name": name});
        if !uid.is_empty() {
            spec["boundObjectRef"]["uid"] = uid.into();
        }
    }
    if lifetime > Duration::ZERO {
        spec["expirationSeconds"] = lifetime.as_secs().into();
    }
    Ok(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}))
}
