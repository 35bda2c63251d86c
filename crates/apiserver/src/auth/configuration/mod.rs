//! What is configured about authentication and authorization: by flags, or by files of upstream's kinds.
//!
//! **Contract**: read when the server starts, where what is not supported or makes no sense is an error that says where; issuers
//! and authorizers are read again whenever their file changes ([`reload`]).
//! **Upstream**: `k8s.io/apiserver/pkg/apis/apiserver` (`AuthenticationConfiguration`, `AuthorizationConfiguration`).

mod authentication;
mod authorization;
mod jwt;
mod reload;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use authentication::Authentication;
pub(crate) use authorization::Configured;
pub(crate) use reload::follow;

use serde::de::DeserializeOwned;
use std::path::Path;

/// `apiVersion` of both kinds.
const API_VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];

/// The text of a file that a flag names.
fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// A configuration of one of upstream's kinds.
fn parse<T: DeserializeOwned>(text: &str, kind: &str) -> Result<T, String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let version = value["apiVersion"].as_str().unwrap_or_default();
    if !API_VERSIONS.contains(&version) || value["kind"] != kind {
        return Err(format!("expected {kind} of {}, got {} of {version:?}", API_VERSIONS[0], value["kind"]));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}
